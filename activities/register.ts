/** Makes the model of a finished job: the adapter's files, a card, its lineage; published all at once, under the ID reserved at the job's creation. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { DataActivities, RegisterInput } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import { resourceName } from '../schemas/names.js';
import type { Database, StoredFile } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import { listAttempts, type JobRecord } from '../stores/jobs.js';
import { findModel, publishModel, type ModelRecord } from '../stores/models.js';
import type { ObjectStore } from '../stores/objects.js';
import { renderModelCard } from '../templates/modelCard.js';
import { identifySource, requireBaseModel } from './baseModels.js';
import { withHeartbeats } from './heartbeat.js';
import { requireJob, requireReadyDataset } from './jobs.js';
import { readManifest, type PreparedManifest } from './preparedSets.js';
import { publishResults } from './resultsFile.js';

interface Dependencies {
  database: Database;
  objects: ObjectStore;
  scratch: string;
}

export function makeRegister(deps: Dependencies): Pick<DataActivities, 'registerModel'> {
  return { registerModel: (input) => withHeartbeats((signal) => registerModel(deps, input, signal)) };
}

async function registerModel(deps: Dependencies, input: RegisterInput, signal: AbortSignal): Promise<{ modelName: string }> {
  const { database, objects } = deps;
  const job = await requireJob(database, input.uid);
  const model = await findModel(database, job.account_id, job.model_id);
  const modelName = resourceName(job.account_id, 'models', job.model_id);
  if (!model || model.job_uid !== job.uid)
    throw new TemperError('MODEL_NOT_FOUND', `The model ${modelName} was deleted while its job was running.`);

  const manifest = await readManifest(objects, input.prepared.key);
  const folder = path.join(deps.scratch, `register-${process.pid}-${job.uid}`);
  try {
    await mkdir(folder, { recursive: true });
    const files = await copyAdapter(deps, input, model, folder, signal);
    const adapterConfig = JSON.parse(await readFile(path.join(folder, 'adapter_config.json'), 'utf8')) as {
      r: number;
      target_modules: string[];
    };
    const lineage = await describeLineage(deps, job, input, manifest, files);
    const card = renderModelCard({
      ...lineage,
      modelName,
      displayName: job.display_name || job.model_id,
      targetModules: adapterConfig.target_modules,
    });
    const written: Record<string, string> = { 'README.md': card, 'lineage.json': `${JSON.stringify(lineage, null, 2)}\n` };
    const template = manifest?.template?.text;
    // The reference's own file for a model that answers in a chat template.
    if (template)
      written['fireworks.json'] = `${JSON.stringify({ conversation_config: { style: 'jinja', args: { template } } }, null, 2)}\n`;
    for (const [name, text] of Object.entries(written)) {
      const key = `models/${model.uid}/${name}`;
      files.push({ name, key, ...(await objects.putBytes(key, text)) });
    }
    await publishResults(deps, job.uid, input.evaluation);
    await publishModel(database, {
      accountId: job.account_id,
      id: job.model_id,
      displayName: job.display_name || job.model_id,
      baseModel: job.base_model,
      peft: { baseModel: job.base_model, r: adapterConfig.r, targetModules: adapterConfig.target_modules },
      conversation: template ? { style: 'jinja', template } : null,
      files: files.sort((a, b) => (a.name < b.name ? -1 : 1)),
      contextLength: job.settings.cutoffLength,
      jobUid: job.uid,
      metrics: input.evaluation
        ? { [input.evaluation.metric]: { base: input.evaluation.base, tuned: input.evaluation.tuned, examples: input.evaluation.examples } }
        : null,
    });
    await appendEvent(database, job.uid, {
      key: 'registered',
      type: 'model',
      message: `The model ${modelName} is registered with ${files.length} files.`,
      data: { model: modelName },
    });
    return { modelName };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** From the attempt's folder to the model's, each file checked against the hash the trainer gave it. */
async function copyAdapter(
  { objects }: Dependencies,
  input: RegisterInput,
  model: ModelRecord,
  folder: string,
  signal: AbortSignal,
): Promise<StoredFile[]> {
  const files: StoredFile[] = [];
  for (const { name, sha256, sizeBytes } of input.training.files) {
    const local = path.join(folder, name);
    await objects.getFile(`${input.training.adapterKey}/${name}`, local, { sha256 }, signal);
    const key = `models/${model.uid}/${name}`;
    await objects.putFile(key, local, { digest: { sha256, sizeBytes } });
    files.push({ name, key, sha256, sizeBytes });
  }
  return files;
}

/** Enough to make the same model again, and to say what it was made from. */
async function describeLineage(
  { database, objects }: Dependencies,
  job: JobRecord,
  input: RegisterInput,
  manifest: PreparedManifest | null,
  files: StoredFile[],
) {
  const dataset = await requireReadyDataset(database, job);
  const attempts = await listAttempts(database, job.uid);
  const base = await requireBaseModel(database, job);
  return {
    version: 1,
    model: resourceName(job.account_id, 'models', job.model_id),
    job: input.name,
    baseModel: {
      name: base.name,
      // Where an account's own model came from says its record; here it is told by its content.
      source: 'files' in base.source ? ({} as Record<string, never>) : base.source,
      content: job.progress.baseModelContent ?? (await identifySource(base.source, objects)),
    },
    warmStartFrom: job.warm_start_from,
    dataset: { name: job.dataset_name, sha256: dataset.sha256, examples: dataset.examples },
    prepared: {
      hash: input.prepared.hash,
      trainExamples: input.prepared.trainExamples,
      evalExamples: input.prepared.evalExamples,
      labels: manifest?.labels?.length ?? null,
    },
    templateSha256: manifest?.template ? createHash('sha256').update(manifest.template.text).digest('hex') : null,
    settings: job.settings,
    settingOrigins: job.setting_origins,
    training: {
      steps: input.training.steps,
      tokens: input.training.tokens,
      trainedTokens: input.training.trainedTokens,
      finalLoss: input.training.finalLoss,
      ...(input.training.bestStep !== undefined ? { bestStep: input.training.bestStep, bestLoss: input.training.bestLoss } : {}),
      attempts: attempts.length,
      device: job.progress.device ?? null,
    },
    evaluation: input.evaluation
      ? { metric: input.evaluation.metric, base: input.evaluation.base, tuned: input.evaluation.tuned, examples: input.evaluation.examples }
      : null,
    files: files.map(({ name, sha256: hash, sizeBytes }) => ({ name, sha256: hash, sizeBytes })),
  };
}
