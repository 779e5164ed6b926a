/**
 * Where base models come from and where a worker keeps them: the Hugging Face hub, a prefix of the object store, or a folder
 * on the worker. A model is brought once into a cache folder, whole or not at all.
 */
import { createHash } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { findBaseModel, type BaseModel, type ModelSource } from '../schemas/baseModels.js';
import { TemperError } from '../schemas/errors.js';
import { PROTOCOL_VERSION } from '../schemas/trainerProtocol.js';
import type { ObjectStore } from '../stores/objects.js';
import { runTrainer, type TrainerSettings } from './trainerProcess.js';

export function requireBaseModel(name: string): BaseModel {
  const model = findBaseModel(name);
  if (!model)
    throw new TemperError(
      'BASE_MODEL_NOT_FOUND',
      `There is no base model ${name}. \`temper list models -a fireworks\` lists those that can be tuned.`,
    );
  return model;
}

/** True when the source has a model's essential files, as far as this worker can tell without the hub. */
export async function checkModelFiles(model: BaseModel, objects: ObjectStore): Promise<void> {
  const { source } = model;
  if ('hub' in source) return;
  for (const name of ['config.json', 'model.safetensors', 'tokenizer.json']) {
    const present =
      'folder' in source ? await exists(path.join(source.folder, name)) : (await objects.head(`${source.prefix}/${name}`)) !== null;
    const where = 'folder' in source ? source.folder : `the object store under ${source.prefix}`;
    if (!present)
      throw new TemperError(
        'MODEL_FILES_MISSING',
        `The base model ${model.name} has no ${name} in ${where}. Put the model's files there and start the job again.`,
      );
  }
}

/** Gives the folder of a base model on this worker, bringing it first if need be. */
export async function ensureModelFolder(
  model: BaseModel,
  deps: { objects: ObjectStore; cache: string; trainer: TrainerSettings },
  signal: AbortSignal,
): Promise<string> {
  const { source } = model;
  if ('folder' in source) return source.folder;
  const folder = path.join(deps.cache, 'models', `${model.name.replaceAll('/', '--')}@${await identifySource(source, deps.objects)}`);
  if (await exists(path.join(folder, 'config.json'))) return folder;
  const partial = `${folder}.partial-${process.pid}`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  try {
    if ('prefix' in source) await bringFromStore(source.prefix, partial, deps.objects, signal);
    else await bringFromHub(source, partial, deps.trainer, signal);
    await rename(partial, folder).catch(async (error: unknown) => {
      if (!(await exists(path.join(folder, 'config.json')))) throw error;
    });
    return folder;
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

async function bringFromStore(prefix: string, folder: string, objects: ObjectStore, signal: AbortSignal): Promise<void> {
  for (const { key } of await objects.list(`${prefix}/`))
    await objects.getFile(key, path.join(folder, key.slice(prefix.length + 1)), undefined, signal);
}

async function bringFromHub(
  source: { hub: string; revision?: string },
  folder: string,
  trainer: TrainerSettings,
  signal: AbortSignal,
): Promise<void> {
  const spec = { version: PROTOCOL_VERSION, work: 'fetch', repository: source.hub, revision: source.revision, outputPath: folder } as const;
  await runTrainer(trainer, { name: `fetch-${source.hub.replaceAll('/', '--')}`, spec, signal, network: true });
}

/** What tells one content of a source from another: the hub's revision, or a hash of the object store's listing. Null for a folder. */
export async function identifySource(source: ModelSource, objects: ObjectStore): Promise<string | null> {
  if ('folder' in source) return null;
  if ('hub' in source) return source.revision ?? 'main';
  const listed = (await objects.list(`${source.prefix}/`)).sort((a, b) => (a.key < b.key ? -1 : 1));
  if (listed.length === 0) throw new TemperError('MODEL_FILES_MISSING', `The object store has no model under ${source.prefix}.`);
  return createHash('sha256').update(JSON.stringify(listed)).digest('hex').slice(0, 16);
}

function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
