/**
 * Exports of models. What is made lies where nobody can reach it until one statement publishes it whole; each try of a step has a place of
 * its own, so that one which was taken for dead can spoil nothing.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { TemperError } from '../schemas/errors.js';
import type {
  ExportCheck,
  ExportDataActivities,
  ExportGpuActivities,
  ExportInput,
  ExportStage,
  GgufQuantization,
} from '../schemas/export.js';
import { PROTOCOL_VERSION, type CompletedEvent, type ConvertSpec, type MergeSpec, type TrainerEvent } from '../schemas/trainerProtocol.js';
import type { Database, StoredFile } from '../stores/database.js';
import {
  endExport,
  exportPrefix,
  findExportByUid,
  findMergedFiles,
  publishExport,
  recordExportProgress,
  recordMerged,
  type ExportRecord,
} from '../stores/exports.js';
import { findJobByUid } from '../stores/jobs.js';
import { readModelFile } from '../stores/modelFiles.js';
import { findModelByUid, type ModelRecord } from '../stores/models.js';
import { digestTap, type ObjectStore } from '../stores/objects.js';
import { requireBaseModel } from './baseModels.js';
import { CONVERTER, ensureConverter } from './ggufConverter.js';
import { withHeartbeats } from './heartbeat.js';
import { trainedQuantization } from './jobs.js';
import { leaseModelFolder, type ModelLease } from './modelCache.js';
import type { TrainDependencies } from './train.js';
import { runTrainer } from './trainerProcess.js';
import { endUnfollowed } from './trainings.js';

interface DataDependencies {
  database: Database;
  objects: ObjectStore;
  cache: string;
  scratch: string;
  python: string;
}

/** Texts of several kinds, on which the merged model is held against base and adapter. */
const CHECK_TEXTS = [
  'The capital of France is Paris, and the capital of Japan is Tokyo.',
  'def add(a: int, b: int) -> int:\n    """The sum of two numbers."""\n    return a + b\n',
  'Q: My card has not arrived yet. What can I do?\nA: ',
  'Once upon a time, in a forest far away, there lived an old owl who could count to 1,000.',
  '{"name": "Ada", "born": 1815, "fields": ["mathematics", "computing"]}',
  'Übung macht den Meister. El gato duerme. 東京は日本の首都です。',
];
const PROGRESS_EVERY_MS = 2_000;
const WEIGHTS = ['adapter_config.json', 'adapter_model.safetensors'];

export function makeExportData(deps: DataDependencies): ExportDataActivities {
  const { database, objects } = deps;
  return {
    async beginExport({ uid }) {
      const found = await findExportByUid(database, uid);
      const goesOn = found !== undefined && (await recordExportProgress(database, uid, 'reading', 0));
      if (!found || !goesOn) return { goesOn: false, format: found?.format ?? 'ADAPTER', merges: false };
      const { format } = found;
      return { goesOn, format, merges: format === 'MERGED' || (format === 'GGUF' && !(await findMergedFiles(database, found.model_uid))) };
    },
    finishExport: (input) => withHeartbeats((signal) => finishExport(deps, input, signal)),
    abandonExport: async ({ uid }, { state, failure }) => {
      const found = await findExportByUid(database, uid);
      await endExport(database, uid, state, failure);
      if (found && found.state !== 'COMPLETED') await objects.removePrefix(`${exportPrefix(found)}/`);
    },
  };
}

export function makeMergeModel(deps: TrainDependencies): ExportGpuActivities {
  return { mergeModel: (input) => withHeartbeats((signal) => mergeModel(deps, input, signal)) };
}

