/** Where a model came from, gathered from the records of its job when it is registered. */
import { createHash } from 'node:crypto';
import type { RegisterInput } from '../schemas/activities.js';
import { LINEAGE_VERSION, type Lineage } from '../schemas/lineage.js';
import { resourceName } from '../schemas/names.js';
import type { Database, StoredFile } from '../stores/database.js';
import { listAttempts, type JobRecord } from '../stores/jobs.js';
import type { ObjectStore } from '../stores/objects.js';
import { identifySource, requireBaseModel } from './baseModels.js';
import { requireEvaluationDataset, requireReadyDataset, requireStartFiles, type ReadyDataset } from './jobs.js';
import { requireManifest } from './preparedSets.js';

export interface Origins {
  lineage: Lineage;
  /** The chat template that the rows were rendered with. */
  template: string | null;
}

/** @param files  of the adapter, as they are published */
export async function describeLineage(
  { database, objects }: { database: Database; objects: ObjectStore },
  job: JobRecord,
  input: RegisterInput,
  files: StoredFile[],
): Promise<Origins> {
  const { prepared, training, evaluation, verification } = input;
  const manifest = await requireManifest(objects, prepared.key);
  const dataset = await requireReadyDataset(database, job);
  const evaluationDataset = await requireEvaluationDataset(database, job);
  const attempts = await listAttempts(database, job.uid);
  const base = await requireBaseModel(database, job);
  const template = manifest.template?.text ?? null;
  const { renderTime, ...settings } = job.settings;
  const lineage: Lineage = {
    version: LINEAGE_VERSION,
    model: resourceName(job.account_id, 'models', job.model_id),
    job: input.name,
    baseModel: {
      name: base.name,
      // Where an account's own model came from says its record; here it is told by its content.
      source: 'files' in base.source ? {} : base.source,
      content: job.progress.baseModelContent ?? (await identifySource(base.source, objects)),
    },
    warmStart: await describeStart(database, job),
    dataset: datasetOrigin(job.account_id, dataset),
    evaluationDataset: evaluationDataset ? datasetOrigin(job.account_id, evaluationDataset) : null,
    prepared: {
      hash: prepared.hash,
      time: renderTime ?? job.create_time.toISOString(),
      templateSha256: template === null ? null : createHash('sha256').update(template).digest('hex'),
      setSha256: createHash('sha256').update(JSON.stringify(manifest.set)).digest('hex'),
      evaluationSha256: manifest.eval?.sha256 ?? null,
      trainExamples: prepared.trainExamples,
      evalExamples: prepared.evalExamples,
      labels: manifest.labels?.length ?? null,
    },
    settings,
    settingOrigins: job.setting_origins,
    training: {
      steps: training.steps,
      tokens: training.tokens,
      trainedTokens: training.trainedTokens,
      finalLoss: training.finalLoss,
      ...(training.bestStep !== undefined ? { bestStep: training.bestStep, bestLoss: training.bestLoss } : {}),
      attempts: attempts.length,
      microBatchTokens: job.progress.microBatchTokens ?? null,
    },
    hardware: { device: job.progress.device ?? null },
    versions: job.progress.versions ?? {},
    evaluation: evaluation
      ? { metric: evaluation.metric, base: evaluation.base, tuned: evaluation.tuned, examples: evaluation.examples }
      : null,
    verification: verification ?? null,
    files: files.map(({ name, sha256, sizeBytes }) => ({ name, sha256, sizeBytes })),
  };
  return { lineage, template };
}

function datasetOrigin(accountId: string, { id, sha256, examples }: ReadyDataset): Lineage['dataset'] {
  return { name: resourceName(accountId, 'datasets', id), sha256, examples };
}

async function describeStart(database: Database, job: JobRecord): Promise<Lineage['warmStart']> {
  const weights = (await requireStartFiles(database, job)).find(({ name }) => name.startsWith('adapter_model.'));
  if (!weights) return null;
  const { warmStartFrom, fromCheckpoint } = job.settings;
  const name = warmStartFrom ?? `${fromCheckpoint!.job}/checkpoints/${fromCheckpoint!.step}`;
  return { name, sha256: weights.sha256 };
}
