/** A job's turn among those of its account: it may run once fewer do than the quota `running-jobs` allows, in the order of the queue. */
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { ControlActivities } from '../schemas/activities.js';
import type { Database } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import { findJobByUid } from '../stores/jobs.js';
import { claimRun, describeLine } from '../stores/quotas.js';
import { callNextInLine } from './tell.js';

/** A job is called when its turn has come. Should the call be lost, it asks by itself: the first in line this often, one with a hundred before it a hundred times less. */
const ASK_EVERY_MS = 30_000;
const ASK_AT_LEAST_EVERY_MS = 3_600_000;

/** Fails, to be tried again, until it is the job's turn: retries stand in no history, however long the line is. */
export function makeClaimRun({ database }: { database: Database }): Pick<ControlActivities, 'claimRun'> {
  return {
    async claimRun({ uid }) {
      const line = await claimRun(database, uid);
      if (!line) return callNext(database, uid);
      const message = describeLine(line);
      await appendEvent(database, uid, { key: `turn/${line.transition}`, type: 'stage', message, data: { quota: 'running-jobs' } });
      throw ApplicationFailure.create({
        type: 'NOT_YET_ITS_TURN',
        message,
        nextRetryDelay: Math.min(ASK_AT_LEAST_EVERY_MS, ASK_EVERY_MS * (1 + line.ahead)),
        category: ApplicationFailureCategory.BENIGN,
      });
    },
  };
}

/** Where there is room for more than one, each that takes its turn calls the next. */
async function callNext(database: Database, uid: string): Promise<void> {
  const job = await findJobByUid(database, uid);
  if (job) await callNextInLine(database, job.account_id, 1);
}
