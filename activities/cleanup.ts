/**
 * Removes what a job left: everything of one that was cancelled, the scratch of one that made its model, the record when it is deleted.
 * One that failed keeps what it has done: it may be resumed.
 */
import type { CleanUpInput, DataActivities } from '../schemas/activities.js';
import type { Database } from '../stores/database.js';
import { deleteCheckpoint, deleteJob, findJobByUid, listCheckpoints } from '../stores/jobs.js';
import { findModel, releaseModel } from '../stores/models.js';
import type { ObjectStore } from '../stores/objects.js';
import { checkpointOf } from '../stores/orphans.js';
import { deleteSecret } from '../stores/secrets.js';

export function makeCleanUp({ database, objects }: { database: Database; objects: ObjectStore }): Pick<DataActivities, 'cleanUpJob'> {
  return {
    async cleanUpJob({ uid, removeModel, removeJob, keepWork }: CleanUpInput): Promise<void> {
      const job = await findJobByUid(database, uid);
      if (removeModel && job) {
        const model = await findModel(database, job.account_id, job.model_id);
        if (model?.job_uid === uid) await objects.removePrefix(`models/${model.uid}/`);
        await releaseModel(database, uid);
      }
      if (keepWork) return removeUnrecorded(database, objects, uid);
      if (removeModel || removeJob) {
        for (const checkpoint of await listCheckpoints(database, uid))
          await deleteCheckpoint(database, uid, checkpoint.attempt, checkpoint.step);
        await objects.removePrefix(`jobs/${uid}/`);
      } else {
        // The model has its own copy of the adapter; checkpoints stay for whoever goes on from one.
        await objects.removePrefix(`jobs/${uid}/adapter-`);
        await removeUnrecorded(database, objects, uid);
      }
      if (removeJob && job) {
        if (job.wandb) await deleteSecret(database, job.account_id, job.wandb.secretId);
        await deleteJob(database, uid);
      }
    },
  };
}

/** Files of checkpoints whose upload ended with its worker: they were never recorded. */
async function removeUnrecorded(database: Database, objects: ObjectStore, uid: string): Promise<void> {
  const recorded = new Set((await listCheckpoints(database, uid)).map(({ key }) => key));
  const stored = new Set((await objects.list(`jobs/${uid}/checkpoints/`)).map(({ key }) => checkpointOf(key)));
  for (const key of stored) if (!recorded.has(key)) await objects.removePrefix(`${key}/`);
}
