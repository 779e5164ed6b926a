/** Rows of jobs without a workflow, which nobody starts: for tests of what is done with rows. */
import { randomUUID } from 'node:crypto';
import type { JobState } from '../schemas/states.js';
import type { JobSettings } from '../schemas/task.js';
import type { Database } from '../stores/database.js';
import { createJob } from '../stores/jobs.js';

/** @returns the job's uid */
export async function insertJob(database: Database, job: { accountId: string; id: string; state: JobState }): Promise<string> {
  const uid = randomUUID();
  await database.transaction().execute(async (transaction) => {
    await createJob(transaction, {
      uid,
      accountId: job.accountId,
      id: job.id,
      collection: 'fineTuningJobs',
      displayName: '',
      request: {},
      requestHash: uid,
      settings: { task: { kind: 'conversation' }, baseModel: 'none' } as JobSettings,
      settingOrigins: {},
      datasetName: `accounts/${job.accountId}/datasets/none`,
      datasetUid: randomUUID(),
      modelId: job.id,
      priority: 3,
      createdBy: '',
      estimate: { tokens: null, seconds: null, prices: null },
      wandb: null,
    });
    await transaction.updateTable('jobs').set({ state: job.state, workflow_started: true }).where('uid', '=', uid).execute();
  });
  return uid;
}
