/** The Postgres connection, the types of its tables (migrations/*.sql) and the migrations themselves. */
import { readdir, readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { Kysely, PostgresDialect, sql, type ColumnType, type Generated, type JSONColumnType } from 'kysely';
import pg from 'pg';
import type { DatasetInput, EvaluationResult, Failure, TrainResult } from '../schemas/activities.js';
import type { ErrorDetail } from '../schemas/errors.js';
import type { ExportCheck, ExportFailure, ExportFormat, ExportStage, ExportState } from '../schemas/export.js';
import type { Lineage, Reproduction } from '../schemas/lineage.js';
import type { Orphan } from '../schemas/janitor.js';
import type { Money, Prices } from '../schemas/prices.js';
import type { PromotionOutcome, RunJobResult } from '../schemas/retraining.js';
import type { Retraining, RunState, Timing } from '../schemas/schedule.js';
import type { JobStage, JobState, DatasetState, ModelState } from '../schemas/states.js';
import type { JobSettings, SettingOrigins } from '../schemas/task.js';
import type { TrackerState } from '../schemas/tracker.js';
import type { AdaptedEvent, MachineSample } from '../schemas/trainerProtocol.js';
import type { DeliveryState, WebhookState } from '../schemas/webhook.js';
import type { WorkerKind, WorkerReport } from '../schemas/worker.js';

type Json<T> = ColumnType<T, string, string>;
type JsonWithDefault<T> = ColumnType<T, string | undefined, string>;
/** int8 is read as a number: every count here is far below 2^53. */
type BigInteger = ColumnType<number, number, number>;
type BigIntegerWithDefault = ColumnType<number, number | undefined, number>;
type Time = ColumnType<Date, Date | undefined, Date>;
type OptionalTime = ColumnType<Date | null, Date | null | undefined, Date | null>;

export interface AccountsTable {
  id: string;
  display_name: Generated<string>;
  email: Generated<string>;
  create_time: Time;
  update_time: Time;
}
export interface UsersTable {
  account_id: string;
  id: string;
  email: Generated<string>;
  display_name: Generated<string>;
  role: Generated<string>;
  service_account: Generated<boolean>;
  sign_in_issuer: string | null;
  sign_in_subject: string | null;
  create_time: Time;
  update_time: Time;
}
export interface ApiKeysTable {
  key_id: string;
  account_id: string;
  user_id: string;
  display_name: Generated<string>;
  prefix: string;
  hash: string;
  secret_key_id: Generated<string>;
  create_time: Time;
  expire_time: OptionalTime;
  last_used_time: OptionalTime;
}
export interface SecretsTable {
  account_id: string;
  id: string;
  key_name: Generated<string>;
  ciphertext: Buffer;
  secret_key_id: Generated<string>;
  create_time: Time;
  update_time: Time;
}
/** What an upload in progress declared, and where it lies. */
export interface Upload {
  key: string;
  filename: string;
  sizeBytes?: number;
  sha256?: string;
  /** An upload in parts: its ID in the object store, and the size of all parts but the last. */
  multipart?: { id: string; partSizeBytes: number };
}
export interface DatasetsTable {
  uid: string;
  account_id: string;
  id: string;
  display_name: Generated<string>;
  state: DatasetState;
  status_code: Generated<string>;
  status_message: Generated<string>;
  status_details: JsonWithDefault<ErrorDetail[]>;
  format: Generated<string>;
  request: Json<Record<string, unknown>>;
  request_hash: string;
  upload: ColumnType<Upload | null, string | null | undefined, string | null>;
  examples: BigIntegerWithDefault;
  size_bytes: BigIntegerWithDefault;
  sha256: string | null;
  object_key: string | null;
  report_key: string | null;
  average_turns: number | null;
  tokens: ColumnType<number | null, number | null | undefined, number | null>;
  tokens_base_model: string | null;
  /** Of the upload whose validation was asked for and is not started yet. */
  validation: ColumnType<DatasetInput | null, string | null | undefined, string | null>;
  /** After this the dataset is removed. */
  expire_time: OptionalTime;
  created_by: Generated<string>;
  create_time: Time;
  update_time: Time;
}
/** Reporting to Weights & Biases as the job asked for it; the key itself is a secret, by ID. */
export interface WandbSettings extends TrackerSettings {
  project: string;
  entity?: string;
  runId: string;
  secretId: string;
}
/** How a job's reporting to a tracker stands; the key of one, where it has any, is a secret, by ID. */
export interface TrackerSettings {
  /** The page of the run. */
  url?: string;
  /** Absent: PENDING. */
  state?: TrackerState;
  /** Why it is DEGRADED, and what to do. */
  reason?: string;
  /** The last step that the tracker is known to have. */
  deliveredStep?: number;
}
export interface MlflowSettings extends TrackerSettings {
  /** On the tracking server of the deployment (MLFLOW_TRACKING_URI). */
  experiment: string;
}
/** What a job was asked for in OpenAI's words, where ours do not have them. */
export interface OpenaiJobSettings {
  /** What it goes on from, as these clients call it: a base model's ID or a tuned model's name. */
  model: string;
  /** The name of the model it makes: `ft:BASE:ACCOUNT:SUFFIX:ID`. */
  fineTunedModel: string;
  suffix: string | null;
  metadata: Record<string, string> | null;
  /** Of the base model's own learning rate. */
  learningRateMultiplier: number;
  integrations: { type: 'wandb'; wandb: { project: string; entity?: string; name?: string; tags?: string[] } }[] | null;
}
export interface JobProgressData {
  step?: number;
  totalSteps?: number;
  epoch?: number;
  loss?: number;
  learningRate?: number;
  tokensPerSecond?: number;
  etaSeconds?: number | null;
  tokens?: number;
  trainedTokens?: number;
  trainExamples?: number;
  evalExamples?: number;
  /** Examples that the trainer has encoded so far; the two counts below are of these. */
  readExamples?: number;
  truncatedExamples?: number;
  droppedExamples?: number;
  targetModules?: string[];
  microBatchTokens?: number;
  /** Activations are computed again instead of kept; the base model is in 4 bits. As memory asked for, also of later attempts. */
  recompute?: boolean;
  quantization?: 'none' | 'nf4';
  /** As the device allowed: `varlen`, `byExample` or `masked`; and transformers' name of the optimizer. */
  attention?: string;
  compiled?: boolean;
  optimizer?: string;
  /** Memory was too small for what was planned: later attempts begin with what is above. */
  adapted?: boolean;
  /** When the trainer was last heard of, while that is too long ago. */
  stalledSince?: string | null;
  device?: string;
  /** Which content of the base model it is trained on: the hub's commit, or a hash. */
  baseModelContent?: string;
  /** Of the trainer and of the packages that have a say in the result. */
  versions?: Record<string, string>;
  /** Seconds of the trainer's processes so far. */
  trainerSeconds?: number;
}
/** What a job was expected to take when it was created. */
export interface JobEstimate {
  /** Of all epochs; null where the dataset's tokens are not known. */
  tokens: number | null;
  /** Of training; null where this deployment has not measured the base model yet. */
  seconds: number | null;
  /** That `seconds` was measured on. */
  device?: string;
  /** As they were then; null where none were set. */
  prices: Prices | null;
}
export interface JobsTable {
  uid: string;
  account_id: string;
  id: string;
  /** The route family that created it: `fineTuningJobs` or `supervisedFineTuningJobs`. */
  collection: string;
  display_name: Generated<string>;
  request: Json<Record<string, unknown>>;
  request_hash: string;
  settings: Json<JobSettings>;
  setting_origins: Json<SettingOrigins>;
  dataset_name: string;
  dataset_uid: string;
  base_model: string;
  warm_start_from: string | null;
  kind: string;
  model_id: string;
  priority: Generated<number>;
  wandb: ColumnType<WandbSettings | null, string | null | undefined, string | null>;
  mlflow: ColumnType<MlflowSettings | null, string | null | undefined, string | null>;
  tensorboard: ColumnType<TrackerSettings | null, string | null | undefined, string | null>;
  state: Generated<JobState>;
  stage: Generated<JobStage>;
  transition: Generated<number>;
  status_code: Generated<string>;
  status_message: Generated<string>;
  failure: ColumnType<Failure | null, string | null | undefined, string | null>;
  progress: JsonWithDefault<JobProgressData>;
  /** Training is over, and this is what it came to. */
  trained: ColumnType<TrainResult | null, string | null | undefined, string | null>;
  evaluation: ColumnType<EvaluationResult | null, string | null | undefined, string | null>;
  openai: ColumnType<OpenaiJobSettings | null, string | null | undefined, string | null>;
  /** The metrics of a completed job as a CSV file. */
  results: ColumnType<StoredFile | null, string | null | undefined, string | null>;
  attempt: Generated<number>;
  resumed: Generated<number>;
  /** Temporal's status of a workflow that ended before the job had; null: none did. */
  abandoned: Generated<string | null>;
  workflow_started: Generated<boolean>;
  estimate: ColumnType<JobEstimate | null, string | null | undefined, string | null>;
  /** Once it has ended. */
  cost: ColumnType<Money | null, string | null | undefined, string | null>;
  is_running: Generated<boolean>;
  reproduction: ColumnType<Reproduction | null, string | null | undefined, string | null>;
  /** Name of the run of retraining that made it, and the workflow ID of that run while it waits. */
  retraining_run: ColumnType<string | null, string | null | undefined, string | null>;
  awaited_by: ColumnType<string | null, string | null | undefined, string | null>;
  created_by: Generated<string>;
  create_time: Time;
  update_time: Time;
  started_time: OptionalTime;
  completed_time: OptionalTime;
}
export interface JobEventsTable {
  job_uid: string;
  sequence: number;
  key: string;
  type: string;
  message: string;
  state: string | null;
  data: JsonWithDefault<Record<string, unknown>>;
  time: Time;
}
export interface JobMetricsTable {
  job_uid: string;
  step: number;
  attempt: number;
  epoch: number;
  loss: number;
  learning_rate: number;
  grad_norm: number | null;
  tokens: BigInteger;
  trained_tokens: BigInteger;
  tokens_per_second: number;
  /** Mean loss over the held-out examples after this step; null where it was not measured. */
  evaluation_loss: number | null;
  /** At the steps where it was looked at. */
  machine: ColumnType<MachineSample | null, string | null, string | null>;
  time: Time;
}
/** A rung of the ladder that a trainer takes when memory is too small. */
export type Adaptation = Pick<AdaptedEvent, 'code' | 'step' | 'microBatchTokens' | 'recompute' | 'quantization'>;
export interface JobAttemptsTable {
  job_uid: string;
  attempt: number;
  worker: string;
  device: string | null;
  reason: string;
  start_step: Generated<number>;
  resumed_from: string | null;
  /** What it did when memory was too small, in order. */
  adaptations: ColumnType<Adaptation[] | null, string | null | undefined, unknown>;
  end_step: number | null;
  outcome: string | null;
  failure: ColumnType<Failure | null, string | null | undefined, string | null>;
  start_time: Time;
  end_time: OptionalTime;
}
/** A file by name, size and hash; `key` is its place in the object store. */
export interface StoredFile {
  name: string;
  key: string;
  sizeBytes: number;
  sha256: string;
}
export interface JobCheckpointsTable {
  job_uid: string;
  step: number;
  attempt: number;
  key: string;
  manifest_sha256: string;
  files: JSONColumnType<StoredFile[]>;
  size_bytes: BigInteger;
  loss: number | null;
  create_time: Time;
}
export interface PeftDetails {
  baseModel: string;
  r: number;
  targetModules: string[];
  /** Why no job can go on from it, when none can. */
  untunable?: string;
}
/** The files of a model that are on their way, each under a key that nobody chose. */
export interface ModelUpload {
  /** Changes with every file that is declared: a verdict is of one upload. */
  id: string;
  files: { name: string; key: string; sizeBytes: number }[];
}
/** Where a model is imported from. The token itself is a secret of the account, by ID. */
export interface ModelImport {
  repository: string;
  revision?: string;
  tokenSecretId?: string;
  /** The commit that was brought, once it was. */
  commit?: string;
}
/** What validation found in a base model's configuration. */
export interface BaseModelDetails {
  /** `model_type` of config.json. */
  family: string;
  parameters: number;
  vocabularySize: number;
  /** Tokens, by `max_position_embeddings`. */
  maxPositions: number;
  mixtureOfExperts: boolean;
}
/** What the uploader says of a model; nothing here depends on it. */
export interface ModelFacts {
  contextLength?: number;
  trainingContextLength?: number;
  supportsTools?: boolean;
  supportsImageInput?: boolean;
  huggingFaceUrl?: string;
  githubUrl?: string;
}
export interface ModelsTable {
  uid: string;
  account_id: string;
  id: string;
  display_name: Generated<string>;
  description: Generated<string>;
  kind: string;
  state: ModelState;
  status_code: Generated<string>;
  status_message: Generated<string>;
  base_model: string | null;
  peft: ColumnType<PeftDetails | null, string | null | undefined, string | null>;
  conversation: ColumnType<Record<string, unknown> | null, string | null | undefined, string | null>;
  /** Base models: where the files come from, when not `files`. */
  source: ColumnType<Record<string, unknown> | null, string | null | undefined, string | null>;
  files: JsonWithDefault<StoredFile[]>;
  context_length: number | null;
  job_name: string | null;
  job_uid: string | null;
  /** `ft:BASE:ACCOUNT:SUFFIX:ID` of a model that was asked for with OpenAI's protocol. */
  openai_name: ColumnType<string | null, string | null | undefined, string | null>;
  metrics: ColumnType<Record<string, unknown> | null, string | null | undefined, string | null>;
  lineage: ColumnType<Lineage | null, string | null | undefined, string | null>;
  request_hash: string | null;
  upload: ColumnType<ModelUpload | null, string | null | undefined, string | null>;
  import: ColumnType<ModelImport | null, string | null | undefined, string | null>;
  base_details: ColumnType<BaseModelDetails | null, string | null | undefined, string | null>;
  facts: JsonWithDefault<ModelFacts>;
  /** Its import or validation was asked for, and is not started yet. */
  is_work_due: Generated<boolean>;
  /** What validation found odd but not wrong, in sentences. */
  warnings: JsonWithDefault<string[]>;
  status_details: JsonWithDefault<ErrorDetail[]>;
  created_by: Generated<string>;
  create_time: Time;
  update_time: Time;
}
export interface VersionNumbersTable {
  account_id: string;
  model_name: string;
  last: number;
}
export interface TombstonesTable {
  account_id: string;
  name: string;
  uid: string;
  kind: 'DATASET' | 'MODEL';
  facts: JsonWithDefault<{ sha256?: string; lineage?: Lineage }>;
  deleted_by: Generated<string>;
  delete_time: Time;
}
export interface UsageRecordsTable {
  job_uid: string;
  account_id: string;
  job_id: string;
  created_by: string;
  base_model: string;
  kind: string;
  device: string | null;
  state: string;
  tokens: BigInteger;
  trained_tokens: BigInteger;
  gpu_seconds: number;
  cost: number | null;
  currency: string | null;
  time: Time;
}
export interface ExportsTable {
  uid: string;
  account_id: string;
  model_uid: string;
  model_id: string;
  id: string;
  format: ExportFormat;
  quantization: string | null;
  state: Generated<ExportState>;
  stage: Generated<ExportStage>;
  percent: Generated<number>;
  failure: ColumnType<ExportFailure | null, string | null | undefined, string | null>;
  merged: ColumnType<StoredFile[] | null, string | null | undefined, string | null>;
  files: JsonWithDefault<StoredFile[]>;
  checked: ColumnType<ExportCheck | null, string | null | undefined, string | null>;
  request_hash: string;
  workflow_started: Generated<boolean>;
  created_by: Generated<string>;
  create_time: Time;
  update_time: Time;
  end_time: OptionalTime;
}
/** As Temporal is to be told; whether it is paused only at the beginning. */
export interface ScheduleTiming extends Timing {
  startPaused?: boolean;
  note?: string;
}
export interface SchedulesTable {
  uid: string;
  account_id: string;
  id: string;
  display_name: Generated<string>;
  timing: Json<ScheduleTiming>;
  retraining: Json<Retraining>;
  request_hash: string;
  version: Generated<number>;
  applied_version: Generated<number>;
  deleting: Generated<boolean>;
  created_by: Generated<string>;
  create_time: Time;
  update_time: Time;
}
/** An object that a dataset is made of; for imports `etag` tells its versions apart, for datasets it is the SHA-256. */
export interface DatasetPart {
  key: string;
  etag: string;
  sizeBytes: number;
}
export interface RetrainingRunsTable {
  uid: string;
  account_id: string;
  id: string;
  schedule_uid: string | null;
  /** '' for a sweep. */
  schedule_id: string;
  display_name: Generated<string>;
  retraining: Json<Retraining>;
  request_hash: string | null;
  workflow_id: string;
  workflow_started: boolean;
  state: Generated<RunState>;
  reason: Generated<string>;
  failure: ColumnType<Failure | null, string | null | undefined, string | null>;
  fingerprint: string | null;
  dataset_name: string | null;
  parts: JsonWithDefault<DatasetPart[]>;
  start_model: string | null;
  jobs: JsonWithDefault<RunJobResult[]>;
  promotion: ColumnType<PromotionOutcome | null, string | null | undefined, string | null>;
  created_by: Generated<string>;
  create_time: Time;
  update_time: Time;
  end_time: OptionalTime;
}
export interface AliasesTable {
  account_id: string;
  id: string;
  model_id: string;
  earlier: JsonWithDefault<string[]>;
  moves: Generated<number>;
  /** One of `NAME@vN` that was numbered when it was made, and never moves. */
  is_version: Generated<boolean>;
  created_by: Generated<string>;
  create_time: Time;
  update_time: Time;
}
export interface AliasMovesTable {
  account_id: string;
  alias_id: string;
  sequence: number;
  key: string;
  kind: string;
  from_model: string | null;
  to_model: string;
  moved_by: Generated<string>;
  reason: Generated<string>;
  time: Time;
}
export interface IdempotencyKeysTable {
  account_id: string;
  key: string;
  request_hash: string;
  create_time: Time;
}
/** A file that arrives in parts. */
export interface UploadsTable {
  id: string;
  account_id: string;
  filename: string;
  mime_type: string;
  size_bytes: BigInteger;
  /** How long the file will be kept. */
  file_seconds: ColumnType<number | null, number | null | undefined, number | null>;
  state: Generated<'pending' | 'completed' | 'cancelled'>;
  dataset_uid: ColumnType<string | null, string | null | undefined, string | null>;
  request_hash: string;
  created_by: Generated<string>;
  create_time: Time;
  expire_time: ColumnType<Date, Date, Date>;
}
export interface UploadPartsTable {
  id: string;
  upload_id: string;
  key: string;
  size_bytes: BigInteger;
  sha256: string;
  create_time: Time;
}
export interface WebhooksTable {
  uid: string;
  account_id: string;
  id: string;
  display_name: Generated<string>;
  url: string;
  event_types: Json<string[]>;
  state: Generated<WebhookState>;
  disabled_reason: Generated<string>;
  /** The secret's last characters. */
  secret_hint: string;
  /** Until then, deliveries are signed with the secret before the present one, too. */
  previous_secret_until: OptionalTime;
  request_hash: string | null;
  created_by: Generated<string>;
  create_time: Time;
  update_time: Time;
}
export interface WebhookEventsTable {
  id: string;
  account_id: string;
  key: string;
  type: string;
  /** The JSON text that is sent, and signed. */
  body: string;
  create_time: Time;
}
export interface WebhookDeliveriesTable {
  id: string;
  account_id: string;
  webhook_uid: string;
  event_id: string;
  state: Generated<DeliveryState>;
  attempts: Generated<number>;
  status: ColumnType<number | null, number | null | undefined, number | null>;
  error: Generated<string>;
  workflow_started: Generated<boolean>;
  create_time: Time;
  update_time: Time;
}

export interface QuotasTable {
  account_id: string;
  id: string;
  value: ColumnType<number | null, number | null, number | null>;
  max_value: ColumnType<number | null, number | null, number | null>;
  update_time: Time;
}
/** Rows are only added: the database refuses anything else. */
export interface AuditEventsTable {
  id: string;
  account_id: string;
  time: Time;
  user_id: string;
  user_account_id: string;
  email: string;
  key_id: string;
  method: string;
  path: string;
  resource: string;
  status: number;
  reason: string;
  address: string;
}

export interface WorkersTable {
  identity: string;
  kind: WorkerKind;
  version: string;
  start_time: Time;
  heartbeat_time: Time;
  clock_offset_ms: number;
  report: Json<WorkerReport>;
}

export interface JanitorReportsTable {
  account_id: string;
  id: string;
  orphans: Json<(Orphan & { removed: boolean })[]>;
  removed: number;
  kept: number;
  size_bytes: number;
  create_time: Time;
}

export interface Tables {
  accounts: AccountsTable;
  users: UsersTable;
  api_keys: ApiKeysTable;
  secrets: SecretsTable;
  datasets: DatasetsTable;
  jobs: JobsTable;
  job_events: JobEventsTable;
  job_metrics: JobMetricsTable;
  job_attempts: JobAttemptsTable;
  job_checkpoints: JobCheckpointsTable;
  models: ModelsTable;
  exports: ExportsTable;
  usage_records: UsageRecordsTable;
  tombstones: TombstonesTable;
  version_numbers: VersionNumbersTable;
  schedules: SchedulesTable;
  retraining_runs: RetrainingRunsTable;
  aliases: AliasesTable;
  alias_moves: AliasMovesTable;
  idempotency_keys: IdempotencyKeysTable;
  quotas: QuotasTable;
  audit_events: AuditEventsTable;
  uploads: UploadsTable;
  upload_parts: UploadPartsTable;
  janitor_reports: JanitorReportsTable;
  webhooks: WebhooksTable;
  webhook_events: WebhookEventsTable;
  webhook_deliveries: WebhookDeliveriesTable;
  workers: WorkersTable;
}
export type Database = Kysely<Tables>;

const INT8_OID = 20;

/** A server that went without a word is noticed after these ten seconds and ten more; by the system's own settings after two hours. */
export const KEEP_ALIVE = { keepAlive: true, keepAliveInitialDelayMillis: 10_000 } as const;

/** What was sent and is never acknowledged the system sends again for a quarter of an hour, and asks for no sign of life meanwhile. */
const SILENCE_MS = 60_000;

/**
 * Opens a pool; nothing connects before the first query. Idle connections that the server drops are replaced, not fatal.
 * @param options.silenceMs  a query that hears nothing of the server for so long fails with ETIMEDOUT, and its connection is given up; 0: never
 */
export function openDatabase(url: string, { maxConnections = 10, silenceMs = SILENCE_MS } = {}): Database {
  const types = {
    getTypeParser: (oid: number, format?: 'text' | 'binary') => (oid === INT8_OID ? Number : pg.types.getTypeParser(oid, format as 'text')),
  };
  const pool = new pg.Pool({
    connectionString: url,
    max: maxConnections,
    connectionTimeoutMillis: 5_000,
    ...KEEP_ALIVE,
    stream: () => openSocket(silenceMs),
    types: types as pg.CustomTypesConfig,
  });
  pool.on('error', () => {});
  // A connection that breaks fails its query, which is enough; without a listener it would end the process, too.
  pool.on('connect', (client) => client.on('error', () => {}));
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
}

function openSocket(silenceMs: number): Socket {
  const socket = new Socket().setTimeout(silenceMs);
  return socket.on('timeout', () => socket.destroy(Object.assign(new Error('Postgres has not answered'), { code: 'ETIMEDOUT' })));
}

const MIGRATIONS = new URL('./migrations/', import.meta.url);
/** Any constant: every process that migrates takes the same advisory lock. */
const MIGRATION_LOCK = 7_383_731;

async function migrationFiles(): Promise<string[]> {
  return (await readdir(MIGRATIONS)).filter((name) => name.endsWith('.sql')).sort();
}

/** Migrations that this version has and the database has not, and the reverse: then a newer version has been here. */
export async function compareMigrations(database: Database): Promise<{ missing: string[]; unknown: string[] }> {
  const names = await migrationFiles();
  const applied = (await sql<{ name: string }>`select name from migrations`.execute(database)).rows.map(({ name }) => name);
  return {
    missing: names.filter((name) => !applied.includes(name)),
    unknown: applied.filter((name) => !names.includes(name)),
  };
}

/** Applies what is missing, in order, once: several processes may call it at the same time. */
export async function migrate(database: Database): Promise<void> {
  const names = await migrationFiles();
  await database.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(${MIGRATION_LOCK})`.execute(transaction);
    await sql`create table if not exists migrations (name text primary key, time timestamptz not null default now())`.execute(transaction);
    const applied = await sql<{ name: string }>`select name from migrations`.execute(transaction);
    const done = new Set(applied.rows.map((row) => row.name));
    for (const name of names.filter((candidate) => !done.has(candidate))) {
      await sql.raw(await readFile(new URL(name, MIGRATIONS), 'utf8')).execute(transaction);
      await sql`insert into migrations (name) values (${name})`.execute(transaction);
    }
  });
}
