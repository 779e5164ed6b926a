/** Writing down what a workflow decided. Each is idempotent by a key of the workflow's, never the attempt's. */
import { extendJob } from '../jobs/extendJob.js';
import type { ControlActivities, Transition } from '../schemas/activities.js';
import { JOB_ENDED_SIGNAL } from '../schemas/retraining.js';
import { isTerminal } from '../schemas/states.js';
import type { Database } from '../stores/database.js';
import { findDatasetByUid, recordOutcome } from '../stores/datasets.js';
import { appendEvent } from '../stores/events.js';
import { applyTransition, endAttempt, findJobByUid } from '../stores/jobs.js';
import { refuseModel } from '../stores/models.js';
import type { ObjectStore } from '../stores/objects.js';
import { attemptEnds, datasetBytes, jobEnds, queueWait, transitions, validatedDatasets } from '../telemetry/metrics.js';
import { callNextInLine, tell } from './tell.js';

export type RecordActivities = Omit<ControlActivities, 'report' | 'claimRun' | 'deliverWebhook' | 'recordDeliveryEnd'>;

export function makeRecords({ database, objects }: { database: Database; objects: ObjectStore }): RecordActivities {
  return {
    async recordDatasetOutcome(input, outcome) {
      await recordOutcome(database, input.uid, input.uploadKey, outcome);
      validatedDatasets.inc({ valid: String(outcome.valid) });
      datasetBytes.inc(outcome.object?.sizeBytes ?? 0);
      // Deleted meanwhile: then nothing may stay of it.
      if (!(await findDatasetByUid(database, input.uid))) await objects.removePrefix(`datasets/${input.uid}/`);
      await objects.removePrefix(input.uploadKey);
    },
    async recordTransition(transition) {
      if (await applyTransition(database, transition)) await countTransition(database, transition);
      if (isTerminal(transition.to) || transition.to === 'PAUSED') await tellWhoWaits(database, transition);
    },
    async recordModelFailure({ uid, uploadId }, failure) {
      const code = failure.domain === 'PLATFORM' ? 'UNAVAILABLE' : 'INVALID_ARGUMENT';
      await refuseModel(database, uid, uploadId, {
        code,
        message: failure.message,
        details: failure.details ?? [{ reason: failure.code }],
      });
    },
    extendJob: (input) => extendJob(database, input),
    recordEvent: ({ uid, ...event }) => appendEvent(database, uid, event),
    async recordAttemptEnd({ uid, attempt, outcome, failure }) {
      const step = await endAttempt(database, uid, attempt, { outcome, failure });
      attemptEnds.inc({ outcome, code: failure?.code ?? '' });
      const data = { attempt, outcome, step, ...(failure ? { failure } : {}) };
      await appendEvent(database, uid, {
        key: `attempt/${attempt}/ended`,
        type: 'attempt',
        message: `Attempt ${attempt} ${outcome} at step ${step}.`,
        data,
      });
    },
  };
}

async function countTransition(database: Database, { uid, from, to, failure }: Transition): Promise<void> {
  if (from === to) return;
  transitions.inc({ from, to });
  if (isTerminal(to)) jobEnds.inc({ state: to, code: failure?.code ?? '' });
  if (from !== 'PENDING' || to !== 'RUNNING') return;
  const job = await findJobByUid(database, uid);
  if (job?.started_time) queueWait.observe((job.started_time.getTime() - job.create_time.getTime()) / 1000);
}

/** A run of retraining goes on as soon as its job has ended, before the job's report to a tracker; and the account's next job has its turn. */
async function tellWhoWaits(database: Database, { uid, to }: Transition): Promise<void> {
  const job = await findJobByUid(database, uid);
  if (!job) return;
  if (job.awaited_by && isTerminal(to)) await tell(job.awaited_by, JOB_ENDED_SIGNAL, { uid });
  await callNextInLine(database, job.account_id);
}
