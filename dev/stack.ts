/**
 * The whole of Temper on one machine: Temporal, S3, Postgres, the workers and the API, each a supervised process.
 *
 * This is the whole configuration of the API and the workers, all of it environment. A variable that is set before the stack starts
 * is kept; the first three groups then name servers of yours, which are used and not started.
 *
 *   TEMPORAL_ADDRESS        host:port of the Temporal frontend
 *   TEMPORAL_NAMESPACE      its namespace (default)
 *   TEMPORAL_UI_URL         where an operator looks at it
 *
 *   TEMPER_S3_ENDPOINT      URL of an S3 service
 *   TEMPER_S3_BUCKET        bucket, made if it is missing (temper)
 *   TEMPER_S3_REGION        region (us-east-1)
 *   TEMPER_IMPORT_BUCKET    bucket of the same service that retraining imports from, below imports/ACCOUNT/ (TEMPER_S3_BUCKET)
 *   AWS_ACCESS_KEY_ID       credentials for it
 *   AWS_SECRET_ACCESS_KEY
 *
 *   DATABASE_URL            postgres:// URL of a database
 *
 *   TEMPER_HOME             folder of all local state, absolute (.temper in the repository)
 *   TEMPER_CACHE            folder of what can be had again: models, datasets, rendered sets (TEMPER_HOME/cache)
 *   TEMPER_MODEL_CACHE_GB   base models in that folder, all together (500)
 *   TEMPER_BASE_MODELS      JSON file of base models of your own (docs/models.md)
 *   TEMPER_PORT             port of the API (the one it had the last time, at first 8420; 0: any free one)
 *   TEMPER_ACCOUNT_ID       the account that exists from the start (temper)
 *   TEMPER_API_KEY          its API key (tk_… in TEMPER_HOME/secrets.json)
 *   TEMPER_SECRET_KEY       32 bytes in base64 that encrypt secrets at rest (in the same file)
 *   TEMPER_SECRET_KEYS      more of them, comma-separated: the first is the one in use, the others only read (docs/security.md)
 *   TEMPER_DEFAULT_BASE_MODEL  whose tokenizer counts a dataset's tokens where the upload names none (accounts/temper/models/temper-tiny)
 *   TEMPER_PRICES           file with prices of GPU hours and tokens, as YAML or JSON (docs/estimates.md); without them no costs are shown
 *   TEMPER_GPU_PRICES       the same table itself, as JSON
 *   TEMPER_BUILD_ID         version of the control worker, for rollouts under running jobs (docs/operations.md); without it, none
 *   TEMPER_PYTHON           interpreter with the trainer's packages (trainer/.venv/bin/python)
 *   TEMPER_REPORTER_PYTHON  interpreter with the clients of trackers (reporter/.venv/bin/python)
 *   TEMPER_PUBLIC_URL       where users reach the API, for links from trackers to jobs (none)
 *
 *   TEMPER_TRUSTED_PROXIES  addresses of proxies before the API that tell it the client's, as in loopback,10.0.0.0/8 (none)
 *   TEMPER_OIDC_ISSUER, TEMPER_OIDC_CLIENT_ID, TEMPER_OIDC_AUDIENCE, TEMPER_OIDC_NEW_USER_ROLE
 *                           sign-in of people through an OpenID Connect provider (docs/security.md)
 *   TEMPER_OPENAI_MODELS    base models by names that OpenAI's clients use, NAME=BASE_MODEL parted by commas (none)
 *   TEMPER_WEBHOOK_NETWORKS networks that webhooks may lie in beside the public internet, ADDRESS/BITS parted by commas (this machine)
 *
 *   TEMPER_METRICS_PORT     of each process: its port of /metrics, /healthz and /readyz (docs/operations.md); none without
 *   TEMPER_METRICS_HOST     the address that it is on (127.0.0.1)
 *   OTEL_EXPORTER_OTLP_ENDPOINT, and the other variables of OpenTelemetry: where traces go; without it there are none
 *
 *   TEMPER_HOST, TEMPER_LOG_LEVEL and TEMPER_S3_PUBLIC_ENDPOINT (the S3 address that users reach, for signed URLs) are for deployments.
 *   WANDB_BASE_URL, MLFLOW_TRACKING_URI, HF_ENDPOINT, HF_TOKEN and the rest of the environment are passed on as they are.
 */
