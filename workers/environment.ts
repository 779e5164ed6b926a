/** What the workers read from the environment (the table stands in dev/stack.ts), and what they all open with it. */
import { mkdirSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NativeConnection, type WorkerOptions } from '@temporalio/worker';
import { isAlive, scratchOwner } from '../activities/scratch.js';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import type { Prices } from '../schemas/prices.js';
import { loadBaseModelsFile } from '../stores/baseModelsFile.js';
import { readPrices } from '../stores/pricesFile.js';
import { openDatabase, type Database } from '../stores/database.js';
import type { WorkerKind } from '../schemas/worker.js';
import { openObjectStore, type ObjectStore } from '../stores/objects.js';
import { readSecretKeys, type SecretKeys } from '../stores/secretKeys.js';
import { startTelemetry, traced, type Telemetry } from './telemetry.js';

export interface Environment {
  telemetry: Telemetry;
  connection: NativeConnection;
  namespace: string;
  database: Database;
  objects: ObjectStore;
  /** Where objects to be imported lie. */
  imports: ObjectStore;
  secretKeys: SecretKeys;
  python: string;
  /** Python with the clients of trackers. */
  reporterPython: string;
  /** Whose tokenizer counts a dataset's tokens where the upload names none. */
  defaultBaseModel: string;
  /** Of GPU hours; null: no costs are shown. */
  prices: Prices | null;
  /** Files that can be had again: models, datasets, rendered sets. */
  cache: string;
  /** Base models in the cache, all together. */
  modelCacheBytes: number;
  /** Files of work under way. */
  scratch: string;
  home: string;
}

/** The 70B class takes 140 GB. */
const DEFAULT_MODEL_CACHE_GB = 500;

export async function openEnvironment(kind: WorkerKind): Promise<Environment> {
  // Before the first connection, which would bring a runtime of its own.
  const telemetry = await startTelemetry(kind);
  const home = required('TEMPER_HOME');
  loadBaseModelsFile(process.env['TEMPER_BASE_MODELS']);
  const cache = process.env['TEMPER_CACHE'] ?? path.join(home, 'cache');
  const scratch = path.join(home, 'scratch');
  for (const folder of [cache, scratch]) mkdirSync(folder, { recursive: true });
  await sweepScratch(scratch);
  return {
    telemetry,
    home,
    cache,
    modelCacheBytes: Number(process.env['TEMPER_MODEL_CACHE_GB'] ?? DEFAULT_MODEL_CACHE_GB) * 1e9,
    scratch,
    connection: await connect(required('TEMPORAL_ADDRESS')),
    namespace: process.env['TEMPORAL_NAMESPACE'] ?? 'default',
    database: openDatabase(required('DATABASE_URL')),
    objects: openBucket(required('TEMPER_S3_BUCKET')),
    imports: openBucket(process.env['TEMPER_IMPORT_BUCKET'] || required('TEMPER_S3_BUCKET')),
    secretKeys: readSecretKeys(required('TEMPER_SECRET_KEY'), process.env['TEMPER_SECRET_KEYS']),
    python: process.env['TEMPER_PYTHON'] ?? 'python3',
    reporterPython: process.env['TEMPER_REPORTER_PYTHON'] ?? 'python3',
    defaultBaseModel: process.env['TEMPER_DEFAULT_BASE_MODEL'] || TINY_MODEL_NAME,
    prices: readPrices(process.env),
  };
}

function openBucket(bucket: string): ObjectStore {
  return openObjectStore({
    endpoint: process.env['TEMPER_S3_ENDPOINT'],
    region: process.env['TEMPER_S3_REGION'] ?? 'us-east-1',
    bucket,
  });
}

/** As the Temporal UI, the attempts of jobs and `temper doctor` name this process. */
export function workerIdentity(): string {
  return `${hostname()}:${process.pid}`;
}

/** Options that every worker shares. */
export function workerOptions(
  environment: Environment,
): Pick<
  WorkerOptions,
  'connection' | 'namespace' | 'identity' | 'interceptors' | 'sinks' | 'maxHeartbeatThrottleInterval' | 'shutdownForceTime'
> {
  return {
    connection: environment.connection,
    namespace: environment.namespace,
    identity: workerIdentity(),
    ...traced(environment.telemetry),
    // Cancellations come back with heartbeats.
    maxHeartbeatThrottleInterval: '3s',
    shutdownForceTime: '90s',
  };
}

/** Tells whoever started this process, if it listens, that the worker polls. */
export function announceReady(): void {
  process.send?.({ ready: true });
}

function required(name: string): string {
  const value = process.env[name];
  if (!value) {
    console.error(`${name} is not set. \`npm run dev\` sets it; dev/stack.ts lists all variables.`);
    process.exit(2);
  }
  return value;
}

/** Temporal may be away when a worker starts: wait for it. */
async function connect(address: string): Promise<NativeConnection> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await NativeConnection.connect({ address });
    } catch (error) {
      if (attempt === 1) console.error(`Temporal at ${address} does not answer; trying on. ${error instanceof Error ? error.message : ''}`);
      await sleep(Math.min(5_000, 250 * attempt));
    }
  }
}

async function sweepScratch(scratch: string): Promise<void> {
  for (const name of await readdir(scratch)) {
    const pid = scratchOwner(name);
    if (pid && !isAlive(pid)) await rm(path.join(scratch, name), { recursive: true, force: true });
  }
}
