/** A job's events: append-only, numbered from 1 without gap, each once (by key). Readers are woken by Postgres' NOTIFY. */
import { sql, type Selectable, type Transaction } from 'kysely';
import type { Database, JobEventsTable, Tables } from './database.js';

export type EventRecord = Selectable<JobEventsTable>;

export interface NewEvent {
  /** Names the event for ever and does not depend on which attempt of an activity writes it: a second write is ignored. */
  key: string;
  /** `state`, `stage` (what it does inside its state), `warning`, `checkpoint`, `attempt`, `evaluation`, `report`, `model`, `data`. */
  type: string;
  message: string;
  state?: string;
  data?: Record<string, unknown>;
}

export const EVENTS_CHANNEL = 'job_events';

export function appendEvent(database: Database, uid: string, event: NewEvent): Promise<void> {
  return database.transaction().execute((transaction) => appendEventIn(transaction, uid, event));
}

/** The same inside a caller's transaction. The job's row is locked first, so numbers follow commit order. */
export async function appendEventIn(transaction: Transaction<Tables>, uid: string, event: NewEvent): Promise<void> {
  const job = await transaction.selectFrom('jobs').select('uid').where('uid', '=', uid).forUpdate().executeTakeFirst();
  if (!job) return;
  await transaction
    .insertInto('job_events')
    .columns(['job_uid', 'sequence', 'key', 'type', 'message', 'state', 'data', 'time'])
    .expression((builder) =>
      builder
        .selectFrom('job_events')
        .where('job_uid', '=', uid)
        .select([
          sql<string>`${uid}::uuid`.as('job_uid'),
          sql<number>`coalesce(max(sequence), 0) + 1`.as('sequence'),
          sql<string>`${event.key}::text`.as('key'),
          sql<string>`${event.type}::text`.as('type'),
          sql<string>`${event.message}::text`.as('message'),
          sql<string | null>`${event.state ?? null}::text`.as('state'),
          sql<string>`${JSON.stringify(event.data ?? {})}::jsonb`.as('data'),
          sql<Date>`clock_timestamp()`.as('time'),
        ]),
    )
    .onConflict((conflict) => conflict.columns(['job_uid', 'key']).doNothing())
    .execute();
  await sql`select pg_notify(${EVENTS_CHANNEL}, ${uid})`.execute(transaction);
}

export async function hasEvent(database: Database, uid: string, key: string): Promise<boolean> {
  const row = await database.selectFrom('job_events').select('key').where('job_uid', '=', uid).where('key', '=', key).executeTakeFirst();
  return row !== undefined;
}

export function listEvents(database: Database, uid: string, options: { after?: number; limit?: number } = {}): Promise<EventRecord[]> {
  return database
    .selectFrom('job_events')
    .selectAll()
    .where('job_uid', '=', uid)
    .where('sequence', '>', options.after ?? 0)
    .orderBy('sequence')
    .limit(options.limit ?? 1000)
    .execute();
}

export async function countEvents(database: Database, uid: string): Promise<number> {
  const row = await database
    .selectFrom('job_events')
    .select(sql<number>`count(*)`.as('count'))
    .where('job_uid', '=', uid)
    .executeTakeFirstOrThrow();
  return row.count;
}