import { accessSync, constants, mkdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileProgram } from '../processes/program.js';
import { openObjectStore } from '../stores/objects.js';
import { ensureTemporal, ensureVersitygw } from './binaries.js';
import { writeJson } from './jsonFile.js';
import { isFree, keepPorts } from './ports.js';
import { createDatabase, databaseUrl, describePostgres } from './postgres.js';
import { announce, type Progress } from './progress.js';
import { openRunRecord } from './runRecord.js';
import { createBucket, describeS3, type S3Location } from './s3.js';
import { loadSecrets, type Secrets } from './secrets.js';
import { seedBaseModel } from './seed.js';
import { supervise, type ProcessSpec, type SupervisedProcess } from './supervise.js';
import { describeTemporal, registerSearchAttributes } from './temporal.js';

/** The content of TEMPER_HOME/dev.json, there while the stack runs. Pids are those of the present processes, and of started ones only. */
export interface DevFile {
  apiUrl: string;
  accountId: string;
  apiKey: string;
  temporalAddress: string;
  temporalNamespace: string;
  temporalUiUrl: string;
  s3Endpoint: string;
  s3Bucket: string;
  databaseUrl: string;
  /** For Prometheus, of each process. */
  metricsUrls: Record<ProgramName, string>;
  pids: { api?: number; temporal?: number; s3?: number; database?: number; workers: number[] };
}

export type ServerName = 'temporal' | 's3' | 'postgres';
export type ProgramName = 'control' | 'data' | 'gpu' | 'reports' | 'api';

export interface StackOptions {
  home: string;
  progress: Progress;
  /** Folder of the small base model, to be put where workers find base models. */
  baseModel?: string;
  /** Goes before TEMPER_PORT. */
  port?: number;
  /** Added to the environment of the API and the workers, after everything else. */
  environment?: Record<string, string>;
  /** The programs to run, by their entry file. Tests of the servers alone give none. */
  programs?: Partial<Record<ProgramName, string>>;
}

export interface Stack {
  readonly home: string;
  /** What dev.json says now. */
  dev(): DevFile;
  /** What the API and the workers were given. */
  readonly environment: Record<string, string>;
  /** By name; servers that were given by environment are not among them. */
  readonly processes: Partial<Record<ServerName | ProgramName, SupervisedProcess>>;
  stop(): Promise<void>;
}

export const rootFolder = dirname(dirname(fileURLToPath(import.meta.url)));

/** The entry of each program. */
export const allPrograms: Record<ProgramName, string> = {
  control: join(rootFolder, 'workers', 'control.ts'),
  data: join(rootFolder, 'workers', 'data.ts'),
  gpu: join(rootFolder, 'workers', 'gpu.ts'),
  reports: join(rootFolder, 'workers', 'reports.ts'),
  api: join(rootFolder, 'api', 'main.ts'),
};

const firstApiPort = 8420;

/** Where the stack keeps its state: TEMPER_HOME, or .temper in the repository. */
export function homeFolder(): string {
  return resolve(process.env.TEMPER_HOME || join(rootFolder, '.temper'));
}