async function finishExport(deps: DataDependencies, { uid }: ExportInput, signal: AbortSignal): Promise<void> {
  const { database, objects } = deps;
  const found = await requireLiveExport(database, uid);
  if (!found) return;
  const { record, model } = found;
  if (record.format === 'ADAPTER') {
    const files = await readWhole(deps, record, model.files, signal);
    await publishExport(database, uid, files, null);
    return;
  }
  const folder = path.join(deps.scratch, `export-${process.pid}-${uid}`);
  try {
    await mkdir(folder, { recursive: true });
    const tell = teller(database, uid);
    tell('converting', 0, null);
    const converterPath = await ensureConverter(deps, signal);
    const source = path.join(folder, 'source');
    const merged = record.format === 'GGUF' ? (record.merged ?? (await findMergedFiles(database, record.model_uid))) : null;
    if (record.format === 'GGUF' && !merged) throw new TemperError('OBJECT_MISSING', 'The merged model is gone: start the export again.');
    await bringFiles(objects, merged ?? adapterFiles(model), source, signal);
    const quantization = record.quantization as GgufQuantization;
    const name = `${record.model_id}${merged ? '' : '-adapter'}-${quantization}.gguf`;
    const spec: ConvertSpec = {
      version: PROTOCOL_VERSION,
      work: 'convert',
      converterPath,
      path: source,
      ...(merged ? {} : { basePath: await bringBaseConfig(deps, model, path.join(folder, 'base')) }),
      quantization: quantization.toLowerCase() as ConvertSpec['quantization'],
      outputPath: path.join(folder, 'result', name),
    };
    const sourceBytes = (merged ?? adapterFiles(model)).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const onEvent = (event: TrainerEvent): void => {
      if (event.event !== 'progress') return;
      if (event.stage === 'convert') tell('converting', event.done, sourceBytes);
      else tell('checking', event.done, event.total);
    };
    const run = { name: 'run', spec, signal, onEvent, isolated: true };
    const { completed } = await runTrainer({ python: deps.python, scratch: folder }, run);
    const { tensors, weights, weightDifference } = completed.converted!;
    const files = await store(deps, record, path.dirname(spec.outputPath), completed, tell);
    const checked: ExportCheck = { tensors, weights: String(weights), weightDifference, converter: CONVERTER };
    await publish(deps, record, files, checked);
    // A merged model that was made for this alone.
    if (record.merged) await objects.removePrefix(`${path.dirname(record.merged[0]!.key)}/`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function mergeModel(deps: TrainDependencies, { uid }: ExportInput, signal: AbortSignal): Promise<void> {
  const { database } = deps;
  const found = await requireLiveExport(database, uid);
  if (!found) return;
  const { record, model } = found;
  const folder = path.join(deps.scratch, `merge-${process.pid}-${uid}`);
  let base: ModelLease | undefined;
  try {
    await mkdir(folder, { recursive: true });
    await endUnfollowed(); // a trainer that Temporal has lost sight of leaves the GPU
    const tell = teller(database, uid);
    tell('merging', 0, null);
    const adapterPath = path.join(folder, 'adapter');
    await bringFiles(deps.objects, model.files, adapterPath, signal);
    base = await leaseModelFolder(await baseModelOf(database, model), deps, signal);
    const job = model.job_uid ? await findJobByUid(database, model.job_uid) : undefined;
    const spec: MergeSpec = {
      version: PROTOCOL_VERSION,
      work: 'merge',
      model: { path: base.folder, quantization: job ? trainedQuantization(job) : 'none', dtype: 'auto' },
      adapterPath,
      texts: CHECK_TEXTS,
      shardBytes: null,
      outputPath: path.join(folder, 'merged'),
    };
    const onEvent = (event: TrainerEvent): void => {
      if (event.event === 'progress') tell(event.stage === 'merge' ? 'merging' : 'checking', event.done, event.total);
    };
    const { completed } = await runTrainer({ ...deps.trainer, scratch: folder }, { name: 'run', spec, signal, onEvent });
    const files = await store(deps, record, spec.outputPath, completed, tell);
    if (record.format !== 'MERGED') {
      if (!(await recordMerged(database, uid, files))) await deps.objects.removePrefix(`${path.dirname(files[0]!.key)}/`);
      return;
    }
    const { difference, tolerance, effect } = completed.merged!;
    await publish(deps, record, files, { difference, tolerance, effect });
  } finally {
    await base?.release();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Null for one that has ended, or is gone with its model. */
async function requireLiveExport(database: Database, uid: string): Promise<{ record: ExportRecord; model: ModelRecord } | null> {
  const record = await findExportByUid(database, uid);
  const model = record && (await findModelByUid(database, record.model_uid));
  if (!record || model?.state !== 'READY') return null;
  return record.state === 'RUNNING' || record.state === 'PENDING' ? { record, model } : null;
}

/** The base model as the adapter was trained on it, though its source moves on. */
async function baseModelOf(database: Database, model: ModelRecord) {
  const content = model.lineage?.baseModel?.content ?? undefined;
  return requireBaseModel(database, {
    account_id: model.account_id,
    base_model: model.base_model!,
    progress: content ? { baseModelContent: content } : {},
  });
}

function adapterFiles(model: ModelRecord): StoredFile[] {
  return model.files.filter(({ name }) => WEIGHTS.includes(name));
}

async function bringFiles(objects: ObjectStore, files: StoredFile[], folder: string, signal: AbortSignal): Promise<void> {
  for (const file of files) await objects.getFile(file.key, path.join(folder, file.name), file, signal);
}

/** A folder with the base model's configuration, which is all that the converter asks of it. */
async function bringBaseConfig({ database, objects }: DataDependencies, model: ModelRecord, folder: string): Promise<string> {
  const base = await baseModelOf(database, model);
  const config = await readModelFile(base.source, 'config.json', objects);
  if (config === null) throw new TemperError('MODEL_FILES_MISSING', `The base model ${base.name} has no config.json.`);
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'config.json'), config);
  return folder;
}

/** Each file read once more, to its end. @throws TemperError OBJECT_CORRUPT */
async function readWhole(
  { database, objects }: DataDependencies,
  record: ExportRecord,
  files: StoredFile[],
  signal: AbortSignal,
): Promise<StoredFile[]> {
  const tell = teller(database, record.uid);
  for (const [done, file] of files.entries()) {
    tell('checking', done, files.length);
    const tap = digestTap();
    tap.stream.resume();
    for await (const chunk of await objects.getStream(file.key)) {
      signal.throwIfAborted();
      if (!tap.stream.write(chunk)) await new Promise((resolve) => tap.stream.once('drain', resolve));
    }
    await new Promise<void>((resolve) => tap.stream.end(resolve));
    if (tap.digest().sha256 !== file.sha256)
      throw new TemperError('OBJECT_CORRUPT', `The file ${file.name} of the model does not have the content it was stored with.`);
  }
  return files;
}

/** Stores what the trainer made under a key of this try alone. */
async function store(
  { objects }: { objects: ObjectStore },
  record: ExportRecord,
  folder: string,
  { files }: CompletedEvent,
  tell: ReturnType<typeof teller>,
): Promise<StoredFile[]> {
  const prefix = `${exportPrefix(record)}/${randomUUID()}`;
  const stored: StoredFile[] = [];
  for (const [done, file] of files.entries()) {
    tell('storing', done, files.length);
    const key = `${prefix}/${file.name}`;
    await objects.putFile(key, path.join(folder, file.name), { digest: file });
    stored.push({ key, name: file.name, sha256: file.sha256, sizeBytes: file.sizeBytes });
  }
  return stored;
}

/** What was cancelled or deleted meanwhile leaves nothing. */
async function publish(
  { database, objects }: { database: Database; objects: ObjectStore },
  record: ExportRecord,
  files: StoredFile[],
  checked: ExportCheck,
): Promise<void> {
  if (await publishExport(database, record.uid, files, checked)) return;
  const now = await findExportByUid(database, record.uid);
  if (now?.state !== 'COMPLETED') await objects.removePrefix(`${path.dirname(files[0]!.key)}/`);
}

/** Tells how far it is, not too often, and never holds up the work. */
function teller(database: Database, uid: string): (stage: ExportStage, done: number, total: number | null) => void {
  let last = { stage: '' as ExportStage | '', atMs: 0 };
  return (stage, done, total) => {
    const nowMs = Date.now();
    if (stage === last.stage && nowMs - last.atMs < PROGRESS_EVERY_MS) return;
    last = { stage, atMs: nowMs };
    const percent = total ? Math.min(99, Math.floor((100 * done) / total)) : 0;
    void recordExportProgress(database, uid, stage, percent).catch(() => undefined);
  };
}
