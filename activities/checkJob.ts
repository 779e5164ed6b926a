/** The last look before anything is spent: the API checked the same at creation, and things may have changed since. */
import type { DataActivities, JobPlan } from '../schemas/activities.js';
import type { Database } from '../stores/database.js';
import type { ObjectStore } from '../stores/objects.js';
import { TemperError } from '../schemas/errors.js';
import { TRACKERS } from '../schemas/tracker.js';
import { checkModelFiles, requireBaseModel } from './baseModels.js';
import type { JobRecord } from '../stores/jobs.js';
import { requireEvaluationDataset, requireJob, requireReadyDataset, requireStartFiles } from './jobs.js';

export function makeCheckJob({ database, objects }: { database: Database; objects: ObjectStore }): Pick<DataActivities, 'checkJob'> {
  return {
    async checkJob({ uid }) {
      const job = await requireJob(database, uid);
      const dataset = await requireReadyDataset(database, job);
      await requireEvaluationDataset(database, job);
      if (!(await objects.head(dataset.object_key)))
        throw new TemperError('OBJECT_MISSING', `The content of ${job.dataset_name} is gone from the object store.`);
      await checkModelFiles(await requireBaseModel(database, job), objects);
      await requireStartFiles(database, job);
      return {
        evaluation: job.settings.evaluation,
        trackers: TRACKERS.filter((tracker) => job[tracker] !== null),
        examples: dataset.examples,
        approval: job.settings.requireApproval,
        ...(job.resumed > 0 ? await doneBefore(objects, job) : {}),
      };
    },
  };
}

/** What a resumed job need not do again: as far as its results are still there. */
async function doneBefore(objects: ObjectStore, { trained, evaluation }: JobRecord): Promise<Pick<JobPlan, 'trained' | 'evaluated'>> {
  if (!trained) return {};
  for (const { name } of trained.files) if (!(await objects.head(`${trained.adapterKey}/${name}`))) return {};
  return { trained, ...(evaluation && (await objects.head(evaluation.reportKey)) ? { evaluated: evaluation } : {}) };
}
