/** Rendered sets in the object store: content-addressed, made once, shared by every job of an account that needs the same. */
import path from 'node:path';
import { stat, writeFile } from 'node:fs/promises';
import type { PreparedSet } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import type { RenderedSet, TaskKind } from '../schemas/trainerProtocol.js';
import type { ObjectStore } from '../stores/objects.js';

/** Of the format of sets and of what rows are rendered to. A part of every set's key: other sets lie elsewhere. */
export const PREPARED_VERSION = 4;

/** What a rendered set is, written last: a set with a manifest is whole. */
export interface PreparedManifest {
  version: typeof PREPARED_VERSION;
  hash: string;
  kind: TaskKind;
  datasetSha256: string;
  trainExamples: number;
  /** Where to train on: all examples of the dataset, those held back included. */
  set: RenderedSet;
  eval: { examples: number; sha256: string; sizeBytes: number } | null;
  labels: string[] | null;
  template: { origin: string; text: string } | null;
  warnings: { code: string; message: string; count: number }[];
}

export function preparedKey(accountId: string, hash: string): string {
  return `prepared/${accountId}/${hash}`;
}

/** Null when there is none, or one of a version that made other sets. */
export async function readManifest(objects: ObjectStore, key: string): Promise<PreparedManifest | null> {
  if (!(await objects.head(`${key}/manifest.json`))) return null;
  const manifest = JSON.parse(await objects.getText(`${key}/manifest.json`)) as PreparedManifest;
  return manifest.version === PREPARED_VERSION ? manifest : null;
}

/** The same for who cannot go on without. @throws TemperError RENDERED_SET_MISSING, upon which the workflow has it rendered again */
export async function requireManifest(objects: ObjectStore, key: string): Promise<PreparedManifest> {
  const manifest = await readManifest(objects, key);
  if (manifest) return manifest;
  throw new TemperError(
    'RENDERED_SET_MISSING',
    'The rendered examples of the job are gone from the object store, or another version of Temper made them. Start the job again.',
  );
}

export function asPreparedSet(key: string, manifest: PreparedManifest, reused: boolean): PreparedSet {
  return {
    key,
    hash: manifest.hash,
    trainExamples: manifest.trainExamples,
    evalExamples: manifest.eval?.examples ?? 0,
    labels: manifest.labels?.length ?? 0,
    reused,
  };
}

interface Place {
  objects: ObjectStore;
  cache: string;
}

/** Gives the examples to train on as a local folder, from the worker's cache or the store, checked against their hashes when they arrive. */
export async function ensureSet(prepared: PreparedSet, { set }: PreparedManifest, place: Place, signal: AbortSignal): Promise<string> {
  for (const file of [...set.files, { name: 'index.bin', ...set.index }]) await ensureFile(file.name, file, prepared, place, signal);
  const folder = setFolder(place.cache, prepared);
  await writeFile(path.join(folder, 'set.json'), JSON.stringify(set));
  return folder;
}

/** The same for the examples that are held back: a file. */
export function ensureEvaluation(prepared: PreparedSet, manifest: PreparedManifest, place: Place, signal: AbortSignal): Promise<string> {
  return ensureFile('eval.jsonl', manifest.eval!, prepared, place, signal);
}

async function ensureFile(
  name: string,
  expected: { sha256: string; sizeBytes: number },
  prepared: PreparedSet,
  { objects, cache }: Place,
  signal: AbortSignal,
): Promise<string> {
  const file = path.join(setFolder(cache, prepared), name);
  const size = await stat(file).then(
    (found) => found.size,
    () => -1,
  );
  if (size !== expected.sizeBytes) await objects.getFile(`${prepared.key}/${name}`, file, expected, signal);
  return file;
}

function setFolder(cache: string, prepared: PreparedSet): string {
  return path.join(cache, 'prepared', prepared.hash);
}
