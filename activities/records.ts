/** Writing down what a workflow decided. Each is idempotent by a key of the workflow's, never the attempt's. */
import type { ControlActivities } from '../schemas/activities.js';
import type { Database } from '../stores/database.js';
import { findDatasetByUid, recordOutcome } from '../stores/datasets.js';
import { appendEvent } from '../stores/events.js';
import { applyTransition, endAttempt } from '../stores/jobs.js';
import type { ObjectStore } from '../stores/objects.js';

export type RecordActivities = Omit<ControlActivities, 'report' | 'claimRun'>;

export function makeRecords({ database, objects }: { database: Database; objects: ObjectStore }): RecordActivities {
  return {
    async recordDatasetOutcome(input, outcome) {
      await recordOutcome(database, input.uid, input.uploadKey, outcome);
      // Deleted meanwhile: then nothing may stay of it.
      if (!(await findDatasetByUid(database, input.uid))) await objects.removePrefix(`datasets/${input.uid}/`);
      await objects.removePrefix(input.uploadKey);
    },
    recordTransition: (transition) => applyTransition(database, transition),
    recordEvent: ({ uid, ...event }) => appendEvent(database, uid, event),
    async recordAttemptEnd({ uid, attempt, outcome, failure }) {
      const step = await endAttempt(database, uid, attempt, { outcome, failure });
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
