/** The API process: reads the environment (the table is in dev/stack.ts), prepares the database, listens, and leaves in good order. */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { OpenTelemetryWorkflowClientInterceptor } from '@temporalio/interceptors-opentelemetry';
import { RESUMABLE_UPLOAD_SECONDS } from '../schemas/limits.js';
import { ADMIN, bootstrapAccount, createAccount, hasNoApiKeys } from '../stores/accounts.js';
import { createApiKey, generateApiKey, rehashApiKeys } from '../stores/apiKeys.js';
import { loadBaseModelsFile } from '../stores/baseModelsFile.js';
import { migrate, openDatabase, type Database } from '../stores/database.js';
import { openEventFeed } from '../stores/eventFeed.js';
import { openObjectStore } from '../stores/objects.js';
import { readPrices } from '../stores/pricesFile.js';
import { isDatabaseOutage } from '../stores/outages.js';
import { readSecretKeys } from '../stores/secretKeys.js';
import { reencryptSecrets } from '../stores/secrets.js';
import { deleteOldEvents } from '../stores/webhooks.js';
import { exposeFigures } from '../telemetry/figures.js';
import { openOperatorPort } from '../telemetry/server.js';
import { startTracing } from '../telemetry/tracing.js';
import { readNetworks } from '../webhooks/networks.js';
import { PATIENCE } from './connections.js';
import { ensureJanitorSchedule } from './janitorReports.js';
import { removeExpired } from './openai/expiry.js';
import { readModelAliases } from './openai/modelNames.js';
import { buildServer } from './server.js';
import { readSignInSettings } from './signIn.js';
import {
  cancelAbandonedJobs,
  preempt,
  startPendingDeliveries,
  startPendingExports,
  startPendingWork,
  startPendingWorkflows,
} from './temporal.js';
import { applyPendingSchedules } from './temporalSchedules.js';

/** How often jobs whose workflow was not started are looked for, and how old they must be: their creator may be about to. */
const RECONCILE_EVERY_MS = 2_000;
const RECONCILE_OLDER_THAN_SECONDS = 2;
const ABANDONED_EVERY_MS = 5_000;
/** How often events that a webhook is to be told of are looked for. */
const DELIVER_EVERY_MS = 1_000;
/** How often a more urgent job that waits is looked for. */
const PREEMPT_EVERY_MS = 5_000;
const KEEP_WEBHOOK_EVENTS_DAYS = 30;
/** How often files whose time is over are looked for. */
const REMOVE_EXPIRED_EVERY_MS = 60_000;
/** Left-over uploads of processes that were killed: none takes this long. */
const STALE_UPLOAD_MS = 24 * 3600 * 1000;
/** Of an object store that hangs; the request is refused after three times that. */
const OBJECT_STORE_SILENCE_MS = 15_000;
/** How often uploads in parts that nobody goes on with are looked for. */
const GIVE_UP_EVERY_MS = 3600 * 1000;

// Before anything that is to be traced.
const tracing = startTracing('api');
const namespace = process.env['TEMPORAL_NAMESPACE'] || 'default';
const accountId = required('TEMPER_ACCOUNT_ID');
const secretKeys = fromEnvironment(() => readSecretKeys(required('TEMPER_SECRET_KEY'), process.env['TEMPER_SECRET_KEYS']));
const tmpFolder = path.join(required('TEMPER_HOME'), 'tmp');
fromEnvironment(() => loadBaseModelsFile(process.env['TEMPER_BASE_MODELS']));
const database = openDatabase(required('DATABASE_URL'), { maxConnections: 20 });
const events = openEventFeed(required('DATABASE_URL'));
const objects = openObjectStore({
  endpoint: process.env['TEMPER_S3_ENDPOINT'] || undefined,
  publicEndpoint: process.env['TEMPER_S3_PUBLIC_ENDPOINT'] || undefined,
  region: process.env['TEMPER_S3_REGION'] || 'us-east-1',
  bucket: required('TEMPER_S3_BUCKET'),
  silenceMs: OBJECT_STORE_SILENCE_MS,
});
// Lazy: the API answers, and takes jobs, while Temporal is away.
const connection = Connection.lazy({ address: required('TEMPORAL_ADDRESS') });
const temporal = new Client({
  connection,
  namespace,
  interceptors: tracing ? { workflow: [new OpenTelemetryWorkflowClientInterceptor()] } : undefined,
});

