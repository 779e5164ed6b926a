/** A failed job that goes on: its row as it was accepted once more, with what it has done so far. Its workflow comes after. */
import { randomUUID } from 'node:crypto';
import { TemperError } from '../schemas/errors.js';
import { resourceName } from '../schemas/names.js';
import type { Database } from '../stores/database.js';
import { appendEventIn } from '../stores/events.js';
import { lockJob, reopenJob, type JobRecord } from '../stores/jobs.js';
import { reserveModel } from '../stores/models.js';
import { requireWithinQuota } from '../stores/quotas.js';

/** @throws TemperError ILLEGAL_STATE, RESOURCE_ALREADY_EXISTS when the model's ID was taken meanwhile, QUOTA_EXCEEDED */
export function resumeFailedJob(database: Database, uid: string, by: string): Promise<JobRecord> {
  return database.transaction().execute(async (transaction) => {
    const job = await lockJob(transaction, uid);
    if (job?.state !== 'FAILED') throw new TemperError('ILLEGAL_STATE', `The job is ${job?.state ?? 'deleted'}, not failed.`);
    const { account_id: accountId, id, model_id: modelId } = job;
    const reserved = await reserveModel(transaction, {
      uid: randomUUID(),
      accountId,
      id: modelId,
      jobName: resourceName(accountId, 'fineTuningJobs', id),
      jobUid: uid,
      openaiName: job.openai?.fineTunedModel,
      createdBy: job.created_by,
    });
    if (!reserved) {
      const name = resourceName(accountId, 'models', modelId);
      throw new TemperError(
        'RESOURCE_ALREADY_EXISTS',
        `${name}, which the job is to make, was made by another meanwhile: delete that one first.`,
      );
    }
    const resumed = await reopenJob(transaction, job);
    await appendEventIn(transaction, uid, {
      key: `transition/${resumed.transition}`,
      type: 'state',
      state: resumed.state,
      message: `Resumed by ${by} after ${job.failure?.code ?? 'a failure'}.`,
      data: { from: job.state, to: resumed.state, stage: resumed.stage },
    });
    await requireWithinQuota(transaction, accountId, 'queued-jobs', 'jobs');
    return resumed;
  });
}
