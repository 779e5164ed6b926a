/** A job's story and an account's jobs, newest first, by cursor. */
import { sql, type RawBuilder } from 'kysely';
import type { Database } from './database.js';
import type { JobRecord } from './jobs.js';

/** `event`: one of the job's events. `step`: a training step. */
export interface HistoryEntry {
  kind: 'event' | 'step';
  /** Of the event: its sequence. Of a step: its number. */
  number: number;
  time: Date;
  type: string;
  message: string;
  state: string | null;
  data: Record<string, unknown>;
  loss: number | null;
  /** On the held-out rows, at the steps where it was measured. */
  evaluationLoss: number | null;
}

export interface HistoryPosition {
  kind: 'event' | 'step';
  number: number;
}

/** What a job went through, events and steps together. Null when there is nothing at `after`. */
export async function listHistory(
  database: Database,
  uid: string,
  page: { after?: HistoryPosition; limit: number },
): Promise<HistoryEntry[] | null> {
  const entries = sql`(
    select 'event' as kind, sequence as number, time, type, message, state, data, null::float8 as loss, null::float8 as "evaluationLoss" from job_events where job_uid = ${uid}
    union all
    select 'step', step, time, 'metrics', '', null, '{}'::jsonb, loss, evaluation_loss from job_metrics where job_uid = ${uid}) as entries`;
  let position: RawBuilder<boolean> = sql<boolean>`true`;
  if (page.after) {
    const { kind, number } = page.after;
    const found = await sql`select 1 from ${entries} where kind = ${kind} and number = ${number}`.execute(database);
    if (found.rows.length === 0) return null;
    position = sql<boolean>`(time, kind, number) < (select time, kind, number from ${entries} where kind = ${kind} and number = ${number})`;
  }
  const found = await sql<HistoryEntry>`
    select * from ${entries} where ${position} order by time desc, kind desc, number desc limit ${page.limit}`.execute(database);
  return found.rows;
}

export interface NewestJobs {
  after?: string;
  limit: number;
  /** Pairs that a job's metadata must have; null: jobs without metadata. */
  metadata?: Record<string, string> | null;
}

/** Null when the account has no job `after`. */
export async function listNewestJobs(database: Database, accountId: string, page: NewestJobs): Promise<JobRecord[] | null> {
  let query = database.selectFrom('jobs').selectAll().where('account_id', '=', accountId).where('state', '<>', 'DELETING');
  if (page.metadata === null) query = query.where(sql<boolean>`coalesce(openai -> 'metadata', 'null') = 'null'`);
  else if (page.metadata)
    query = query.where(sql<boolean>`openai is not null and openai -> 'metadata' @> ${JSON.stringify(page.metadata)}::jsonb`);
  if (page.after !== undefined) {
    const last = await database
      .selectFrom('jobs')
      .select('id')
      .where('account_id', '=', accountId)
      .where('id', '=', page.after)
      .executeTakeFirst();
    if (!last) return null;
    query = query.where(
      sql<boolean>`(create_time, id) < (select create_time, id from jobs where account_id = ${accountId} and id = ${page.after})`,
    );
  }
  return query.orderBy('create_time', 'desc').orderBy('id', 'desc').limit(page.limit).execute();
}

/** The job that the same request made a short while ago: for a client that says it is trying again. */
export function findRecentJob(database: Database, accountId: string, requestHash: string, seconds: number): Promise<JobRecord | undefined> {
  return database
    .selectFrom('jobs')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('request_hash', '=', requestHash)
    .where(sql<boolean>`create_time > now() - make_interval(secs => ${seconds})`)
    .orderBy('create_time', 'desc')
    .limit(1)
    .executeTakeFirst();
}
