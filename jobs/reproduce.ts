/** A model once more: the job that made it, from its lineage, with what it stood on as long as that is still the same. */
import { TemperError } from '../schemas/errors.js';
import { LINEAGE_VERSION, type Lineage } from '../schemas/lineage.js';
import { parseName, resourceName } from '../schemas/names.js';
import { startKey, type JobSettings } from '../schemas/task.js';
import type { Database, StoredFile } from '../stores/database.js';
import { findDataset, findDatasetByContent } from '../stores/datasets.js';
import { findJob } from '../stores/jobs.js';
import { findModel, type ModelRecord } from '../stores/models.js';
import type { JobRequest } from './jobRequest.js';
import { resolveSettings, type ResolvedJob, type SettingsSources } from './resolveSettings.js';

/** @throws TemperError MODEL_NOT_REPRODUCIBLE for a model whose making was not recorded */
export function requireLineage(model: ModelRecord): Lineage {
  const name = resourceName(model.account_id, 'models', model.id);
  if (model.state !== 'READY')
    throw new TemperError('MODEL_NOT_READY', `${name} is ${model.state}: there is nothing to make once more yet.`);
  if (model.lineage?.version === LINEAGE_VERSION) return model.lineage;
  const why = model.job_uid ? 'was made by an earlier release, which recorded less' : 'was brought here, not made here';
  throw new TemperError('MODEL_NOT_REPRODUCIBLE', `${name} ${why}: it cannot be made once more.`);
}

/** The lineage as a request, to be checked and completed like any other. */
export function requestOf(first: Lineage): JobRequest {
  const { task, baseModel, warmStartFrom, warmupSteps, evaluationSplit, evaluationSteps, cutoffLength, ...settings } = settingsOf(first);
  const { epochs, learningRate, batchSize, loraRank, weightDecay, quantization, seed, evaluation, evaluationDataset, earlyStop } = settings;
  return {
    displayName: `${first.model.split('/').at(-1)} once more`.slice(0, 64),
    dataset: first.dataset.name,
    ...(warmStartFrom ? { warmStartFrom } : { baseModel, loraRank }),
    task,
    epochs,
    learningRate,
    batchSize,
    weightDecay,
    quantization,
    seed,
    evaluation,
    maxContextLength: cutoffLength,
    ...(warmupSteps !== null ? { warmupSteps } : {}),
    ...(evaluation && !evaluationDataset ? { evaluationSplit } : {}),
    ...(evaluationDataset ? { evaluationDataset } : {}),
    ...(evaluation && evaluationSteps != null ? { evaluationSteps } : {}),
    ...(evaluation && earlyStop ? { earlyStop } : {}),
    wandb: null,
    warnings: [],
  };
}

/** Settings as they were, not as today's defaults would have them. @throws TemperError MODEL_NOT_REPRODUCIBLE, and what refuses any job */
export async function resolveReproduction(sources: SettingsSources, accountId: string, first: Lineage): Promise<ResolvedJob> {
  const { database } = sources;
  const request = requestOf(first);
  const dataset = await findSame(database, accountId, first.dataset);
  const evaluationDataset = first.evaluationDataset ? await findSame(database, accountId, first.evaluationDataset) : undefined;
  if (first.warmStart && !settingsOf(first).fromCheckpoint) await requireSameAdapter(database, accountId, first.warmStart);
  const startFiles = await findStartFiles(sources, accountId, first);
  const resolved = await resolveSettings(sources, accountId, { ...request, dataset, evaluationDataset });
  return {
    ...resolved,
    startFiles,
    settings: { ...settingsToRepeat(first), ...(evaluationDataset ? { evaluationDataset } : {}), renderTime: first.prepared.time },
    origins: first.settingOrigins as ResolvedJob['origins'],
  };
}

/** What decided the weights. A limit of time is told by the step that it ended training with: it has passed, and would cut elsewhere now. */
export function settingsToRepeat(first: Lineage): JobSettings {
  const { maxGpuSeconds, deadline, requireApproval: _, ...settings } = settingsOf(first);
  const wasLimited = maxGpuSeconds !== undefined || deadline !== undefined;
  return wasLimited ? { ...settings, stopAtStep: first.training.steps } : settings;
}

/** The first job's copy of the adapter that it started from. */
async function findStartFiles({ database, objects }: SettingsSources, accountId: string, first: Lineage): Promise<StoredFile[]> {
  const { fromCheckpoint } = settingsOf(first);
  if (!fromCheckpoint) return [];
  const parsed = parseName(first.job, 'fineTuningJobs', accountId);
  const job = parsed ? await findJob(database, accountId, parsed.id) : undefined;
  const files = job ? fromCheckpoint.files.map((file) => ({ ...file, key: startKey(job.uid, file.name) })) : [];
  const found = await Promise.all(files.map(({ key }) => objects.head(key)));
  if (files.length > 0 && found.every(Boolean)) return files;
  const what = `It started from a checkpoint of ${fromCheckpoint.job}, a copy of which was deleted with ${first.job}.`;
  throw new TemperError('MODEL_NOT_REPRODUCIBLE', `The model cannot be made once more. ${what}`);
}

function settingsOf(first: Lineage): JobSettings {
  return first.settings as unknown as JobSettings;
}

/** The dataset of that name if it still has that content, else any of the account that has it. */
async function findSame(database: Database, accountId: string, { name, sha256 }: Lineage['dataset']): Promise<string> {
  const parsed = parseName(name, 'datasets', accountId);
  const named = parsed ? await findDataset(database, accountId, parsed.id) : undefined;
  const found = named?.state === 'READY' && named.sha256 === sha256 ? named : await findDatasetByContent(database, accountId, sha256);
  if (found) return resourceName(accountId, 'datasets', found.id);
  const what = named ? 'has another content now' : 'is gone';
  throw new TemperError(
    'MODEL_NOT_REPRODUCIBLE',
    `The dataset ${name} ${what}. Upload the file with the SHA-256 ${sha256} again, under any ID, and repeat the request.`,
  );
}

async function requireSameAdapter(
  database: Database,
  accountId: string,
  { name, sha256 }: NonNullable<Lineage['warmStart']>,
): Promise<void> {
  const parsed = parseName(name, 'models', accountId);
  const model = parsed ? await findModel(database, accountId, parsed.id) : undefined;
  if (model?.state === 'READY' && model.files.some((file) => file.sha256 === sha256)) return;
  throw new TemperError('MODEL_NOT_REPRODUCIBLE', `The model went on from ${name}, which is gone or has other weights now.`);
}
