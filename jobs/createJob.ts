/** A job's row, whole or not at all: settings, model ID, secret and first events in one transaction. Its workflow comes after. */
import { randomUUID } from 'node:crypto';
import { findBaseModel } from '../schemas/baseModels.js';
import { TemperError } from '../schemas/errors.js';
import type { Lineage } from '../schemas/lineage.js';
import { resourceName } from '../schemas/names.js';
import type { Prices } from '../schemas/prices.js';
import type { JobProgressData, OpenaiJobSettings, WandbSettings } from '../stores/database.js';
import { appendEventIn } from '../stores/events.js';
import { createJob, findJob, type JobRecord } from '../stores/jobs.js';
import { requireWithinQuota } from '../stores/quotas.js';
import type { SecretKeys } from '../stores/secretKeys.js';
import { putSecret } from '../stores/secrets.js';
import { estimateNewJob } from './jobEstimate.js';
import { startKey } from '../schemas/task.js';
import { withoutSecrets, type JobRequest } from './jobRequest.js';
import { resolveReproduction } from './reproduce.js';
import { resolveSettings, type ResolvedJob, type SettingsSources } from './resolveSettings.js';

export interface JobSources extends SettingsSources {
  /** Encrypt the job's W&B key. */
  secretKeys: SecretKeys;
  /** Kept with the job; null: costs are not shown. */
  prices: Prices | null;
}

export interface WantedJob {
  accountId: string;
  id: string;
  /** The route family that shows it. */
  collection: 'fineTuningJobs' | 'supervisedFineTuningJobs';
  /** As it was sent. */
  body: object;
  requestHash: string;
  request: JobRequest;
  /** Of a job that was asked for with OpenAI's protocol. */
  openai?: OpenaiJobSettings;
  createdBy: string;
  /** The run of retraining that makes it. */
  run?: { name: string; workflowId: string };
  /** The lineage of the model that it makes once more. */
  reproduces?: Lineage;
}

/** Creates the job, or gives the one that has the ID by now: the caller compares `request_hash`. */
export async function insertJob(sources: JobSources, wanted: WantedJob): Promise<JobRecord> {
  const { database, secretKeys } = sources;
  const { accountId, id, request } = wanted;
  const { reproduces } = wanted;
  const resolved = reproduces
    ? await resolveReproduction(sources, accountId, reproduces)
    : await resolveSettings(sources, accountId, request);
  const estimate = await estimateNewJob(database, resolved, sources.prices);
  const modelId = request.modelId ?? id;
  refuseBaseModelId(accountId, modelId);
  const uid = randomUUID();
  // Its own copy: the other job goes on, and keeps its newest checkpoints only.
  for (const { key, name } of resolved.startFiles ?? []) await sources.objects.copy(key, startKey(uid, name));
  const wandb = wandbSettings(request, uid);
  const inserted = await database.transaction().execute(async (transaction) => {
    const job = await createJob(transaction, {
      uid,
      accountId,
      id,
      collection: wanted.collection,
      displayName: request.displayName,
      request: withoutSecrets(wanted.body),
      requestHash: wanted.requestHash,
      settings: resolved.settings,
      settingOrigins: resolved.origins,
      datasetName: resourceName(accountId, 'datasets', resolved.dataset.id),
      datasetUid: resolved.dataset.uid,
      modelId,
      priority: request.priority ?? DEFAULT_PRIORITY,
      wandb,
      mlflow: request.mlflowExperiment ? { experiment: request.mlflowExperiment, state: 'PENDING' } : null,
      tensorboard: request.tensorboard ? { state: 'PENDING' } : null,
      openai: wanted.openai,
      createdBy: wanted.createdBy,
      estimate,
      run: wanted.run,
      ...(reproduces ? { reproduction: { first: reproduces }, progress: pinnedContent(reproduces) } : {}),
    });
    if (job && wandb && request.wandb)
      await putSecret(transaction, secretKeys, {
        accountId,
        id: wandb.secretId,
        keyName: 'WANDB_API_KEY',
        value: request.wandb.apiKey,
      });
    if (job) for (const event of warningEvents(resolved)) await appendEventIn(transaction, uid, event);
    if (job) await requireWithinQuota(transaction, accountId, 'queued-jobs', 'jobs');
    return job;
  });
  return inserted ?? (await findJob(database, accountId, id))!;
}

/** @throws TemperError RESOURCE_ALREADY_EXISTS */
export function refuseBaseModelId(accountId: string, modelId: string): void {
  if (findBaseModel(resourceName(accountId, 'models', modelId)))
    throw new TemperError('RESOURCE_ALREADY_EXISTS', `${modelId} is the ID of a base model. Choose another model ID.`);
}

const DEFAULT_PRIORITY = 3;

/** The base model's content that the job is to use, though its source moves on. */
function pinnedContent({ baseModel }: Lineage): JobProgressData {
  return baseModel.content ? { baseModelContent: baseModel.content } : {};
}

function wandbSettings({ wandb }: JobRequest, uid: string): WandbSettings | null {
  if (!wandb) return null;
  const { project, entity, runId } = wandb;
  return { project, ...(entity ? { entity } : {}), runId: runId ?? uid, secretId: `wandb-${uid}`, state: 'PENDING' };
}

function warningEvents({ warnings }: ResolvedJob) {
  return warnings.map(({ code, message }, index) => ({ key: `settings/${index}`, type: 'warning', message, data: { code } }));
}
