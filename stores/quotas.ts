/** The quotas of accounts, and what is in use of them: counted from the rows themselves, so that a count is never wrong for long. */
import { sql } from 'kysely';
import { TemperError } from '../schemas/errors.js';
import { QUOTA_IDS, QUOTAS, type QuotaId } from '../schemas/quotas.js';
import { TERMINAL_JOB_STATES } from '../schemas/states.js';
import type { Database } from './database.js';

export interface QuotaRecord {
  id: QuotaId;
  value: number;
  maxValue: number;
  updateTime: Date | null;
}

export async function listQuotas(database: Database, accountId: string): Promise<QuotaRecord[]> {
  const rows = await database.selectFrom('quotas').selectAll().where('account_id', '=', accountId).execute();
  return QUOTA_IDS.map((id) => {
    const row = rows.find((candidate) => candidate.id === id);
    const maxValue = row?.max_value ?? QUOTAS[id].default;
    return { id, value: Math.min(row?.value ?? maxValue, maxValue), maxValue, updateTime: row?.update_time ?? null };
  });
}

export async function readQuota(database: Database, accountId: string, id: QuotaId): Promise<QuotaRecord> {
  return (await listQuotas(database, accountId)).find((quota) => quota.id === id)!;
}

/** Null gives a value back to its default. */
export async function updateQuota(
  database: Database,
  accountId: string,
  id: QuotaId,
  fields: { value?: number | null; maxValue?: number | null },
): Promise<QuotaRecord> {
  const changes = {
    ...(fields.value !== undefined ? { value: fields.value } : {}),
    ...(fields.maxValue !== undefined ? { max_value: fields.maxValue } : {}),
    update_time: sql<Date>`now()`,
  };
  await database
    .insertInto('quotas')
    .values({ account_id: accountId, id, value: null, max_value: null, ...changes })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doUpdateSet(changes))
    .execute();
  return readQuota(database, accountId, id);
}

/** Null where nothing is summed up. */
export async function readUsage(database: Database, accountId: string, id: QuotaId): Promise<number | null> {
  if (id === 'running-jobs') return countJobs(database, accountId, true);
  if (id === 'queued-jobs') return countJobs(database, accountId, false);
  if (id === 'stored-bytes') return sumStoredBytes(database, accountId);
  return null;
}

/**
 * The last thing a transaction that adds something does: it takes turns with the account's other such transactions, so that
 * each counts what the ones before it added. What goes beyond the quota is undone with the transaction.
 * @throws TemperError QUOTA_EXCEEDED
 */
export async function requireWithinQuota(transaction: Database, accountId: string, id: QuotaId, unit: string): Promise<void> {
  await lockUsage(transaction, accountId);
  const [{ value }, usage] = [await readQuota(transaction, accountId, id), (await readUsage(transaction, accountId, id)) ?? 0];
  if (usage > value) throw quotaExceeded(accountId, id, `${usage} ${unit} where ${value} are allowed`);
}

export interface Line {
  /** Jobs of the account that run. */
  running: number;
  /** Jobs that wait and come before this one. */
  ahead: number;
  /** The number of the job's last transition. */
  transition: number;
}

/**
 * Counts a waiting job among those that run when the quota `running-jobs` has room for it and for all before it.
 * @returns null when it may run; else how long the line is. Asked again, the answer holds.
 */
export async function claimRun(database: Database, uid: string): Promise<Line | null> {
  // Thousands that wait ask without standing in the way of those that are being created.
  const line = await readLine(database, uid);
  return line ?? database.transaction().execute((transaction) => askForRoom(transaction, uid, true));
}

/** Null for a job that there is room for, or that waits no longer. */
export function readLine(database: Database, uid: string): Promise<Line | null> {
  return askForRoom(database, uid, false);
}

export function describeLine({ running, ahead }: Line): string {
  return `The account runs ${running} jobs, as many as its quota running-jobs allows; ${ahead} wait before this one.`;
}

