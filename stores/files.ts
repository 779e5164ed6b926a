/** An account's files as OpenAI's protocol lists them: its datasets, and the results of its jobs. */
import { sql, type RawBuilder } from 'kysely';
import type { Database } from './database.js';

export interface FileRecord {
  id: string;
  purpose: 'fine-tune' | 'fine-tune-results';
  filename: string;
  size_bytes: number;
  /** READY, or UPLOADING until validation has judged it. */
  state: string;
  status_code: string;
  status_message: string;
  /** Of the content; null until validation has published it. */
  object_key: string | null;
  /** Of the upload that is being validated. */
  upload_key: string | null;
  expire_time: Date | null;
  create_time: Date;
}

/** Begins the ID of a job's results; no dataset's ID has an underscore. */
export const RESULTS_PREFIX = 'file-results_';

const datasetFiles = (accountId: string) => sql`
  select id, 'fine-tune' as purpose, coalesce(upload ->> 'filename', id || '.jsonl') as filename,
    coalesce(nullif(size_bytes, 0), (upload ->> 'sizeBytes')::int8, 0) as size_bytes, state, status_code, status_message,
    object_key, upload ->> 'key' as upload_key, expire_time, create_time
  from datasets where account_id = ${accountId} and (upload is not null or state = 'READY') and (expire_time is null or expire_time > now())`;

const resultFiles = (accountId: string) => sql`
  select ${sql.lit(RESULTS_PREFIX)} || id as id, 'fine-tune-results' as purpose, id || '-' || (results ->> 'name') as filename,
    (results ->> 'sizeBytes')::int8 as size_bytes, 'READY' as state, 'OK' as status_code, '' as status_message,
    results ->> 'key' as object_key, null as upload_key, null::timestamptz as expire_time, coalesce(completed_time, create_time) as create_time
  from jobs where account_id = ${accountId} and results is not null`;

export async function findFile(database: Database, accountId: string, id: string): Promise<FileRecord | undefined> {
  const isResults = id.startsWith(RESULTS_PREFIX);
  const own = isResults ? id.slice(RESULTS_PREFIX.length) : id;
  const source = isResults ? resultFiles(accountId) : datasetFiles(accountId);
  const found = await sql<FileRecord>`${source} and id = ${own}`.execute(database);
  return found.rows[0];
}

export interface FilePage {
  purpose?: string;
  descending: boolean;
  /** ID of the file before the page. */
  after?: string;
  limit: number;
}

/** By time of creation. Null when there is no file `after`. */
export async function listFiles(database: Database, accountId: string, page: FilePage): Promise<FileRecord[] | null> {
  const files = sql`(${datasetFiles(accountId)} union all ${resultFiles(accountId)}) as files`;
  const conditions: RawBuilder<boolean>[] = [sql<boolean>`true`];
  if (page.purpose !== undefined) conditions.push(sql<boolean>`purpose = ${page.purpose}`);
  if (page.after !== undefined) {
    const last = await findFile(database, accountId, page.after);
    if (!last) return null;
    const position = sql`(select create_time, id from ${files} where id = ${page.after})`;
    conditions.push(page.descending ? sql<boolean>`(create_time, id) < ${position}` : sql<boolean>`(create_time, id) > ${position}`);
  }
  const direction = page.descending ? sql`desc` : sql`asc`;
  const found = await sql<FileRecord>`
    select * from ${files} where ${sql.join(conditions, sql` and `)}
    order by create_time ${direction}, id ${direction} limit ${page.limit}`.execute(database);
  return found.rows;
}

/** ID of the dataset that the same upload made a short while ago: for a client that says it is trying again. */
export async function findRecentDataset(
  database: Database,
  accountId: string,
  requestHash: string,
  seconds: number,
): Promise<string | undefined> {
  const row = await database
    .selectFrom('datasets')
    .select('id')
    .where('account_id', '=', accountId)
    .where('request_hash', '=', requestHash)
    .where(sql<boolean>`create_time > now() - make_interval(secs => ${seconds})`)
    .orderBy('create_time', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row?.id;
}

/** Datasets whose time is over. */
export async function expiredDatasets(database: Database): Promise<{ account_id: string; id: string }[]> {
  return database
    .selectFrom('datasets')
    .select(['account_id', 'id'])
    .where(sql<boolean>`expire_time <= now()`)
    .orderBy('expire_time')
    .limit(100)
    .execute();
}

export async function removeResults(database: Database, accountId: string, jobId: string): Promise<void> {
  await database.updateTable('jobs').set({ results: null }).where('account_id', '=', accountId).where('id', '=', jobId).execute();
}
