/**
 * Base models on this worker's disk. One folder a content, named by it and brought whole or not at all; used by any number of
 * processes, each holding a lease; the one unused for longest goes when space is needed. A bringing that was killed is gone on
 * with by the next process that needs the model.
 */
import { mkdir, readdir, readFile, rename, rm, stat, statfs, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BaseModel } from '../schemas/baseModels.js';
import { TemperError } from '../schemas/errors.js';
import { PROTOCOL_VERSION } from '../schemas/trainerProtocol.js';
import { digestFile, type ObjectStore } from '../stores/objects.js';
import { exists, identifySource } from './baseModels.js';
import { runTrainer, type TrainerSettings } from './trainerProcess.js';

export interface ModelCacheDependencies {
  objects: ObjectStore;
  /** Models lie in its folder `models`. */
  cache: string;
  /** All models together, at most; one that is larger alone is brought all the same. */
  modelCacheBytes: number;
  trainer: TrainerSettings;
}

export interface ModelLease {
  folder: string;
  /** What the content is, for lineages; null for a folder that is not ours. */
  content: string | null;
  /** From here on the folder may go. */
  release(): Promise<void>;
}

/** Weights of a hub model take two bytes a parameter; the rest is small. */
const BYTES_PER_PARAMETER = 2.1;
/** Of the disk's free space, models may take this share: checkpoints and rendered sets need the rest. */
const SHARE_OF_FREE_SPACE = 0.9;
const LOCK_POLL_MS = 500;
/** A lock without a holder's name: its maker was killed between two system calls. */
const EMPTY_LOCK_MS = 10_000;

let leases = 0;