/** Starts everything and resolves when it answers. On any failure what was started is stopped before the rejection. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { progress } = options;
  const home = resolve(options.home);
  makeHome(home);
  const run = await openRunRecord(home, progress);
  const settings = await resolveSettings(home, options).catch((error: unknown) => {
    run.close();
    throw error;
  });
  const { environment, ports, secrets, s3 } = settings;
  const devPath = join(home, 'dev.json');
  rmSync(devPath, { force: true }); // of a run that was killed
  const processes: Stack['processes'] = {};
  const metricsUrls = Object.fromEntries(
    Object.entries(metricsPorts).map(([name, port]) => [name, `http://127.0.0.1:${ports[port]}/metrics`]),
  ) as DevFile['metricsUrls'];
  const dev = (): DevFile => ({ ...describeStack(environment, processes), metricsUrls });
  let ready = false;

  const start = async (name: ServerName | ProgramName, spec: ProcessSpec): Promise<void> => {
    processes[name] = await announce(progress, `Starting ${name}`, () =>
      supervise(spec, {
        logsFolder: join(home, 'logs'),
        progress,
        onSpawn: (pid) => run.record(name, pid),
        onRestart: () => ready && writeJson(devPath, dev()),
      }),
    );
  };

  const stop = async (): Promise<void> => {
    ready = false;
    rmSync(devPath, { force: true });
    const { temporal, s3, postgres, ...programs } = processes;
    // The programs first: they finish what they hold while their servers still answer.
    for (const group of [Object.values(programs), [temporal, s3, postgres]]) {
      await Promise.all(group.flatMap((supervised) => (supervised ? [supervised.stop()] : [])));
    }
    run.close();
  };

  try {
    await settleAll([
      async () => {
        if (process.env.TEMPORAL_ADDRESS) {
          await registerSearchAttributes(environment.TEMPORAL_ADDRESS, environment.TEMPORAL_NAMESPACE);
        } else {
          const binary = await ensureTemporal(progress);
          await start('temporal', describeTemporal({ home, binary, port: ports.temporal, uiPort: ports.temporalUi }));
        }
      },
      async () => {
        if (!process.env.TEMPER_S3_ENDPOINT) {
          await start('s3', describeS3({ home, binary: await ensureVersitygw(progress), port: ports.s3, location: s3 }));
        }
        await createBucket(s3);
        if (options.baseModel) await storeBaseModel(s3, options.baseModel);
      },
      async () => {
        if (process.env.DATABASE_URL) return;
        await start('postgres', await describePostgres({ home, port: ports.postgres, password: secrets.databasePassword }));
        await createDatabase(ports.postgres, secrets.databasePassword);
      },
    ]);
    const programs = Object.entries(options.programs ?? allPrograms) as [ProgramName, string][];
    await settleAll(
      programs.map(
        ([name, entry]) =>
          async () =>
            start(name, await describeProgram(name, entry, { ...environment, TEMPER_METRICS_PORT: String(ports[metricsPorts[name]]) })),
      ),
    );
    writeJson(devPath, dev());
    ready = true;
    return { home, dev, environment, processes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function storeBaseModel(location: S3Location, folder: string): Promise<void> {
  // The store finds its credentials as the AWS SDK does everywhere: in the environment.
  process.env.AWS_ACCESS_KEY_ID = location.accessKeyId;
  process.env.AWS_SECRET_ACCESS_KEY = location.secretAccessKey;
  const objects = openObjectStore({ endpoint: location.endpoint, region: location.region, bucket: location.bucket });
  await seedBaseModel(objects, folder).finally(() => objects.close());
}

type Environment = Record<string, string> & ReturnType<typeof fixedEnvironment>;

interface Settings {
  environment: Environment;
  ports: Record<PortName, number>;
  secrets: Secrets;
  s3: S3Location;
}

const metricsPorts = {
  api: 'apiMetrics',
  control: 'controlMetrics',
  data: 'dataMetrics',
  gpu: 'gpuMetrics',
  reports: 'reportsMetrics',
} as const;
const portNames = ['api', 'temporal', 'temporalUi', 's3', 'postgres', ...Object.values(metricsPorts)] as const;
type PortName = (typeof portNames)[number];

/** Every setting of the table above, from the environment where it is given there, else from the home. */
async function resolveSettings(home: string, options: StackOptions): Promise<Settings> {
  const given = process.env;
  const secrets = loadSecrets(home);
  const ports = await choosePorts(home, options.port?.toString() ?? given.TEMPER_PORT);
  const s3 = given.TEMPER_S3_ENDPOINT ? givenS3(given.TEMPER_S3_ENDPOINT) : embeddedS3(ports.s3, secrets);
  const environment = { ...onlyStrings(given), ...fixedEnvironment(home, ports, secrets, s3), ...options.environment };
  return { environment, ports, secrets, s3 };
}

function fixedEnvironment(home: string, ports: Record<PortName, number>, secrets: Secrets, s3: S3Location) {
  const given = process.env;
  return {
    TEMPORAL_ADDRESS: given.TEMPORAL_ADDRESS || `127.0.0.1:${ports.temporal}`,
    TEMPORAL_NAMESPACE: (given.TEMPORAL_ADDRESS && given.TEMPORAL_NAMESPACE) || 'default',
    TEMPORAL_UI_URL: given.TEMPORAL_ADDRESS ? (given.TEMPORAL_UI_URL ?? '') : `http://127.0.0.1:${ports.temporalUi}`,
    TEMPER_S3_ENDPOINT: s3.endpoint,
    TEMPER_S3_BUCKET: s3.bucket,
    TEMPER_S3_REGION: s3.region,
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    DATABASE_URL: given.DATABASE_URL || databaseUrl(ports.postgres, secrets.databasePassword),
    TEMPER_HOME: home,
    TEMPER_PORT: String(ports.api),
    TEMPER_ACCOUNT_ID: given.TEMPER_ACCOUNT_ID || 'temper',
    TEMPER_API_KEY: given.TEMPER_API_KEY || secrets.apiKey,
    TEMPER_SECRET_KEY: given.TEMPER_SECRET_KEY || secrets.secretKey,
    TEMPER_WEBHOOK_NETWORKS: given.TEMPER_WEBHOOK_NETWORKS ?? '127.0.0.0/8,::1/128',
    TEMPER_PYTHON: given.TEMPER_PYTHON || join(rootFolder, 'trainer', '.venv', 'bin', 'python'),
    TEMPER_REPORTER_PYTHON: given.TEMPER_REPORTER_PYTHON || join(rootFolder, 'reporter', '.venv', 'bin', 'python'),
  };
}

