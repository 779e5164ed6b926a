/** Runs of retraining, by a schedule or by hand: what each chose, made and decided. Written by its workflow's steps, each idempotent. */
import { sql, type Selectable } from 'kysely';
import type { Failure } from '../schemas/activities.js';
import { SKIPPED_RUNS_KEPT } from '../schemas/limits.js';
import type { PromotionOutcome, RunJobResult } from '../schemas/retraining.js';
import type { Retraining, RunState } from '../schemas/schedule.js';
import type { WebhookEventType } from '../schemas/webhook.js';
import type { Database, DatasetPart, RetrainingRunsTable } from './database.js';
import { appendWebhookEvent } from './webhooks.js';

export type RunRecord = Selectable<RetrainingRunsTable>;

export interface NewRun {
  uid: string;
  accountId: string;
  id: string;
  /** Both null for a sweep. */
  scheduleUid: string | null;
  scheduleId: string | null;
  displayName: string;
  retraining: Retraining;
  requestHash: string | null;
  workflowId: string;
  /** False for a sweep: its row is first. */
  workflowStarted: boolean;
  createdBy: string;
}

export function findRun(database: Database, accountId: string, scheduleId: string, id: string): Promise<RunRecord | undefined> {
  return database
    .selectFrom('retraining_runs')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('schedule_id', '=', scheduleId)
    .where('id', '=', id)
    .executeTakeFirst();
}

export function findRunByUid(database: Database, uid: string): Promise<RunRecord | undefined> {
  return database.selectFrom('retraining_runs').selectAll().where('uid', '=', uid).executeTakeFirst();
}

/** Inserts, or gives the run that has the ID by now. */
export async function insertRun(database: Database, run: NewRun): Promise<RunRecord> {
  const scheduleId = run.scheduleId ?? '';
  const inserted = await database
    .insertInto('retraining_runs')
    .values({
      uid: run.uid,
      account_id: run.accountId,
      id: run.id,
      schedule_uid: run.scheduleUid,
      schedule_id: scheduleId,
      display_name: run.displayName,
      retraining: JSON.stringify(run.retraining),
      request_hash: run.requestHash,
      workflow_id: run.workflowId,
      workflow_started: run.workflowStarted,
      created_by: run.createdBy,
    })
    .onConflict((conflict) => conflict.columns(['account_id', 'schedule_id', 'id']).doNothing())
    .returningAll()
    .executeTakeFirst();
  return inserted ?? (await findRun(database, run.accountId, scheduleId, run.id))!;
}

export async function markRunStarted(database: Database, uid: string): Promise<void> {
  await database.updateTable('retraining_runs').set({ workflow_started: true }).where('uid', '=', uid).execute();
}

export function runsWithoutWorkflow(database: Database, olderThanSeconds: number): Promise<RunRecord[]> {
  return database
    .selectFrom('retraining_runs')
    .selectAll()
    .where('workflow_started', '=', false)
    .where(sql<boolean>`create_time < now() - make_interval(secs => ${olderThanSeconds})`)
    .limit(100)
    .execute();
}

/** Runs of a schedule that have not ended. */
export function openRuns(database: Database, scheduleUid: string): Promise<RunRecord[]> {
  return database
    .selectFrom('retraining_runs')
    .selectAll()
    .where('schedule_uid', '=', scheduleUid)
    .where('end_time', 'is', null)
    .orderBy('create_time')
    .execute();
}

/** The last run of the same schedule that made a model: what "nothing has changed" is measured by. */
export function lastCompletedRun(database: Database, scheduleUid: string): Promise<RunRecord | undefined> {
  return database
    .selectFrom('retraining_runs')
    .selectAll()
    .where('schedule_uid', '=', scheduleUid)
    .where('state', '=', 'COMPLETED')
    .orderBy('create_time', 'desc')
    .limit(1)
    .executeTakeFirst();
}

