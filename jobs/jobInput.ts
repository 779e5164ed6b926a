/** What a job's workflow is started with: the same whoever starts it. */
import type { JobInput } from '../schemas/activities.js';
import { resourceName } from '../schemas/names.js';
import type { JobRecord } from '../stores/jobs.js';

/** `name` is the workflow ID, whichever route created the job. */
export function jobInput(job: JobRecord): JobInput {
  return {
    uid: job.uid,
    name: resourceName(job.account_id, 'fineTuningJobs', job.id),
    accountId: job.account_id,
    datasetName: job.dataset_name,
    baseModel: job.base_model,
    kind: job.kind,
    modelName: resourceName(job.account_id, 'models', job.model_id),
    priority: job.priority,
    ...(job.settings.deadline ? { deadline: job.settings.deadline } : {}),
    ...(job.abandoned ? { abandoned: job.abandoned } : {}),
    ...(job.resumed > 0 ? { resumed: { transition: job.transition, attempt: job.attempt } } : {}),
  };
}
