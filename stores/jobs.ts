/** Job records: the projection of what the workflow decided. Every write is idempotent, because activities run at least once. */
import { randomUUID } from 'node:crypto';
import { sql, type Selectable, type Transaction } from 'kysely';
import type { EvaluationResult, Failure, TrainResult, Transition } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import type { Reproduction } from '../schemas/lineage.js';
import { resourceName } from '../schemas/names.js';
import { isTerminal, TERMINAL_JOB_STATES } from '../schemas/states.js';
import type { JobSettings, SettingOrigins } from '../schemas/task.js';
import type { Tracker } from '../schemas/tracker.js';
import type {
  Adaptation,
  Database,
  JobAttemptsTable,
  JobCheckpointsTable,
  JobEstimate,
  JobMetricsTable,
  JobProgressData,
  JobsTable,
  MlflowSettings,
  OpenaiJobSettings,
  StoredFile,
  Tables,
  TrackerSettings,
  WandbSettings,
} from './database.js';
import { appendEventIn } from './events.js';
import { reserveModel } from './models.js';
import { recordUsage } from './usage.js';
import { tellJobState } from './webhooks.js';

export type JobRecord = Selectable<JobsTable>;
export type AttemptRecord = Selectable<JobAttemptsTable>;
export type CheckpointRecord = Selectable<JobCheckpointsTable>;
export type MetricRecord = Selectable<JobMetricsTable>;

export interface NewJob {
  uid: string;
  accountId: string;
  id: string;
  collection: 'fineTuningJobs' | 'supervisedFineTuningJobs';
  displayName: string;
  request: Record<string, unknown>;
  requestHash: string;
  settings: JobSettings;
  settingOrigins: SettingOrigins;
  datasetName: string;
  datasetUid: string;
  modelId: string;
  priority: number;
  wandb: WandbSettings | null;
  mlflow?: MlflowSettings | null;
  tensorboard?: TrackerSettings | null;
  openai?: OpenaiJobSettings;
  createdBy: string;
  estimate: JobEstimate;
  /** Of a job that a run of retraining makes: it starts the job's workflow itself, and waits for its end. */
  run?: { name: string; workflowId: string };
  /** Of a job that makes a model once more. */
  reproduction?: Reproduction;
  /** What is known of its course before it begins. */
  progress?: JobProgressData;
}

export function findJob(database: Database, accountId: string, id: string): Promise<JobRecord | undefined> {
  return database.selectFrom('jobs').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}

/** Those of these jobs that exist, each given as its account's ID and its own. */
export async function findJobs(database: Database, jobs: [accountId: string, id: string][]): Promise<JobRecord[]> {
  const accounts = jobs.map(([accountId]) => accountId);
  const ids = jobs.map(([, id]) => id);
  const { rows } = await sql<JobRecord>`
    select jobs.* from unnest(${accounts}::text[], ${ids}::text[]) as wanted (account_id, id)
    join jobs on jobs.account_id = wanted.account_id and jobs.id = wanted.id`.execute(database);
  return rows;
}

export function findJobByUid(database: Database, uid: string): Promise<JobRecord | undefined> {
  return database.selectFrom('jobs').selectAll().where('uid', '=', uid).executeTakeFirst();
}

/** Held by the transaction: others that would change the job wait for its end. */
export function lockJob(transaction: Database, uid: string): Promise<JobRecord | undefined> {
  return transaction.selectFrom('jobs').selectAll().where('uid', '=', uid).forUpdate().executeTakeFirst();
}

/** Those of these jobs that still exist, each with its row's version (RowVersion). */
export function readJobVersions(database: Database, uids: string[]): Promise<(JobRecord & { version: string })[]> {
  return database
    .selectFrom('jobs')
    .selectAll()
    .select(sql<string>`xmin::text`.as('version'))
    .where('uid', 'in', uids)
    .execute();
}

/**
 * Inserts with its first event and the reservation of its model's ID; null when the ID is already a job's.
 * @throws TemperError RESOURCE_ALREADY_EXISTS when the model's ID is taken: then nothing was inserted, if the transaction ends with it
 */