/** Every object that an earlier completed run of the schedule has trained on. */
export async function trainedParts(database: Database, scheduleUid: string): Promise<Set<string>> {
  const rows = await database
    .selectFrom('retraining_runs')
    .select('parts')
    .where('schedule_uid', '=', scheduleUid)
    .where('state', '=', 'COMPLETED')
    .execute();
  return new Set(rows.flatMap(({ parts }) => parts.map(partVersion)));
}

export function partVersion({ key, etag }: DatasetPart): string {
  return `${key} ${etag}`;
}

export interface RunChoice {
  fingerprint: string;
  datasetName: string | null;
  parts: DatasetPart[];
  startModel: string | null;
}

export async function recordChoice(database: Database, uid: string, choice: RunChoice): Promise<void> {
  await database
    .updateTable('retraining_runs')
    .set({
      fingerprint: choice.fingerprint,
      dataset_name: choice.datasetName,
      parts: JSON.stringify(choice.parts),
      start_model: choice.startModel,
      update_time: sql`now()`,
    })
    .where('uid', '=', uid)
    .execute();
}

export async function forgetParts(database: Database, uid: string): Promise<void> {
  await database.updateTable('retraining_runs').set({ parts: '[]' }).where('uid', '=', uid).execute();
}

/** Puts a job's result in its place in the run's list. */
export async function recordRunJob(database: Database, uid: string, result: RunJobResult): Promise<void> {
  await database.transaction().execute(async (transaction) => {
    const run = await transaction.selectFrom('retraining_runs').select('jobs').where('uid', '=', uid).forUpdate().executeTakeFirst();
    if (!run) return;
    const jobs = [...run.jobs.filter(({ index }) => index !== result.index), result].sort((a, b) => a.index - b.index);
    await transaction
      .updateTable('retraining_runs')
      .set({ jobs: JSON.stringify(jobs), update_time: sql`now()` })
      .where('uid', '=', uid)
      .execute();
  });
}

/** Which states of a run are told to webhooks. */
const RUN_EVENTS: Partial<Record<RunState, WebhookEventType>> = {
  COMPLETED: 'retraining.run.completed',
  FAILED: 'retraining.run.failed',
  AWAITING_APPROVAL: 'retraining.run.awaiting_approval',
};

/** A run that has ended stays as it ended. */
export async function recordRunState(
  database: Database,
  uid: string,
  state: RunState,
  reason: string,
  more: { promotion?: PromotionOutcome; failure?: Failure } = {},
): Promise<void> {
  const ended = state !== 'RUNNING' && state !== 'AWAITING_APPROVAL';
  await database.transaction().execute(async (transaction) => {
    const run = await transaction
      .updateTable('retraining_runs')
      .set({
        state,
        reason,
        update_time: sql`now()`,
        ...(more.promotion ? { promotion: JSON.stringify(more.promotion) } : {}),
        ...(more.failure ? { failure: JSON.stringify(more.failure) } : {}),
        ...(ended ? { end_time: sql<Date>`now()` } : {}),
      })
      .where('uid', '=', uid)
      .where('end_time', 'is', null)
      .returning(['account_id', 'id'])
      .executeTakeFirst();
    const type = RUN_EVENTS[state];
    if (run && type)
      await appendWebhookEvent(transaction, { accountId: run.account_id, key: `run/${uid}/${state}`, type, data: { id: run.id } });
  });
}

/** Forgets skipped runs of a schedule but the latest: a schedule of every minute would otherwise leave half a million rows a year. */
export async function pruneSkippedRuns(database: Database, scheduleUid: string): Promise<void> {
  await sql`
    delete from retraining_runs where schedule_uid = ${scheduleUid} and state = 'SKIPPED' and uid not in (
      select uid from retraining_runs where schedule_uid = ${scheduleUid} and state = 'SKIPPED'
      order by create_time desc limit ${SKIPPED_RUNS_KEPT})`.execute(database);
}