await prepareDatabase();
await removeStaleUploads(tmpFolder);
const server = await buildServer({
  database,
  objects,
  temporal,
  events,
  config: {
    secretKey: required('TEMPER_SECRET_KEY'),
    secretKeys,
    operatorAccountId: accountId,
    temporalNamespace: namespace,
    tmpFolder,
    prices: fromEnvironment(() => readPrices(process.env)),
    logLevel: process.env['TEMPER_LOG_LEVEL'] || 'info',
    trustedProxies: process.env['TEMPER_TRUSTED_PROXIES'] || undefined,
    signIn: fromEnvironment(() => readSignInSettings(process.env)) ?? undefined,
    patience: PATIENCE,
    modelAliases: fromEnvironment(() => readModelAliases(process.env['TEMPER_OPENAI_MODELS'] ?? '')),
    webhookNetworks: fromEnvironment(() => readNetworks(process.env['TEMPER_WEBHOOK_NETWORKS'] ?? '')),
    isTraced: tracing !== null,
  },
});
await server.listen({ host: process.env['TEMPER_HOST'] || '127.0.0.1', port: Number(process.env['TEMPER_PORT'] || 8420) });
const rounds = [
  repeat('making the schedule of the janitor', REMOVE_EXPIRED_EVERY_MS, () => ensureJanitorSchedule(temporal, accountId)),
  repeat('looking for workflows to start', RECONCILE_EVERY_MS, () =>
    startPendingWorkflows(temporal, database, RECONCILE_OLDER_THAN_SECONDS, (error, job) =>
      server.log.warn({ job: job.id, cause: (error as Error).message }, 'workflow not started yet'),
    ),
  ),
  repeat('looking for jobs whose workflow has ended', ABANDONED_EVERY_MS, () => cancelAbandonedJobs(temporal, database)),
  repeat('looking for exports to start', RECONCILE_EVERY_MS, () =>
    startPendingExports(temporal, database, RECONCILE_OLDER_THAN_SECONDS, (error, name) =>
      server.log.warn({ export: name, cause: (error as Error).message }, 'export not started yet'),
    ),
  ),
  repeat('looking for uploads to validate', RECONCILE_EVERY_MS, () =>
    startPendingWork(temporal, database, RECONCILE_OLDER_THAN_SECONDS, (error, name) =>
      server.log.warn({ name, cause: (error as Error).message }, 'validation not started yet'),
    ),
  ),
  repeat('looking for schedules to apply', RECONCILE_EVERY_MS, () =>
    applyPendingSchedules(temporal, database, RECONCILE_OLDER_THAN_SECONDS, (error, id) =>
      server.log.warn({ schedule: id, cause: (error as Error).message }, 'schedule or sweep not started yet'),
    ),
  ),
  repeat('looking for webhooks to call', DELIVER_EVERY_MS, () =>
    startPendingDeliveries(temporal, database, (error, id) =>
      server.log.warn({ delivery: id, cause: (error as Error).message }, 'delivery not started yet'),
    ),
  ),
  repeat('looking for a job to step aside', PREEMPT_EVERY_MS, () => preempt(temporal, database)),
  repeat('removing what has expired', REMOVE_EXPIRED_EVERY_MS, async () => {
    await removeExpired({ database, objects, temporal });
    await deleteOldEvents(database, KEEP_WEBHOOK_EVENTS_DAYS);
  }),
  repeat('giving up old uploads', GIVE_UP_EVERY_MS, async () => {
    await objects.multipart.abortOlderThan(new Date(Date.now() - RESUMABLE_UPLOAD_SECONDS * 1000));
  }),
];
const metricsPort = process.env['TEMPER_METRICS_PORT'];
if (metricsPort) {
  exposeFigures(database);
  const notReady = async () => ((await server.inject('/readyz')).statusCode === 200 ? null : 'a server that it needs does not answer');
  await openOperatorPort(process.env['TEMPER_METRICS_HOST'] || '127.0.0.1', Number(metricsPort), { notReady }).catch((error: Error) =>
    server.log.warn({ cause: error.message }, 'no metrics: the port cannot be listened on'),
  );
}
process.send?.({ ready: true });
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void shutDown());

async function shutDown(): Promise<void> {
  for (const round of rounds) round.stop();
  await server.close();
  await events.close();
  await database.destroy();
  await connection.close();
  objects.close();
  await tracing?.close();
  process.exit(0);
}

/** One round at a time, for as long as the process lives; what fails is tried again in the next. */
function repeat(what: string, everyMs: number, work: () => Promise<void>): { stop(): void } {
  let timer: NodeJS.Timeout;
  let stopped = false;
  const round = async (): Promise<void> => {
    try {
      await work();
    } catch (error) {
      server.log.warn({ cause: (error as Error).message }, `${what} failed`);
    }
    if (!stopped) timer = setTimeout(() => void round(), everyMs);
  };
  timer = setTimeout(() => void round(), everyMs);
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

/** Applies migrations, brings what is stored under the current key, makes the first account. A database that is still starting is waited for. */
async function prepareDatabase(): Promise<void> {
  // A migration may take long, or wait for the one of another process.
  const patient = openDatabase(required('DATABASE_URL'), { maxConnections: 2, silenceMs: 0 });
  try {
    await untilPrepared(patient);
  } finally {
    await patient.destroy();
  }
}

async function untilPrepared(target: Database): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await migrate(target);
      await rehashApiKeys(target, secretKeys);
      await reencryptSecrets(target, secretKeys);
      await makeFirstAccount(target);
      return;
    } catch (error) {
      const { code, message } = error as { code?: string; message?: string };
      if (!isDatabaseOutage(code, message)) throw error;
      if (attempt === 1) console.error(`The database does not answer; trying on. ${message ?? ''}`);
      await new Promise((resolve) => setTimeout(resolve, Math.min(5_000, 250 * attempt)));
    }
  }
}

/** Its key comes from TEMPER_API_KEY; without that, an account that has no key yet gets one, printed this once. */
async function makeFirstAccount(target: Database): Promise<void> {
  const given = process.env['TEMPER_API_KEY'];
  if (given) return bootstrapAccount(target, secretKeys, accountId, given);
  await createAccount(target, { id: accountId, displayName: accountId, email: `admin@${accountId}.local` });
  if (!(await hasNoApiKeys(target, accountId))) return;
  const { key, stored } = generateApiKey(secretKeys);
  await createApiKey(target, { ...stored, accountId, userId: ADMIN, displayName: 'bootstrap', expireTime: null });
  console.error(`The first API key of the account ${accountId}, shown only now: ${key}`);
}

async function removeStaleUploads(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of await readdir(folder)) {
    const file = path.join(folder, name);
    const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Date.now() }));
    if (name.startsWith('upload-') && Date.now() - mtimeMs > STALE_UPLOAD_MS) await rm(file, { recursive: true, force: true });
  }
}

/** Settings that cannot work end the process in words. */
function fromEnvironment<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

function required(name: string): string {
  const value = process.env[name];
  if (value) return value;
  console.error(`${name} is not set. \`npm run dev\` sets it; dev/stack.ts lists all variables.`);
  process.exit(2);
}
