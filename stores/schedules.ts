/** Schedules: what is to run when. Whether it is paused, and when it ran, is Temporal's to know. */
import { sql, type Selectable } from 'kysely';
import type { Retraining, Timing } from '../schemas/schedule.js';
import type { Database, ScheduleTiming, SchedulesTable } from './database.js';

export type ScheduleRecord = Selectable<SchedulesTable>;

export interface NewSchedule {
  uid: string;
  accountId: string;
  id: string;
  displayName: string;
  timing: ScheduleTiming;
  retraining: Retraining;
  requestHash: string;
  createdBy: string;
}

export function findSchedule(database: Database, accountId: string, id: string): Promise<ScheduleRecord | undefined> {
  return database
    .selectFrom('schedules')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('id', '=', id)
    .where('deleting', '=', false)
    .executeTakeFirst();
}

export function findScheduleByUid(database: Database, uid: string): Promise<ScheduleRecord | undefined> {
  return database.selectFrom('schedules').selectAll().where('uid', '=', uid).executeTakeFirst();
}

/** Inserts; null when the ID is taken, also by one that is still being deleted. */
export async function insertSchedule(database: Database, schedule: NewSchedule): Promise<ScheduleRecord | null> {
  const inserted = await database
    .insertInto('schedules')
    .values({
      uid: schedule.uid,
      account_id: schedule.accountId,
      id: schedule.id,
      display_name: schedule.displayName,
      timing: JSON.stringify(schedule.timing),
      retraining: JSON.stringify(schedule.retraining),
      request_hash: schedule.requestHash,
      created_by: schedule.createdBy,
    })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doNothing())
    .returningAll()
    .executeTakeFirst();
  return inserted ?? null;
}

/** A new timing is told to Temporal afterwards; the next run reads what it is to do from here. */
export function updateSchedule(
  database: Database,
  uid: string,
  fields: { displayName?: string; timing?: Timing; retraining?: Retraining },
): Promise<ScheduleRecord> {
  return database
    .updateTable('schedules')
    .set({
      update_time: sql`now()`,
      ...(fields.displayName !== undefined ? { display_name: fields.displayName } : {}),
      ...(fields.retraining !== undefined ? { retraining: JSON.stringify(fields.retraining) } : {}),
      ...(fields.timing !== undefined ? { timing: JSON.stringify(fields.timing), version: sql<number>`version + 1` } : {}),
    })
    .where('uid', '=', uid)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function markScheduleApplied(database: Database, uid: string, version: number): Promise<void> {
  await database
    .updateTable('schedules')
    .set({ applied_version: version })
    .where('uid', '=', uid)
    .where('applied_version', '<', version)
    .execute();
}

export async function markScheduleDeleting(database: Database, uid: string): Promise<void> {
  await database
    .updateTable('schedules')
    .set({ deleting: true, update_time: sql`now()` })
    .where('uid', '=', uid)
    .execute();
}

export async function deleteSchedule(database: Database, uid: string): Promise<void> {
  await database.deleteFrom('schedules').where('uid', '=', uid).execute();
}

/** What Temporal has not been told yet, because a process died or Temporal was away. */
export function schedulesToApply(database: Database, olderThanSeconds: number): Promise<ScheduleRecord[]> {
  return database
    .selectFrom('schedules')
    .selectAll()
    .where((or) => or.or([or('deleting', '=', true), sql<boolean>`applied_version < version`]))
    .where(sql<boolean>`update_time < now() - make_interval(secs => ${olderThanSeconds})`)
    .limit(100)
    .execute();
}