export async function createJob(transaction: Transaction<Tables>, job: NewJob): Promise<JobRecord | null> {
  const inserted = await transaction
    .insertInto('jobs')
    .values({
      uid: job.uid,
      account_id: job.accountId,
      id: job.id,
      collection: job.collection,
      display_name: job.displayName,
      request: JSON.stringify(job.request),
      request_hash: job.requestHash,
      settings: JSON.stringify(job.settings),
      setting_origins: JSON.stringify(job.settingOrigins),
      dataset_name: job.datasetName,
      dataset_uid: job.datasetUid,
      base_model: job.settings.baseModel,
      warm_start_from: job.settings.warmStartFrom ?? null,
      kind: job.settings.task.kind,
      model_id: job.modelId,
      priority: job.priority,
      wandb: job.wandb ? JSON.stringify(job.wandb) : null,
      mlflow: job.mlflow ? JSON.stringify(job.mlflow) : null,
      tensorboard: job.tensorboard ? JSON.stringify(job.tensorboard) : null,
      openai: job.openai ? JSON.stringify(job.openai) : null,
      created_by: job.createdBy,
      estimate: JSON.stringify(job.estimate),
      ...(job.reproduction ? { reproduction: JSON.stringify(job.reproduction) } : {}),
      ...(job.progress ? { progress: JSON.stringify(job.progress) } : {}),
      ...(job.run ? { retraining_run: job.run.name, awaited_by: job.run.workflowId, workflow_started: true } : {}),
    })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doNothing())
    .returningAll()
    .executeTakeFirst();
  if (!inserted) return null;
  const jobName = resourceName(job.accountId, 'fineTuningJobs', job.id);
  const reserved = await reserveModel(transaction, {
    uid: randomUUID(),
    accountId: job.accountId,
    id: job.modelId,
    jobName,
    jobUid: job.uid,
    openaiName: job.openai?.fineTunedModel,
    createdBy: job.createdBy,
  });
  if (!reserved) {
    const name = resourceName(job.accountId, 'models', job.modelId);
    throw new TemperError('RESOURCE_ALREADY_EXISTS', `${name} already exists, or another job is making it. Choose another model ID.`, [
      { reason: 'RESOURCE_ALREADY_EXISTS', field: 'modelId' },
    ]);
  }
  await appendEventIn(transaction, job.uid, { key: 'created', type: 'state', state: 'CREATING', message: 'The job was accepted.' });
  return inserted;
}

/** The jobs that runs of retraining have made, by the names of the runs. */
export function jobsOfRuns(database: Database, accountId: string, runNames: string[]): Promise<JobRecord[]> {
  if (runNames.length === 0) return Promise.resolve([]);
  return database.selectFrom('jobs').selectAll().where('account_id', '=', accountId).where('retraining_run', 'in', runNames).execute();
}

/** Names of the jobs that go on from a model and have not ended. */
export async function jobsStartingFrom(database: Database, accountId: string, modelName: string): Promise<string[]> {
  const rows = await database
    .selectFrom('jobs')
    .select('id')
    .where('account_id', '=', accountId)
    .where((where) => where.or([where('warm_start_from', '=', modelName), where('base_model', '=', modelName)]))
    .where('state', 'not in', [...TERMINAL_JOB_STATES])
    .execute();
  return rows.map((row) => resourceName(accountId, 'fineTuningJobs', row.id));
}

