/** A worker makes itself known: a row every few seconds, with what its machine has, until it leaves. */
import { execFile } from 'node:child_process';
import { readdir, statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { TEMPER_VERSION } from '../schemas/version.js';
import { WORKER_HEARTBEAT_MS, type TrainerReport, type WorkerKind } from '../schemas/worker.js';
import { recordWorker, removeWorker } from '../stores/workers.js';
import { workerIdentity, type Environment } from './environment.js';

export interface Presence {
  kind: WorkerKind;
  queue: string;
  slots: number;
  /** Activities that run now. */
  busy(): number;
}

const run = promisify(execFile);
/** Importing nothing, the versions take a fraction of a second; a broken environment may hang. */
const INSPECT_TIMEOUT_MS = 20_000;
const PRINT_VERSIONS = 'import json; from temper_trainer.versions import versions; print(json.dumps(versions()))';

/** Returns when the first row is written, or could not be: an outage of the database keeps no worker from its work. */
export async function announcePresence(environment: Environment, presence: Presence): Promise<{ leave(): Promise<void> }> {
  const { database, home, cache } = environment;
  const startTime = new Date();
  const trainer = presence.kind === 'gpu' ? await inspectTrainer(environment.python) : undefined;
  const write = async (): Promise<void> => {
    const disk = await statfs(home);
    const report = {
      queue: presence.queue,
      slots: presence.slots,
      busy: presence.busy(),
      host: hostname(),
      node: process.version,
      diskFreeBytes: disk.bavail * disk.bsize,
      diskBytes: disk.blocks * disk.bsize,
      models: await cachedModels(cache),
      ...(trainer ? { trainer } : {}),
    };
    await recordWorker(database, { identity: workerIdentity(), kind: presence.kind, version: TEMPER_VERSION, startTime, report });
  };
  // Said again soon: a row that could not be written is of the past by then.
  const tell = () => write().catch(() => {});
  await tell();
  let telling: Promise<void> = Promise.resolve();
  const timer = setInterval(() => (telling = tell()), WORKER_HEARTBEAT_MS);
  return {
    async leave() {
      clearInterval(timer);
      await telling;
      await removeWorker(database, workerIdentity()).catch(() => {});
    },
  };
}

async function cachedModels(cache: string): Promise<string[]> {
  const names = await readdir(path.join(cache, 'models')).catch(() => [] as string[]);
  return names.filter((name) => !name.startsWith('.') && !/\.(partial|lock)$/.test(name)).sort();
}

async function inspectTrainer(python: string): Promise<TrainerReport> {
  const gpus = await listGpus();
  try {
    const { stdout } = await run(python, ['-c', PRINT_VERSIONS], { timeout: INSPECT_TIMEOUT_MS });
    return { versions: JSON.parse(stdout) as Record<string, string>, gpus };
  } catch (error) {
    const said = String((error as { stderr?: string }).stderr ?? '').trim();
    const reason = said.slice(said.lastIndexOf('\n') + 1).slice(0, 300) || `${python} does not start`;
    return { versions: {}, error: reason, gpus };
  }
}

/** The GPUs that a process of this worker may use. */
export async function countAccelerators(): Promise<number> {
  const visible = process.env['CUDA_VISIBLE_DEVICES'];
  const gpus = (await listGpus()).length;
  return visible === undefined ? gpus : Math.min(gpus, visible.split(',').filter(Boolean).length);
}

async function listGpus(): Promise<TrainerReport['gpus']> {
  const query = ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader,nounits'];
  const { stdout } = await run('nvidia-smi', query, { timeout: INSPECT_TIMEOUT_MS }).catch(() => ({ stdout: '' }));
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => line.split(',').map((part) => part.trim()))
    .map(([name = '', mebibytes, driver = '']) => ({ name, memoryBytes: Number(mebibytes) * 1024 ** 2, driver }));
}
