/** What a run of retraining trains on: chosen, compared with the last run's, and made into one dataset where it comes in parts. */
import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { resolveModelName } from '../jobs/modelNames.js';
import { fingerprintOf, runName } from '../jobs/retrainingRun.js';
import type { DatasetInput } from '../schemas/activities.js';
import { notFound, TemperError } from '../schemas/errors.js';
import { MAX_IMPORTED_OBJECTS, MAX_SIGNED_UPLOAD_BYTES } from '../schemas/limits.js';
import { parseName, resourceName } from '../schemas/names.js';
import type { DataChoice, RetrainingDataActivities } from '../schemas/retraining.js';
import type { Database, DatasetPart } from '../stores/database.js';
import { createDataset, findDataset, readyDatasets, recordUpload, type DatasetRecord } from '../stores/datasets.js';
import { findModel } from '../stores/models.js';
import type { ObjectStore } from '../stores/objects.js';
import { findRunByUid, lastCompletedRun, partVersion, recordChoice, trainedParts, type RunRecord } from '../stores/retrainingRuns.js';
import { withHeartbeats } from './heartbeat.js';

export interface RetrainingDataDependencies {
  database: Database;
  objects: ObjectStore;
  /** Where objects to be imported lie, below `imports/ACCOUNT/`: may be another bucket. */
  imports: ObjectStore;
  scratch: string;
}

export function makeRetrainingData(
  dependencies: RetrainingDataDependencies,
): Pick<RetrainingDataActivities, 'chooseData' | 'assembleDataset'> {
  return {
    chooseData: ({ runUid }) => withHeartbeats(async () => chooseData(dependencies, await requireRun(dependencies.database, runUid))),
    assembleDataset: ({ runUid }) =>
      withHeartbeats(async (signal) => assembleDataset(dependencies, await requireRun(dependencies.database, runUid), signal)),
  };
}

export async function requireRun(database: Database, uid: string): Promise<RunRecord> {
  const run = await findRunByUid(database, uid);
  if (!run) throw new TemperError('RESOURCE_NOT_FOUND', 'The run was deleted, with its schedule.');
  return run;
}

/** The data of a run before it is one dataset: an existing one, or the objects that will make one. */
type Found = { dataset: DatasetRecord } | { parts: DatasetPart[] } | { nothing: string };

async function chooseData(dependencies: RetrainingDataDependencies, run: RunRecord): Promise<DataChoice> {
  const { database } = dependencies;
  const found = await findData(dependencies, run);
  if ('nothing' in found) return { dataset: null, skip: found.nothing, assemble: null };
  const contents = 'dataset' in found ? [found.dataset.sha256!] : found.parts.map(partVersion);
  const fingerprint = fingerprintOf(contents, run.retraining);
  const last = run.schedule_uid ? await lastCompletedRun(database, run.schedule_uid) : undefined;
  if (last?.fingerprint === fingerprint && !run.retraining.trainUnchanged) {
    const skip = `Nothing has changed since ${last.id}: the data and the settings are the same.`;
    return { dataset: last.dataset_name, skip, assemble: null };
  }
  const startModel = await chooseStart(database, run);
  if ('dataset' in found) {
    const dataset = resourceName(run.account_id, 'datasets', found.dataset.id);
    await recordChoice(database, run.uid, { fingerprint, datasetName: dataset, parts: [], startModel });
    return { dataset, skip: null, assemble: null };
  }
  await recordChoice(database, run.uid, { fingerprint, datasetName: null, parts: found.parts, startModel });
  return { dataset: null, skip: null, assemble: { datasetId: run.id, objects: found.parts.length } };
}

async function findData({ database, imports }: RetrainingDataDependencies, run: RunRecord): Promise<Found> {
  const { dataset, newest, merge, s3Import } = run.retraining.data;
  const accountId = run.account_id;
  if (dataset !== undefined) return { dataset: await requireReady(database, accountId, dataset) };
  if (newest) {
    const [first] = await readyDatasets(database, accountId, newest.prefix, 1);
    return first ? { dataset: first } : { nothing: `No READY dataset has an ID that begins with ${newest.prefix}.` };
  }
  if (merge) {
    const datasets = merge.datasets
      ? await Promise.all(merge.datasets.map((name) => requireReady(database, accountId, name)))
      : (await readyDatasets(database, accountId, merge.prefix!, MAX_IMPORTED_OBJECTS)).reverse();
    if (datasets.length === 0) return { nothing: `No READY dataset has an ID that begins with ${merge.prefix}.` };
    return {
      parts: datasets.map(({ object_key, sha256, size_bytes }) => ({ key: object_key!, etag: sha256!, sizeBytes: size_bytes })),
    };
  }
  const folder = `imports/${accountId}/${s3Import!.prefix}`;
  const lying = (await imports.list(folder)).filter(({ key }) => isImportable(key)).sort((a, b) => (a.key < b.key ? -1 : 1));
  const earlier = s3Import!.objects === 'NEW' && run.schedule_uid ? await trainedParts(database, run.schedule_uid) : new Set();
  const parts = lying.filter((object) => !earlier.has(partVersion(object)));
  if (parts.length > MAX_IMPORTED_OBJECTS)
    throw new TemperError(
      'DATASET_INVALID',
      `${parts.length} objects lie under ${folder}, more than ${MAX_IMPORTED_OBJECTS}. Join some of them, or import one folder at a time.`,
    );
  if (parts.length > 0) return { parts: parts.map(({ key, etag, sizeBytes }) => ({ key, etag, sizeBytes })) };
  return { nothing: lying.length === 0 ? `No *.jsonl object lies under ${folder}.` : `No object under ${folder} is new.` };
}

