/** The audit trail: who did what, one row a request that may have changed something. Rows are added, and never changed or removed. */
import type { Insertable, Selectable } from 'kysely';
import type { AuditEventsTable, Database } from './database.js';

export type AuditEventRecord = Selectable<AuditEventsTable>;

export async function appendAuditEvent(database: Database, event: Insertable<AuditEventsTable>): Promise<void> {
  await database
    .insertInto('audit_events')
    .values(event)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export function findAuditEvent(database: Database, accountId: string, id: string): Promise<AuditEventRecord | undefined> {
  return database.selectFrom('audit_events').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}