/** Gives a base model's folder, bringing the model first if need be, and keeps it there until it is released. */
export async function leaseModelFolder(model: BaseModel, deps: ModelCacheDependencies, signal: AbortSignal): Promise<ModelLease> {
  const { source } = model;
  if ('folder' in source) return { folder: source.folder, content: null, release: () => Promise.resolve() };
  const content = (await identifySource(source, deps.objects))!;
  const id = `${model.name.slice(model.name.lastIndexOf('/') + 1)}@${content}`;
  const models = path.join(deps.cache, 'models');
  const leaseFolder = path.join(models, '.leases', id);
  const lease = path.join(leaseFolder, `${await ownStamp()}-${(leases += 1)}`);
  await mkdir(leaseFolder, { recursive: true });
  await writeFile(lease, '');
  const release = () => rm(lease, { force: true });
  const folder = path.join(models, id);
  try {
    if (!(await exists(folder))) await bringOnce(model, folder, deps, signal);
    await utimes(folder, new Date(), new Date());
    return { folder, content, release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** One process brings a model, others that need it wait for it. */
async function bringOnce(model: BaseModel, folder: string, deps: ModelCacheDependencies, signal: AbortSignal): Promise<void> {
  const partial = `${folder}.partial`;
  const lock = `${folder}.lock`;
  await takeLock(lock, signal);
  try {
    if (await exists(folder)) return;
    await makeRoom(deps, await sizeOf(model, deps.objects), folder);
    await mkdir(partial, { recursive: true });
    const { source } = model;
    if ('hub' in source)
      await bringFromHub({ ...source, revision: folder.slice(folder.lastIndexOf('@') + 1) }, partial, deps.trainer, signal);
    else await bringFromStore(await listFiles(model, deps.objects), partial, deps.objects, signal);
    await rename(partial, folder);
  } finally {
    await rm(lock, { force: true });
  }
}

interface FileToBring {
  name: string;
  key: string;
  sizeBytes: number;
  /** Unknown for a bucket of the operator's own. */
  sha256?: string;
}

async function listFiles({ source }: BaseModel, objects: ObjectStore): Promise<FileToBring[]> {
  if ('files' in source) return source.files;
  if (!('prefix' in source)) return [];
  return (await objects.list(`${source.prefix}/`)).map(({ key, sizeBytes }) => ({
    name: key.slice(source.prefix.length + 1),
    key,
    sizeBytes,
  }));
}

async function sizeOf(model: BaseModel, objects: ObjectStore): Promise<number> {
  if ('hub' in model.source) return model.parameters * BYTES_PER_PARAMETER;
  return (await listFiles(model, objects)).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** A file gets its name when it is whole, so what is there already need not come again, once it is known to be right. */
async function bringFromStore(files: FileToBring[], folder: string, objects: ObjectStore, signal: AbortSignal): Promise<void> {
  for (const { name, key, sizeBytes, sha256 } of files) {
    const target = path.join(folder, name);
    const found = await stat(target).catch(() => null);
    if (found?.size === sizeBytes && (sha256 === undefined || (await digestFile(target)).sha256 === sha256)) continue;
    await objects.getFile(key, target, sha256 === undefined ? undefined : { sha256 }, signal);
  }
}

async function bringFromHub(
  source: { hub: string; revision: string },
  folder: string,
  trainer: TrainerSettings,
  signal: AbortSignal,
): Promise<void> {
  const spec = {
    version: PROTOCOL_VERSION,
    work: 'fetch',
    kind: 'base',
    repository: source.hub,
    revision: source.revision,
    outputPath: folder,
  } as const;
  await runTrainer(
    { ...trainer, gpuLock: undefined },
    { name: `fetch-${source.hub.replaceAll('/', '--')}`, spec, signal, network: 'deployment' },
  );
  await rm(path.join(folder, '.cache'), { recursive: true, force: true });
}

/**
 * Removes models until `neededBytes` more fit, the one unused for longest first and none in use, and what killed processes left.
 * @throws TemperError NO_SPACE when the disk is too small for the model even so
 */
export async function makeRoom(
  { cache, modelCacheBytes }: Pick<ModelCacheDependencies, 'cache' | 'modelCacheBytes'>,
  neededBytes: number,
  keep: string,
): Promise<void> {
  const models = path.join(cache, 'models');
  const entries = await readdir(models);
  for (const name of entries) if (name.startsWith('.evicted-')) await rm(path.join(models, name), { recursive: true, force: true });
  const folders = await Promise.all(entries.filter((name) => !/^\.|\.lock$/.test(name)).map((name) => measure(path.join(models, name))));
  let usedBytes = folders.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const { bavail, bsize } = await statfs(models);
  const freeBytes = bavail * bsize * SHARE_OF_FREE_SPACE;
  const limitBytes = Math.min(modelCacheBytes, usedBytes + freeBytes);
  for (const { folder, sizeBytes } of folders.sort((a, b) => a.usedMs - b.usedMs)) {
    if (usedBytes + neededBytes <= limitBytes) return;
    if (folder.startsWith(keep) || !(await evict(folder))) continue;
    usedBytes -= sizeBytes;
  }
  const leftBytes = (await statfs(models)).bavail * bsize;
  if (neededBytes > leftBytes)
    throw new TemperError(
      'NO_SPACE',
      `The model needs ${gigabytes(neededBytes)} GB on the worker's disk, and ${gigabytes(leftBytes)} GB are free. Free space on it or point TEMPER_CACHE to a larger disk.`,
    );
}

/** False when a process uses the model. Out of the way first, so that nobody finds half a model. */
async function evict(folder: string): Promise<boolean> {
  if (await isInUse(folder)) return false;
  const doomed = path.join(path.dirname(folder), `.evicted-${path.basename(folder)}`);
  await rm(doomed, { recursive: true, force: true });
  await rename(folder, doomed);
  if (await isInUse(folder)) {
    // Someone took it at that very moment.
    const restored = await rename(doomed, folder).then(
      () => true,
      () => false,
    );
    if (restored) return false;
  }
  await rm(doomed, { recursive: true, force: true });
  return true;
}

async function isInUse(folder: string): Promise<boolean> {
  const leaseFolder = path.join(path.dirname(folder), '.leases', path.basename(folder).replace(/\.partial$/, ''));
  for (const name of await readdir(leaseFolder).catch(() => [])) {
    if (await isAlive(name)) return true;
    await rm(path.join(leaseFolder, name), { force: true });
  }
  return false;
}

async function measure(folder: string): Promise<{ folder: string; sizeBytes: number; usedMs: number }> {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const sizes = await Promise.all(
    names.map((name) =>
      stat(path.join(folder, name)).then(
        (found) => (found.isFile() ? found.size : 0),
        () => 0,
      ),
    ),
  );
  const usedMs = await stat(folder).then(
    (found) => found.mtimeMs,
    () => 0,
  );
  return { folder, sizeBytes: sizes.reduce((sum, size) => sum + size, 0), usedMs };
}

/** Waits while another living process holds the lock. */
async function takeLock(lock: string, signal: AbortSignal): Promise<void> {
  const stamp = await ownStamp();
  for (;;) {
    signal.throwIfAborted();
    try {
      return await writeFile(lock, stamp, { flag: 'wx' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = await readFile(lock, 'utf8').catch(() => stamp);
    const abandoned = holder === '' ? await isOlderThan(lock, EMPTY_LOCK_MS) : !(await isAlive(holder));
    if (abandoned) await rm(lock, { force: true });
    else await sleep(LOCK_POLL_MS, undefined, { signal });
  }
}

async function isOlderThan(file: string, ageMs: number): Promise<boolean> {
  return Date.now() - (await stat(file).then(({ mtimeMs }) => mtimeMs, Date.now)) > ageMs;
}

/** Process ID and start time: an ID alone may be another process' by now. */
async function ownStamp(): Promise<string> {
  return `${process.pid}:${await startTime(process.pid)}`;
}

async function isAlive(stamp: string): Promise<boolean> {
  const [, pid, started] = /^(\d+):(\d+)/.exec(stamp) ?? [];
  return pid !== undefined && (await startTime(Number(pid))) === started;
}

/** In the kernel's ticks since the machine's start; `0` where there is no /proc, empty for a process that is gone. */
async function startTime(pid: number): Promise<string> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    try {
      process.kill(pid, 0);
      return (await exists('/proc/self')) ? '' : '0';
    } catch {
      return '';
    }
  }
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}