/** Changes what may change of a job at any time. */
export function updateJobFields(
  database: Database,
  accountId: string,
  id: string,
  fields: { displayName?: string; priority?: number },
): Promise<JobRecord> {
  return database
    .updateTable('jobs')
    .set({
      update_time: sql`now()`,
      ...(fields.displayName !== undefined ? { display_name: fields.displayName } : {}),
      ...(fields.priority !== undefined ? { priority: fields.priority } : {}),
    })
    .where('account_id', '=', accountId)
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function markWorkflowStarted(database: Database, uid: string): Promise<void> {
  await database.updateTable('jobs').set({ workflow_started: true }).where('uid', '=', uid).execute();
}

/** Jobs whose workflow may never have been started, because the process died between the two. */
export function jobsWithoutWorkflow(database: Database, olderThanSeconds: number): Promise<JobRecord[]> {
  return database
    .selectFrom('jobs')
    .selectAll()
    .where('workflow_started', '=', false)
    .where(sql<boolean>`create_time < now() - make_interval(secs => ${olderThanSeconds})`)
    .limit(100)
    .execute();
}

/**
 * The job's workflow has ended without it: it gets another, which cancels it. The number of an attempt is used up, so that what still
 * trains for it publishes nothing more. Nothing happens to a job that has ended, or got another workflow already.
 */
export async function abandonJob(database: Database, uid: string, status: string): Promise<void> {
  await database.transaction().execute(async (transaction) => {
    const abandoned = await transaction
      .updateTable('jobs')
      .set(({ eb }) => ({
        abandoned: status,
        attempt: eb('attempt', '+', 1),
        resumed: eb('resumed', '+', 1),
        workflow_started: false,
        update_time: sql<Date>`now()`,
      }))
      .where('uid', '=', uid)
      .where('workflow_started', '=', true)
      .where('state', 'not in', [...TERMINAL_JOB_STATES])
      .executeTakeFirst();
    if (abandoned.numUpdatedRows === 0n) return;
    await transaction
      .updateTable('job_attempts')
      .set({ outcome: 'cancelled', end_time: sql<Date>`now()` })
      .where('job_uid', '=', uid)
      .where('end_time', 'is', null)
      .execute();
  });
}

/** Those of these jobs that have not ended. */
export async function livingJobs(database: Database, uids: string[]): Promise<Set<string>> {
  if (uids.length === 0) return new Set();
  const rows = await database
    .selectFrom('jobs')
    .select('uid')
    .where('uid', 'in', uids)
    .where('state', 'not in', [...TERMINAL_JOB_STATES])
    .execute();
  return new Set(rows.map(({ uid }) => uid));
}

/** Applies a transition and appends its event, in one transaction, once: a repeat or a late one changes nothing, and gives false. */
export async function applyTransition(database: Database, transition: Transition): Promise<boolean> {
  return database.transaction().execute(async (transaction) => {
    const failure = transition.failure;
    const updated = await transaction
      .updateTable('jobs')
      .set({
        state: transition.to,
        stage: transition.stage,
        transition: transition.sequence,
        update_time: sql`now()`,
        ...(failure ? { failure: JSON.stringify(failure), status_code: failure.code, status_message: failure.message } : {}),
        ...(transition.to === 'RUNNING' ? { started_time: sql<Date>`coalesce(started_time, now())` } : {}),
        ...(transition.to === 'PAUSED' || isTerminal(transition.to) ? { is_running: false } : {}),
        ...(isTerminal(transition.to) ? { completed_time: sql<Date>`now()` } : {}),
      })
      .where('uid', '=', transition.uid)
      .where('transition', '<', transition.sequence)
      .returning(['uid', 'account_id', 'id'])
      .executeTakeFirst();
    if (!updated) return false;
    await appendEventIn(transaction, transition.uid, {
      key: `transition/${transition.sequence}`,
      type: transition.from === transition.to ? 'stage' : 'state',
      state: transition.to,
      message: transition.cause,
      data: { from: transition.from, to: transition.to, stage: transition.stage, ...(failure ? { failure } : {}) },
    });
    if (isTerminal(transition.to)) await recordUsage(transaction, transition.uid);
    if (transition.from !== transition.to) await tellJobState(transaction, updated, transition.to);
    return true;
  });
}

/** Merges into the job's progress; fields not given stay. */
export async function updateProgress(database: Database, uid: string, progress: JobProgressData): Promise<void> {
  await database
    .updateTable('jobs')
    .set({ progress: sql`progress || ${JSON.stringify(progress)}::jsonb`, update_time: sql`now()` })
    .where('uid', '=', uid)
    .execute();
}

/** The row of a failed job as one that was accepted and has no workflow yet. */
export function reopenJob(database: Database, { uid, transition, resumed }: JobRecord): Promise<JobRecord> {
  return database
    .updateTable('jobs')
    .set({
      state: 'CREATING',
      stage: 'created',
      transition: transition + 1,
      resumed: resumed + 1,
      workflow_started: false,
      is_running: false,
      failure: null,
      status_code: 'OK',
      status_message: '',
      completed_time: null,
      update_time: sql<Date>`now()`,
    })
    .where('uid', '=', uid)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function setSettings(database: Database, uid: string, settings: JobSettings, origins: SettingOrigins): Promise<void> {
  await database
    .updateTable('jobs')
    .set({ settings: JSON.stringify(settings), setting_origins: JSON.stringify(origins), update_time: sql`now()` })
    .where('uid', '=', uid)
    .execute();
}

/** What was evaluated before was another adapter. */
export async function setTrained(database: Database, uid: string, trained: TrainResult | null): Promise<void> {
  await database
    .updateTable('jobs')
    .set({ trained: trained && JSON.stringify(trained), evaluation: null })
    .where('uid', '=', uid)
    .execute();
}

export async function recordEvaluation(database: Database, uid: string, evaluation: EvaluationResult): Promise<void> {
  await database
    .updateTable('jobs')
    .set({ evaluation: JSON.stringify(evaluation), update_time: sql`now()` })
    .where('uid', '=', uid)
    .execute();
}

export async function recordResults(database: Database, uid: string, results: StoredFile): Promise<void> {
  await database
    .updateTable('jobs')
    .set({ results: JSON.stringify(results) })
    .where('uid', '=', uid)
    .execute();
}

export async function recordReproduction(database: Database, uid: string, reproduction: Reproduction): Promise<void> {
  await database
    .updateTable('jobs')
    .set({ reproduction: JSON.stringify(reproduction) })
    .where('uid', '=', uid)
    .execute();
}

/** On what stands there now; one that says nothing new touches nothing. */
export async function updateTracker(database: Database, uid: string, tracker: Tracker, change: TrackerSettings): Promise<void> {
  const column = sql.ref(tracker);
  const added = sql`${JSON.stringify(change)}::jsonb`;
  await sql`update jobs set ${column} = ${column} || ${added}, update_time = now()
    where uid = ${uid} and ${column} is not null and not (${column} @> ${added})`.execute(database);
}

export async function deleteJob(database: Database, uid: string): Promise<void> {
  await database.deleteFrom('jobs').where('uid', '=', uid).execute();
}

// ---- Attempts

/** Starts an attempt, and with it takes the job over: a lower attempt may write no more. False when a later one already has. */
export async function beginAttempt(
  database: Database,
  uid: string,
  attempt: { attempt: number; worker: string; reason: string; startStep: number; resumedFrom: string | null },
): Promise<boolean> {
  return database.transaction().execute(async (transaction) => {
    const taken = await transaction
      .updateTable('jobs')
      .set({ attempt: attempt.attempt })
      .where('uid', '=', uid)
      .where('attempt', '<=', attempt.attempt)
      .executeTakeFirst();
    if (taken.numUpdatedRows === 0n) return false;
    await transaction
      .insertInto('job_attempts')
      .values({
        job_uid: uid,
        attempt: attempt.attempt,
        worker: attempt.worker,
        reason: attempt.reason,
        start_step: attempt.startStep,
        resumed_from: attempt.resumedFrom,
      })
      .onConflict((conflict) =>
        conflict
          .columns(['job_uid', 'attempt'])
          .doUpdateSet({ worker: attempt.worker, start_step: attempt.startStep, resumed_from: attempt.resumedFrom }),
      )
      .execute();
    return true;
  });
}

/** True while no later attempt has taken the job over, and nobody has ended it. */
export async function isCurrentAttempt(database: Database, uid: string, attempt: number): Promise<boolean> {
  const job = await database.selectFrom('jobs').select(['attempt', 'state']).where('uid', '=', uid).executeTakeFirst();
  return job !== undefined && isHeldBy(job, attempt);
}

/**
 * Writes what an attempt has to say, all or nothing. False, and nothing is written, when it is no longer the job's: what a worker
 * sends that the network has cut off may arrive long after another has taken the job over.
 */
export function writeAsAttempt(
  database: Database,
  uid: string,
  attempt: number,
  write: (transaction: Transaction<Tables>) => Promise<void>,
): Promise<boolean> {
  return database.transaction().execute(async (transaction) => {
    const job = await transaction.selectFrom('jobs').select(['attempt', 'state']).where('uid', '=', uid).forUpdate().executeTakeFirst();
    if (!job || !isHeldBy(job, attempt)) return false;
    await write(transaction);
    return true;
  });
}

function isHeldBy(job: Pick<JobRecord, 'attempt' | 'state'>, attempt: number): boolean {
  return job.attempt === attempt && !isTerminal(job.state);
}

export async function recordAttemptDevice(database: Database, uid: string, attempt: number, device: string): Promise<void> {
  await database.updateTable('job_attempts').set({ device }).where('job_uid', '=', uid).where('attempt', '=', attempt).execute();
}

/** Appends what an attempt did about too little memory. */
export async function recordAdaptation(database: Database, uid: string, attempt: number, adaptation: Adaptation): Promise<void> {
  await database
    .updateTable('job_attempts')
    .set({ adaptations: sql`coalesce(adaptations, '[]') || ${JSON.stringify([adaptation])}::jsonb` })
    .where('job_uid', '=', uid)
    .where('attempt', '=', attempt)
    .execute();
}

/** Ends an attempt and gives the last step it made, from its metrics; where it began when it made none. Idempotent. */
export async function endAttempt(
  database: Database,
  uid: string,
  attempt: number,
  end: { outcome: string; failure?: Failure },
): Promise<number> {
  await database
    .updateTable('job_attempts')
    .set({
      outcome: end.outcome,
      failure: end.failure ? JSON.stringify(end.failure) : null,
      end_time: sql`now()`,
      end_step: sql`coalesce((select max(step) from job_metrics where job_uid = ${uid} and attempt = ${attempt}), start_step)`,
    })
    .where('job_uid', '=', uid)
    .where('attempt', '=', attempt)
    .where('end_time', 'is', null)
    .execute();
  const row = await database
    .selectFrom('job_attempts')
    .select('end_step')
    .where('job_uid', '=', uid)
    .where('attempt', '=', attempt)
    .executeTakeFirst();
  return row?.end_step ?? 0;
}

export function listAttempts(database: Database, uid: string): Promise<AttemptRecord[]> {
  return database.selectFrom('job_attempts').selectAll().where('job_uid', '=', uid).orderBy('attempt').execute();
}

// ---- Metrics and checkpoints

export type NewMetric = Omit<MetricRecord, 'job_uid' | 'time' | 'machine'> & Partial<Pick<MetricRecord, 'machine'>>;

/** One row a step: a step that a later attempt made again replaces the earlier row, an earlier attempt's late row is ignored. */
export async function recordMetrics(database: Database, uid: string, metrics: NewMetric[]): Promise<void> {
  if (metrics.length === 0) return;
  await database
    .insertInto('job_metrics')
    .values(metrics.map((metric) => ({ job_uid: uid, ...metric, machine: metric.machine ? JSON.stringify(metric.machine) : null })))
    .onConflict((conflict) =>
      conflict
        .columns(['job_uid', 'step'])
        .doUpdateSet((row) => ({
          attempt: row.ref('excluded.attempt'),
          epoch: row.ref('excluded.epoch'),
          loss: row.ref('excluded.loss'),
          learning_rate: row.ref('excluded.learning_rate'),
          grad_norm: row.ref('excluded.grad_norm'),
          tokens: row.ref('excluded.tokens'),
          trained_tokens: row.ref('excluded.trained_tokens'),
          tokens_per_second: row.ref('excluded.tokens_per_second'),
          evaluation_loss: row.ref('excluded.evaluation_loss'),
          machine: row.ref('excluded.machine'),
          time: row.ref('excluded.time'),
        }))
        .whereRef('job_metrics.attempt', '<=', 'excluded.attempt'),
    )
    .execute();
}

/** In order of steps. @param page  only those after a step, so many at most; absent: all */
export function listMetrics(database: Database, uid: string, page?: { after: number; limit: number }): Promise<MetricRecord[]> {
  return database
    .selectFrom('job_metrics')
    .selectAll()
    .where('job_uid', '=', uid)
    .$if(page !== undefined, (query) => query.where('step', '>', page!.after).limit(page!.limit))
    .orderBy('step')
    .execute();
}

export function lastMetric(database: Database, uid: string): Promise<MetricRecord | undefined> {
  return database.selectFrom('job_metrics').selectAll().where('job_uid', '=', uid).orderBy('step', 'desc').limit(1).executeTakeFirst();
}

export async function countMetrics(database: Database, uid: string, upToStep: number): Promise<number> {
  const { count } = await database
    .selectFrom('job_metrics')
    .select(sql<number>`count(*)::int8`.as('count'))
    .where('job_uid', '=', uid)
    .where('step', '<=', upToStep)
    .executeTakeFirstOrThrow();
  return count;
}

/** Tokens of the steps up to one, whichever attempts made them. */
export async function sumTokens(database: Database, uid: string, upToStep: number): Promise<{ tokens: number; trainedTokens: number }> {
  const row = await database
    .selectFrom('job_metrics')
    .select([
      sql<number>`coalesce(sum(tokens), 0)::int8`.as('tokens'),
      sql<number>`coalesce(sum(trained_tokens), 0)::int8`.as('trainedTokens'),
    ])
    .where('job_uid', '=', uid)
    .where('step', '<=', upToStep)
    .executeTakeFirstOrThrow();
  return row;
}

/** How long the attempts up to `attempt` have held a GPU so far (one whose worker died counts until that was noticed), and what time it is. */
export async function readAttemptTimes(database: Database, uid: string, attempt: number): Promise<{ usedSeconds: number; nowMs: number }> {
  return database
    .selectFrom('job_attempts')
    .select([
      sql<number>`coalesce(sum(extract(epoch from coalesce(end_time, now()) - start_time)), 0)::float8`.as('usedSeconds'),
      sql<number>`(extract(epoch from now()) * 1000)::float8`.as('nowMs'),
    ])
    .where('job_uid', '=', uid)
    .where('attempt', '<=', attempt)
    .executeTakeFirstOrThrow();
}

export async function recordCheckpoint(
  database: Database,
  uid: string,
  checkpoint: {
    step: number;
    attempt: number;
    key: string;
    manifestSha256: string;
    files: StoredFile[];
    sizeBytes: number;
    loss: number | null;
  },
): Promise<void> {
  await database
    .insertInto('job_checkpoints')
    .values({
      job_uid: uid,
      step: checkpoint.step,
      attempt: checkpoint.attempt,
      key: checkpoint.key,
      manifest_sha256: checkpoint.manifestSha256,
      files: JSON.stringify(checkpoint.files),
      size_bytes: checkpoint.sizeBytes,
      loss: checkpoint.loss,
    })
    .onConflict((conflict) => conflict.columns(['job_uid', 'attempt', 'step']).doNothing())
    .execute();
}

/** Newest first: by step, then by attempt. */
/** With the loss on held-out rows after its step, where it was measured. */
export type MeasuredCheckpoint = CheckpointRecord & { evaluation_loss: number | null };

export function listCheckpoints(database: Database, uid: string): Promise<MeasuredCheckpoint[]> {
  return database
    .selectFrom('job_checkpoints')
    .leftJoin('job_metrics', (join) =>
      join.onRef('job_metrics.job_uid', '=', 'job_checkpoints.job_uid').onRef('job_metrics.step', '=', 'job_checkpoints.step'),
    )
    .selectAll('job_checkpoints')
    .select('job_metrics.evaluation_loss')
    .where('job_checkpoints.job_uid', '=', uid)
    .orderBy('job_checkpoints.step', 'desc')
    .orderBy('job_checkpoints.attempt', 'desc')
    .execute();
}

export async function deleteCheckpoint(database: Database, uid: string, attempt: number, step: number): Promise<void> {
  await database.deleteFrom('job_checkpoints').where('job_uid', '=', uid).where('attempt', '=', attempt).where('step', '=', step).execute();
}