/** Plain keys only: gateways disagree on what `//` and `..` mean. */
function isImportable(key: string): boolean {
  return key.endsWith('.jsonl') && !key.split('/').some((part) => part === '' || part === '.' || part === '..');
}

async function requireReady(database: Database, accountId: string, name: string): Promise<DatasetRecord> {
  const parsed = parseName(name, 'datasets', accountId);
  const dataset = parsed?.accountId === accountId ? await findDataset(database, accountId, parsed.id) : undefined;
  if (!dataset) throw notFound(accountId, 'datasets', parsed?.id ?? name);
  if (dataset.state !== 'READY' || !dataset.object_key || !dataset.sha256)
    throw new TemperError('DATASET_NOT_READY', `${name} is not READY: upload its file and wait until it is.`);
  return dataset;
}

/** The adapter to go on from: what the alias points at, if it is one of the same base model. */
async function chooseStart(database: Database, { account_id: accountId, retraining }: RunRecord): Promise<string | null> {
  if (retraining.startFrom !== 'PROMOTED_MODEL' || !retraining.promotion) return null;
  const name = await resolveModelName(database, accountId, retraining.promotion.alias);
  const parsed = parseName(name, 'models', accountId);
  const model = parsed ? await findModel(database, accountId, parsed.id) : undefined;
  const base = retraining.fineTuning.baseModel;
  const isOfBase = base === undefined || model?.peft?.baseModel === base || model?.peft?.baseModel.endsWith(`/models/${base}`);
  return model?.state === 'READY' && isOfBase ? name : null;
}

/** One after the other, each ended by a line break, as the upload of a dataset of the run's own. Made again, it is the same upload. */
async function assembleDataset(
  { database, objects, imports, scratch }: RetrainingDataDependencies,
  run: RunRecord,
  signal: AbortSignal,
): Promise<DatasetInput> {
  const source = run.retraining.data.s3Import ? imports : objects;
  const sizeBytes = run.parts.reduce((sum, part) => sum + part.sizeBytes, 0);
  if (sizeBytes > MAX_SIGNED_UPLOAD_BYTES)
    throw new TemperError(
      'BODY_TOO_LARGE',
      `The ${run.parts.length} parts have ${sizeBytes} bytes together, and a dataset at most ${MAX_SIGNED_UPLOAD_BYTES}.`,
    );
  const dataset = await createDataset(database, {
    uid: randomUUID(),
    accountId: run.account_id,
    id: run.id,
    displayName: '',
    request: { retrainingRun: runName(run) },
    requestHash: createHash('sha256').update(`run ${run.uid}`).digest('hex'),
    createdBy: run.created_by,
  });
  if ((dataset.request as { retrainingRun?: string }).retrainingRun !== runName(run))
    throw new TemperError('RESOURCE_ALREADY_EXISTS', `The dataset ${run.id}, which this run would make, exists already.`);
  const name = resourceName(run.account_id, 'datasets', dataset.id);
  const folder = path.join(scratch, `assemble-${process.pid}-${run.uid}`);
  await mkdir(folder, { recursive: true });
  try {
    const file = path.join(folder, 'data.jsonl');
    await pipeline(joinParts(source, run.parts), createWriteStream(file), { signal });
    const key = `uploads/${dataset.uid}/${run.uid}`;
    const digest = await objects.putFile(key, file);
    await recordUpload(database, dataset, { key, filename: `${dataset.id}.jsonl`, ...digest });
    await recordChoice(database, run.uid, {
      fingerprint: run.fingerprint!,
      datasetName: name,
      parts: run.parts,
      startModel: run.start_model,
    });
    return { uid: dataset.uid, name, uploadKey: key, declaredSizeBytes: digest.sizeBytes, declaredSha256: digest.sha256 };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const NEWLINE = 0x0a;

/** The bytes of the parts; a mark at the beginning of a part would stand in the middle of the whole, and is left out. */
async function* joinParts(source: ObjectStore, parts: DatasetPart[]): AsyncGenerator<Buffer> {
  for (const { key } of parts) {
    let first = true;
    let last = NEWLINE;
    for await (const piece of source.readObject(key)) {
      let bytes = piece;
      if (first && bytes.subarray(0, 3).equals(BYTE_ORDER_MARK)) bytes = bytes.subarray(3);
      first = false;
      if (bytes.length === 0) continue;
      last = bytes.at(-1)!;
      yield bytes;
    }
    if (last !== NEWLINE) yield Buffer.from('\n');
  }
}
