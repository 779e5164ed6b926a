/** A job's turn among those of its account: it may run once fewer do than the quota `running-jobs` allows, in the order of the queue. */
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { ControlActivities } from '../schemas/activities.js';
import type { Database } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import { claimRun } from '../stores/quotas.js';

/** The first in line asks this often; one with a hundred before it, a hundred times less. */
const ASK_EVERY_MS = 3_000;
const ASK_AT_LEAST_EVERY_MS = 10 * 60_000;

/** Fails, to be tried again, until it is the job's turn: retries stand in no history, however long the line is. */
export function makeClaimRun({ database }: { database: Database }): Pick<ControlActivities, 'claimRun'> {
  return {
    async claimRun({ uid }) {
      const line = await claimRun(database, uid);
      if (!line) return;
      const message = `The account runs ${line.running} jobs, as many as its quota running-jobs allows; ${line.ahead} wait before this one.`;
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
