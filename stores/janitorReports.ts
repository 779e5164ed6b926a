/** Reports of the janitor: one a run, the latest of them kept. */
import type { Selectable } from 'kysely';
import { JANITOR_REPORTS_KEPT } from '../schemas/janitor.js';
import type { Database, JanitorReportsTable } from './database.js';

export type JanitorReportRecord = Selectable<JanitorReportsTable>;

/** Idempotent: a run that is repeated keeps its first report. */
export async function recordJanitorReport(
  database: Database,
  { orphans, ...report }: Omit<JanitorReportRecord, 'create_time'>,
): Promise<void> {
  await database
    .insertInto('janitor_reports')
    .values({ ...report, orphans: JSON.stringify(orphans) })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doNothing())
    .execute();
  const kept = database
    .selectFrom('janitor_reports')
    .select('id')
    .where('account_id', '=', report.account_id)
    .orderBy('create_time', 'desc')
    .limit(JANITOR_REPORTS_KEPT);
  await database.deleteFrom('janitor_reports').where('account_id', '=', report.account_id).where('id', 'not in', kept).execute();
}

export function findJanitorReport(database: Database, accountId: string, id: string): Promise<JanitorReportRecord | undefined> {
  return database.selectFrom('janitor_reports').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}
