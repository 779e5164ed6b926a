/** Starting a job from a checkpoint of another one. */
import { fieldError } from '../schemas/errors.js';
import { resourceName } from '../schemas/names.js';
import type { Database, StoredFile } from '../stores/database.js';
import { findJob, listCheckpoints, type JobRecord } from '../stores/jobs.js';

/** What of a checkpoint is the adapter; the rest is of the optimizer and of the run. */
const ADAPTER_FILES = ['adapter_config.json', 'adapter_model.safetensors'];

export interface StartCheckpoint {
  job: JobRecord;
  /** Of the job, for people and records. */
  name: string;
  step: number;
  /** Where they lie now. */
  files: StoredFile[];
}

/** @param given  `JOB`, `JOB@STEP`, or with the job's full name. @throws TemperError CHECKPOINT_NOT_FOUND, INVALID_FIELD */
export async function findStartCheckpoint(database: Database, accountId: string, given: string): Promise<StartCheckpoint> {
  const match = /^(?:accounts\/([a-z0-9-]+)\/(?:fineTuningJobs|supervisedFineTuningJobs)\/)?([a-z0-9-]{1,63})(?:@(\d{1,9}))?$/.exec(given);
  if (!match)
    throw fieldError(
      'INVALID_FIELD',
      'fromCheckpoint',
      `fromCheckpoint must be the ID or name of a job, with @STEP behind it or not: my-job@120.`,
    );
  const [, owner = accountId, id, wanted] = match;
  const job = owner === accountId ? await findJob(database, accountId, id!) : undefined;
  if (!job)
    throw fieldError('CHECKPOINT_NOT_FOUND', 'fromCheckpoint', `There is no job ${given.split('@')[0]}, or you have no access to it.`);
  const checkpoints = await listCheckpoints(database, job.uid);
  const found = wanted === undefined ? checkpoints[0] : checkpoints.find(({ step }) => step === Number(wanted));
  if (!found) {
    const kept = checkpoints.map(({ step }) => step).join(' and ');
    const what = kept ? `It has checkpoints of the steps ${kept}; older ones are not kept.` : 'It has no checkpoint.';
    throw fieldError(
      'CHECKPOINT_NOT_FOUND',
      'fromCheckpoint',
      `The job ${id} has no checkpoint ${wanted ? `of step ${wanted}` : 'yet'}. ${what}`,
    );
  }
  const files = found.files.filter(({ name }) => ADAPTER_FILES.includes(name));
  return { job, name: resourceName(accountId, 'fineTuningJobs', job.id), step: found.step, files };
}
