/** Base models as the steps of a job see them: what a name stands for, and whether it is whole. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import type { BaseModel, ModelSource } from '../schemas/baseModels.js';
import { TemperError } from '../schemas/errors.js';
import { findTunableModel } from '../stores/baseModels.js';
import type { Database } from '../stores/database.js';
import { resolveCommit } from '../stores/hub.js';
import type { JobRecord } from '../stores/jobs.js';
import { hasModelFile, readModelFile } from '../stores/modelFiles.js';
import type { ObjectStore } from '../stores/objects.js';

/** The base model of a job: of the catalogue, or the account's own. @throws TemperError BASE_MODEL_NOT_FOUND */
export async function requireBaseModel(
  database: Database,
  job: Pick<JobRecord, 'account_id' | 'base_model' | 'progress'>,
): Promise<BaseModel> {
  const model = await findTunableModel(database, job.account_id, job.base_model);
  if (!model)
    throw new TemperError(
      'BASE_MODEL_NOT_FOUND',
      `There is no base model ${job.base_model}. \`temper list models -a fireworks\` lists those of the catalogue, \`temper list models\` your own.`,
    );
  // What an earlier attempt was trained on is what the job is trained on.
  const commit = job.progress.baseModelContent;
  return commit && 'hub' in model.source ? { ...model, source: { ...model.source, revision: commit } } : model;
}

/**
 * Looks whether a model's essential files are there: configuration, tokenizer, and the weights, whole in one file or each part
 * that the index names. A hub model is left to the download.
 * @throws TemperError MODEL_FILES_MISSING naming every file that lacks
 */
export async function checkModelFiles(model: BaseModel, objects: ObjectStore): Promise<void> {
  const { source } = model;
  if ('hub' in source) return;
  const has = (name: string) => hasModelFile(source, name, objects);
  const missing = (await has('config.json')) ? [] : ['config.json'];
  const tokenizers = await Promise.all(['tokenizer.json', 'tokenizer.model', 'vocab.json'].map(has));
  if (!tokenizers.includes(true)) missing.push('tokenizer.json');
  const index = await readModelFile(source, 'model.safetensors.index.json', objects);
  if (index === null) {
    if (!(await has('model.safetensors'))) missing.push('model.safetensors');
  } else {
    for (const part of partsOf(index)) if (!(await has(part))) missing.push(part);
  }
  if (missing.length === 0) return;
  const where = 'folder' in source ? source.folder : 'prefix' in source ? `the object store under ${source.prefix}` : 'its upload';
  const named = `${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ` and ${missing.length - 5} more` : ''}`;
  throw new TemperError(
    'MODEL_FILES_MISSING',
    `The base model ${model.name} has no ${named} in ${where}. Put the model's files there and start the job again.`,
  );
}

function partsOf(index: string): string[] {
  try {
    const parts = Object.values((JSON.parse(index) as { weight_map: Record<string, string> }).weight_map);
    return [...new Set(parts)].map((part) => path.basename(part)).sort();
  } catch {
    return ['model.safetensors.index.json as a valid index'];
  }
}

const COMMIT = /^[0-9a-f]{40}$/;

/** What tells one content of a source from another, and names it in lineages: the hub's commit, or a hash. Null for a folder, which anyone may change. */
export async function identifySource(source: ModelSource, objects: ObjectStore): Promise<string | null> {
  if ('folder' in source) return null;
  if ('hub' in source) return COMMIT.test(source.revision ?? '') ? source.revision! : resolveCommit(source.hub, source.revision);
  if ('files' in source) return hashOf(source.files.map(({ name, sha256 }) => [name, sha256]).sort());
  const listed = (await objects.list(`${source.prefix}/`)).sort((a, b) => (a.key < b.key ? -1 : 1));
  if (listed.length === 0) throw new TemperError('MODEL_FILES_MISSING', `The object store has no model under ${source.prefix}.`);
  return hashOf(listed);
}

function hashOf(content: unknown): string {
  return createHash('sha256').update(JSON.stringify(content)).digest('hex').slice(0, 16);
}

export function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
