/** The jobs of a run: each one's row is made here as the API would make it, and the run's workflow starts it as its child. */
import { createHash } from 'node:crypto';
import { insertJob } from '../jobs/createJob.js';
import { expandJobs, runJobId } from '../jobs/expandJobs.js';
import { jobInput } from '../jobs/jobInput.js';
import { readFineTuningJob } from '../jobs/jobRequest.js';
import { runName } from '../jobs/retrainingRun.js';
import { findWandbKey } from '../jobs/wandbKey.js';
import { TemperError } from '../schemas/errors.js';
import type { FineTuningJob } from '../schemas/job.js';
import { resourceName } from '../schemas/names.js';
import type { RetrainingDataActivities, RunJobStart } from '../schemas/retraining.js';
import { isTerminal } from '../schemas/states.js';
import type { Database } from '../stores/database.js';
import { findJob } from '../stores/jobs.js';
import type { ObjectStore } from '../stores/objects.js';
import { recordRunJob, type RunRecord } from '../stores/retrainingRuns.js';
import type { Prices } from '../schemas/prices.js';
import type { SecretKeys } from '../stores/secretKeys.js';
import { readSecret } from '../stores/secrets.js';
import { withHeartbeats } from './heartbeat.js';
import { requireRun } from './retrainingData.js';

export interface RetrainingJobDependencies {
  database: Database;
  objects: ObjectStore;
  secretKeys: SecretKeys;
  prices: Prices | null;
  scratch: string;
}

export function makeRetrainingJobs(dependencies: RetrainingJobDependencies): Pick<RetrainingDataActivities, 'createRunJob'> {
  return {
    createRunJob: ({ runUid, index, workflowId }) =>
      withHeartbeats(async () => createRunJob(dependencies, await requireRun(dependencies.database, runUid), index, workflowId)),
  };
}

async function createRunJob(
  dependencies: RetrainingJobDependencies,
  run: RunRecord,
  index: number,
  workflowId: string,
): Promise<RunJobStart> {
  const { database, objects, secretKeys, prices, scratch } = dependencies;
  const planned = expandJobs(run.retraining);
  const id = runJobId(run.id, index, planned.length);
  const name = runName(run);
  const body = await jobBody(dependencies, run, planned[index]!.body);
  const job =
    (await findJob(database, run.account_id, id)) ??
    (await insertJob(
      { database, objects, tmpFolder: scratch, secretKeys, prices },
      {
        accountId: run.account_id,
        id,
        collection: 'fineTuningJobs',
        body,
        requestHash: createHash('sha256').update(`${name} ${index}`).digest('hex'),
        request: readFineTuningJob(body, run.account_id),
        createdBy: run.created_by,
        run: { name, workflowId },
      },
    ));
  if (job.retraining_run !== name)
    throw new TemperError('RESOURCE_ALREADY_EXISTS', `The job ${id}, which this run would make, exists already.`);
  await recordRunJob(database, run.uid, {
    index,
    id,
    uid: job.uid,
    model: resourceName(run.account_id, 'models', job.model_id),
    baseModel: job.base_model,
    state: job.state,
    evaluation: job.evaluation,
  });
  return { uid: job.uid, ended: isTerminal(job.state), input: jobInput(job), createdBy: job.created_by };
}

/** The template with what the run decides: the dataset, the adapter to go on from, and the key that is kept with the secrets. */
async function jobBody(
  { database, secretKeys }: RetrainingJobDependencies,
  run: RunRecord,
  template: Record<string, unknown>,
): Promise<FineTuningJob> {
  const body: Record<string, unknown> = { ...template, dataset: run.dataset_name! };
  if (run.start_model) {
    // An adapter brings its base model and its rank with it.
    delete body['baseModel'];
    delete body['loraRank'];
    body['warmStartFrom'] = run.start_model;
  }
  if (body['wandbProject'] !== undefined) {
    const own = await readSecret(database, secretKeys, run.account_id, wandbSecretId(run.schedule_uid ?? run.uid));
    body['wandbApiKey'] = own ?? (await findWandbKey(database, secretKeys, run.account_id, body));
  }
  return body as FineTuningJob;
}

/** Where the W&B key of a schedule or sweep is kept. */
export function wandbSecretId(uid: string): string {
  return `wandb-${uid}`;
}
