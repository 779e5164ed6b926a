/** Rendered sets in the object store: content-addressed, made once, shared by every job of an account that needs the same. */
import path from 'node:path';
import { stat } from 'node:fs/promises';
import type { PreparedSet } from '../schemas/activities.js';
import type { TaskKind } from '../schemas/trainerProtocol.js';
import type { ObjectStore } from '../stores/objects.js';

/** What a rendered set is, written last: a set with a manifest is whole. */
export interface PreparedManifest {
  version: 1;
  hash: string;
  kind: TaskKind;
  datasetSha256: string;
  train: { examples: number; sha256: string; sizeBytes: number };
  eval: { examples: number; sha256: string; sizeBytes: number } | null;
  labels: string[] | null;
  template: { origin: string; text: string } | null;
  warnings: { code: string; message: string; count: number }[];
}

export function preparedKey(accountId: string, hash: string): string {
  return `prepared/${accountId}/${hash}`;
}

export async function readManifest(objects: ObjectStore, key: string): Promise<PreparedManifest | null> {
  if (!(await objects.head(`${key}/manifest.json`))) return null;
  return JSON.parse(await objects.getText(`${key}/manifest.json`)) as PreparedManifest;
}

export function asPreparedSet(key: string, manifest: PreparedManifest, reused: boolean): PreparedSet {
  return {
    key,
    hash: manifest.hash,
    trainExamples: manifest.train.examples,
    evalExamples: manifest.eval?.examples ?? 0,
    labels: manifest.labels?.length ?? 0,
    reused,
  };
}

/** Gives one part of a set as a local file, from the worker's cache or the store, checked against its hash when it arrives. */
export async function ensurePart(
  part: 'train' | 'eval',
  prepared: PreparedSet,
  manifest: PreparedManifest,
  deps: { objects: ObjectStore; cache: string },
  signal: AbortSignal,
): Promise<string> {
  const expected = manifest[part]!;
  const file = path.join(deps.cache, 'prepared', prepared.hash, `${part}.jsonl`);
  const size = await stat(file).then(
    (found) => found.size,
    () => -1,
  );
  if (size !== expected.sizeBytes) await deps.objects.getFile(`${prepared.key}/${part}.jsonl`, file, expected, signal);
  return file;
}
