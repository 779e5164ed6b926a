/** Many jobs in the records, made from one. */
import { sql } from 'kysely';
import type { Database } from '../stores/database.js';

/**
 * Rows like that of the account's job `first`, with the IDs `job-0` to `job-(count - 1)`: they have ended, so that no worker looks at them.
 * @param changed  by column, SQL in place of the first job's value; `n` is the number of the row
 */
export async function copyFirstJob(
  database: Database,
  accountId: string,
  count: number,
  changed: Record<string, string> = {},
): Promise<void> {
  const first = await database
    .selectFrom('jobs')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('id', '=', 'first')
    .executeTakeFirstOrThrow();
  const values: Record<string, string> = {
    uid: 'gen_random_uuid()',
    id: "'job-' || n",
    state: "'COMPLETED'",
    workflow_started: 'true',
    model_id: "'model-' || n",
    ...changed,
  };
  const columns = Object.keys(first);
  const selected = columns.map((column) => values[column] ?? column).join(', ');
  await sql`
    insert into jobs (${sql.raw(columns.join(', '))})
    select ${sql.raw(selected)} from jobs, generate_series(0, ${sql.lit(count - 1)}) n where id = 'first' and account_id = ${accountId}`.execute(
    database,
  );
}
