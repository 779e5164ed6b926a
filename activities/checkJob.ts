/** The last look before anything is spent: the API checked the same at creation, and things may have changed since. */
import type { DataActivities } from '../schemas/activities.js';
import type { Database } from '../stores/database.js';
import type { ObjectStore } from '../stores/objects.js';
import { TemperError } from '../schemas/errors.js';
import { checkModelFiles, requireBaseModel } from './baseModels.js';
import { requireEvaluationDataset, requireJob, requireReadyDataset, requireWarmStartFiles } from './jobs.js';

export function makeCheckJob({ database, objects }: { database: Database; objects: ObjectStore }): Pick<DataActivities, 'checkJob'> {
  return {
    async checkJob({ uid }) {
      const job = await requireJob(database, uid);
      const dataset = await requireReadyDataset(database, job);
      await requireEvaluationDataset(database, job);
      if (!(await objects.head(dataset.object_key)))
        throw new TemperError('OBJECT_MISSING', `The content of ${job.dataset_name} is gone from the object store.`);
      await checkModelFiles(await requireBaseModel(database, job), objects);
      if (job.settings.warmStartFrom) await requireWarmStartFiles(database, job);
      return {
        evaluation: job.settings.evaluation,
        wandb: job.wandb !== null,
        examples: dataset.examples,
        approval: job.settings.requireApproval,
      };
    },
  };
}