async function askForRoom(database: Database, uid: string, claim: boolean): Promise<Line | null> {
  const found = database.selectFrom('jobs').selectAll().where('uid', '=', uid);
  const job = await (claim ? found.forUpdate() : found).executeTakeFirst();
  if (!job || job.is_running || job.state !== 'PENDING') return null;
  if (claim) await lockUsage(database, job.account_id);
  const { value } = await readQuota(database, job.account_id, 'running-jobs');
  const running = await countJobs(database, job.account_id, true);
  const { ahead } = await waitingJobs(database, job.account_id)
    .select(sql<number>`count(*)`.as('ahead'))
    .where(sql<boolean>`(priority, create_time, uid) < (${job.priority}, ${job.create_time}, ${job.uid}::uuid)`)
    .executeTakeFirstOrThrow();
  if (running + ahead >= value) return { running, ahead, transition: job.transition };
  if (claim) await database.updateTable('jobs').set({ is_running: true }).where('uid', '=', uid).execute();
  return null;
}

/** Enough for the first of them: each that takes its turn calls another. */
const CALLED_AT_ONCE = 20;

/** The IDs of an account's jobs, at most so many, that wait although there is room for them, in the order of the line. */
export async function nextInLine(database: Database, accountId: string, most = CALLED_AT_ONCE): Promise<string[]> {
  const { value } = await readQuota(database, accountId, 'running-jobs');
  const room = value - (await countJobs(database, accountId, true));
  if (room <= 0) return [];
  const line = waitingJobs(database, accountId).orderBy('priority').orderBy('create_time').orderBy('uid');
  const rows = await line.select('id').limit(Math.min(room, most)).execute();
  return rows.map(({ id }) => id);
}

function waitingJobs(database: Database, accountId: string) {
  return database.selectFrom('jobs').where('account_id', '=', accountId).where('is_running', '=', false).where('state', '=', 'PENDING');
}

export function quotaExceeded(accountId: string, id: QuotaId, amount: string): TemperError {
  const advice = 'Free some, or ask an admin to raise it (temper list quotas shows them).';
  return new TemperError('QUOTA_EXCEEDED', `The account's quota ${id} would be exceeded: ${amount}. ${advice}`, [
    { reason: 'QUOTA_EXCEEDED', field: `accounts/${accountId}/quotas/${id}` },
  ]);
}

/** Held to the transaction's end. */
export async function lockUsage(transaction: Database, accountId: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`quota ${accountId}`}, 0))`.execute(transaction);
}

async function countJobs(database: Database, accountId: string, isRunning: boolean): Promise<number> {
  const { count } = await database
    .selectFrom('jobs')
    .select(sql<number>`count(*)`.as('count'))
    .where('account_id', '=', accountId)
    .where('is_running', '=', isRunning)
    .where('state', 'not in', [...TERMINAL_JOB_STATES])
    .executeTakeFirstOrThrow();
  return count;
}

/** What is stored, and what uploads under way have declared. */
async function sumStoredBytes(database: Database, accountId: string): Promise<number> {
  const { rows } = await sql<{ bytes: number }>`
    select (
      select coalesce(sum(case when object_key is null then coalesce((upload ->> 'sizeBytes')::int8, 0) else size_bytes end), 0)
      from datasets where account_id = ${accountId}
    )::int8 + (
      select coalesce(sum((file ->> 'sizeBytes')::int8), 0)
      from models, jsonb_array_elements(case when state = 'READY' then files else coalesce(upload -> 'files', '[]') end) as file
      where account_id = ${accountId}
    )::int8 + (
      select coalesce(sum((file ->> 'sizeBytes')::int8), 0)
      from exports, jsonb_array_elements(files) as file
      where account_id = ${accountId} and format <> 'ADAPTER' -- whose files are the model's
    )::int8 as bytes`.execute(database);
  return rows[0]!.bytes;
}