async function choosePorts(home: string, wanted: string | undefined): Promise<Record<PortName, number>> {
  if (wanted !== undefined && !/^\d{1,5}$/.test(wanted))
    throw new Error(`TEMPER_PORT is "${wanted}"; it must be a port number, or 0 for any free port.`);
  const port = Number(wanted || 0);
  if (port > 0 && !(await isFree(port))) {
    throw new Error(`Port ${port} is taken by another program. Set TEMPER_PORT to another one, or to 0 for any free port.`);
  }
  const ports = await keepPorts(home, portNames, wanted ? {} : { api: firstApiPort });
  return port > 0 ? { ...ports, api: port } : ports;
}

function embeddedS3(port: number, secrets: Secrets): S3Location {
  return {
    endpoint: `http://127.0.0.1:${port}`,
    region: process.env.TEMPER_S3_REGION || 'us-east-1',
    bucket: process.env.TEMPER_S3_BUCKET || 'temper',
    accessKeyId: secrets.s3AccessKeyId,
    secretAccessKey: secrets.s3SecretAccessKey,
  };
}

function givenS3(endpoint: string): S3Location {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, TEMPER_S3_REGION, TEMPER_S3_BUCKET } = process.env;
  if (!AWS_ACCESS_KEY_ID || !AWS_SECRET_ACCESS_KEY) {
    throw new Error('TEMPER_S3_ENDPOINT is set, so AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set, too.');
  }
  return {
    endpoint,
    region: TEMPER_S3_REGION || 'us-east-1',
    bucket: TEMPER_S3_BUCKET || 'temper',
    accessKeyId: AWS_ACCESS_KEY_ID,
    secretAccessKey: AWS_SECRET_ACCESS_KEY,
  };
}

/** Where a compiled program finds its packages. */
export const compiledFolder = join(rootFolder, 'node_modules', '.cache', 'temper');

async function describeProgram(name: ProgramName, entry: string, environment: Environment): Promise<ProcessSpec> {
  return {
    name,
    command: process.execPath,
    args: ['--enable-source-maps', await compileProgram(entry, compiledFolder)],
    env: environment,
    cwd: rootFolder,
    ready: name === 'api' ? () => checkReady(environment.TEMPER_PORT) : 'message',
    readyTimeoutMs: 90_000,
    stopSignal: 'SIGTERM',
    stopGraceMs: name === 'gpu' ? 30_000 : 10_000, // a trainer writes its checkpoint first
  };
}

/** @throws Error while the API on this port is not ready */
export async function checkReady(port: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(3_000) });
  if (response.status !== 200) throw new Error(`HTTP status ${response.status}`);
}

function describeStack(environment: Environment, processes: Stack['processes']): Omit<DevFile, 'metricsUrls'> {
  const { api, temporal, s3, postgres, control, data, gpu, reports } = processes;
  return {
    apiUrl: `http://127.0.0.1:${environment.TEMPER_PORT}`,
    accountId: environment.TEMPER_ACCOUNT_ID,
    apiKey: environment.TEMPER_API_KEY,
    temporalAddress: environment.TEMPORAL_ADDRESS,
    temporalNamespace: environment.TEMPORAL_NAMESPACE,
    temporalUiUrl: environment.TEMPORAL_UI_URL,
    s3Endpoint: environment.TEMPER_S3_ENDPOINT,
    s3Bucket: environment.TEMPER_S3_BUCKET,
    databaseUrl: environment.DATABASE_URL,
    pids: {
      api: api?.pid,
      temporal: temporal?.pid,
      s3: s3?.pid,
      database: postgres?.pid,
      workers: [control, data, gpu, reports].flatMap((worker) => (worker ? [worker.pid] : [])),
    },
  };
}

function makeHome(home: string): void {
  try {
    mkdirSync(home, { recursive: true });
    accessSync(home, constants.W_OK);
  } catch (error) {
    throw new Error(`The folder ${home} cannot be written (${(error as Error).message}). Set TEMPER_HOME to one that can.`);
  }
}

/** Runs all in parallel and waits for every one, so that nothing is still starting when the first error is dealt with. */
async function settleAll(works: (() => Promise<void>)[]): Promise<void> {
  const results = await Promise.allSettled(works.map((work) => work()));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}

function onlyStrings(environment: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined));
}
