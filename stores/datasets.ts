/** Dataset records. A dataset is written once: what makes it READY also makes it immutable. */
import { sql, type Selectable } from 'kysely';
import type { DatasetInput, DatasetOutcome } from '../schemas/activities.js';
import type { Database, DatasetsTable, Upload } from './database.js';
import { requireWithinQuota } from './quotas.js';
import { appendWebhookEvent } from './webhooks.js';

export type DatasetRecord = Selectable<DatasetsTable>;

export function findDataset(database: Database, accountId: string, id: string): Promise<DatasetRecord | undefined> {
  return database.selectFrom('datasets').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}

export function findDatasetByUid(database: Database, uid: string): Promise<DatasetRecord | undefined> {
  return database.selectFrom('datasets').selectAll().where('uid', '=', uid).executeTakeFirst();
}

/** The newest READY dataset of the account with that SHA-256. */
export function findDatasetByContent(database: Database, accountId: string, sha256: string): Promise<DatasetRecord | undefined> {
  return database
    .selectFrom('datasets')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('state', '=', 'READY')
    .where('sha256', '=', sha256)
    .orderBy('create_time', 'desc')
    .limit(1)
    .executeTakeFirst();
}

export interface NewDataset {
  uid: string;
  accountId: string;
  id: string;
  displayName: string;
  request: Record<string, unknown>;
  requestHash: string;
  createdBy: string;
  expireTime?: Date;
}

/** Inserts, or gives the record that already has the ID (the caller compares `request_hash`). */
export async function createDataset(database: Database, dataset: NewDataset): Promise<DatasetRecord> {
  const inserted = await database
    .insertInto('datasets')
    .values({
      uid: dataset.uid,
      account_id: dataset.accountId,
      id: dataset.id,
      display_name: dataset.displayName,
      state: 'UPLOADING',
      request: JSON.stringify(dataset.request),
      request_hash: dataset.requestHash,
      created_by: dataset.createdBy,
      expire_time: dataset.expireTime,
    })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doNothing())
    .returningAll()
    .executeTakeFirst();
  return inserted ?? (await findDataset(database, dataset.accountId, dataset.id))!;
}

export function renameDataset(database: Database, accountId: string, id: string, displayName: string): Promise<DatasetRecord> {
  return database
    .updateTable('datasets')
    .set({ display_name: displayName, update_time: sql`now()` })
    .where('account_id', '=', accountId)
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/**
 * Remembers an upload in progress. False when the dataset is READY by now: it cannot change.
 * @throws TemperError QUOTA_EXCEEDED when the account would have more stored than it may
 */
export function recordUpload(database: Database, dataset: { uid: string; account_id: string }, upload: Upload): Promise<boolean> {
  return database.transaction().execute((transaction) => recordUploadWithin(transaction, dataset, upload));
}

/** The same inside a transaction that is open already. */
export async function recordUploadWithin(
  transaction: Database,
  dataset: { uid: string; account_id: string },
  upload: Upload,
): Promise<boolean> {
  const isRecorded = await writeUpload(transaction, dataset.uid, upload);
  if (isRecorded) await requireWithinQuota(transaction, dataset.account_id, 'stored-bytes', 'bytes');
  return isRecorded;
}

async function writeUpload(database: Database, uid: string, upload: Upload): Promise<boolean> {
  const result = await database
    .updateTable('datasets')
    .set({ upload: JSON.stringify(upload), validation: null, update_time: sql`now()`, status_code: 'OK', status_message: '' })
    .where('uid', '=', uid)
    .where('state', '=', 'UPLOADING')
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/**
 * Runs `work` on the dataset as it is now, alone: of two that begin an upload at once, the second sees what the first began.
 * @returns undefined when the dataset is gone
 */
export function withDatasetLocked<Result>(
  database: Database,
  uid: string,
  work: (dataset: DatasetRecord, transaction: Database) => Promise<Result>,
): Promise<Result | undefined> {
  return database.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(hashtextextended(${uid}, 0))`.execute(transaction);
    const dataset = await transaction.selectFrom('datasets').selectAll().where('uid', '=', uid).executeTakeFirst();
    return dataset && work(dataset, transaction);
  });
}

/** Notes that an upload is to be validated, for as long as nobody does. Ignored when another one has taken its place. */
export async function requestValidation(database: Database, input: DatasetInput): Promise<void> {
  await database
    .updateTable('datasets')
    .set({ validation: JSON.stringify(input), update_time: sql`now()` })
    .where('uid', '=', input.uid)
    .where('state', '=', 'UPLOADING')
    .where(sql<boolean>`upload->>'key' = ${input.uploadKey}`)
    .execute();
}

/** Its workflow has been started. */
export async function markValidationStarted(database: Database, { uid, uploadKey }: DatasetInput): Promise<void> {
  await database
    .updateTable('datasets')
    .set({ validation: null })
    .where('uid', '=', uid)
    .where(sql<boolean>`validation->>'uploadKey' = ${uploadKey}`)
    .execute();
}

/** Validations that were asked for before `olderThanSeconds` and are not started. */
export async function validationsToStart(
  database: Database,
  olderThanSeconds: number,
): Promise<{ accountId: string; input: DatasetInput }[]> {
  const rows = await database
    .selectFrom('datasets')
    .select(['account_id', 'validation'])
    .where('validation', 'is not', null)
    .where('state', '=', 'UPLOADING')
    .where(sql<boolean>`update_time < now() - make_interval(secs => ${olderThanSeconds})`)
    .orderBy('update_time')
    .limit(100)
    .execute();
  return rows.map((row) => ({ accountId: row.account_id, input: row.validation! }));
}

/** How far the validation of an upload is, for people. Ignored once there is a verdict, or another upload. */
export async function recordValidationProgress(database: Database, uid: string, uploadKey: string, message: string): Promise<void> {
  await database
    .updateTable('datasets')
    .set({ status_message: message })
    .where('uid', '=', uid)
    .where('state', '=', 'UPLOADING')
    .where('status_code', '=', 'OK')
    .where(sql<boolean>`upload->>'key' = ${uploadKey}`)
    .execute();
}

/** The verdict of validation. Idempotent; a verdict on an upload that another one has replaced is ignored. */
export async function recordOutcome(database: Database, uid: string, uploadKey: string, outcome: DatasetOutcome): Promise<void> {
  await database.transaction().execute(async (transaction) => {
    const judged = await transaction
      .updateTable('datasets')
      .set({
        state: outcome.valid ? 'READY' : 'UPLOADING',
        status_code: outcome.failure ? 'INVALID_ARGUMENT' : 'OK',
        status_message: outcome.failure?.message ?? '',
        status_details: JSON.stringify(outcome.failure?.details ?? []),
        format: outcome.format,
        average_turns: outcome.averageTurns,
        examples: outcome.examples,
        size_bytes: outcome.object?.sizeBytes ?? 0,
        sha256: outcome.object?.sha256 ?? null,
        object_key: outcome.object?.key ?? null,
        report_key: outcome.reportKey ?? null,
        tokens: outcome.tokens?.total ?? null,
        tokens_base_model: outcome.tokens?.baseModel ?? null,
        update_time: sql`now()`,
      })
      .where('uid', '=', uid)
      .where('state', '=', 'UPLOADING')
      .where(sql<boolean>`upload->>'key' = ${uploadKey}`)
      .returning(['account_id', 'id'])
      .executeTakeFirst();
    if (!judged) return;
    const type = outcome.valid ? 'dataset.ready' : 'dataset.invalid';
    await appendWebhookEvent(transaction, {
      accountId: judged.account_id,
      key: `dataset/${uid}/${uploadKey}`,
      type,
      data: { id: judged.id },
    });
  });
}

/** READY datasets whose ID begins with a prefix, the newest first; not those that runs of retraining have put together. */
export function readyDatasets(database: Database, accountId: string, prefix: string, limit: number): Promise<DatasetRecord[]> {
  return database
    .selectFrom('datasets')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('state', '=', 'READY')
    .where(sql<boolean>`starts_with(id, ${prefix})`)
    .where(sql<boolean>`not request ? 'retrainingRun'`)
    .orderBy('create_time', 'desc')
    .orderBy('id')
    .limit(limit)
    .execute();
}

/** The first step of a deletion: from here on nothing can be read or trained from it. */
export async function withdrawDataset(database: Database, uid: string): Promise<void> {
  await database
    .updateTable('datasets')
    .set({ state: 'UPLOADING', object_key: null, upload: null, validation: null, update_time: sql`now()` })
    .where('uid', '=', uid)
    .execute();
}

export async function deleteDataset(database: Database, uid: string): Promise<void> {
  await database.deleteFrom('datasets').where('uid', '=', uid).execute();
}

/** Names of the jobs that still need the dataset, to train on or to evaluate on. */
export async function jobsUsingDataset(database: Database, uid: string): Promise<string[]> {
  const evaluated = sql<boolean>`(account_id, settings ->> 'evaluationDataset') in
    (select account_id, 'accounts/' || account_id || '/datasets/' || id from datasets where uid = ${uid})`;
  const rows = await database
    .selectFrom('jobs')
    .select(['account_id', 'id'])
    .where((where) => where.or([where('dataset_uid', '=', uid), evaluated]))
    .where('state', 'not in', ['COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED'])
    .execute();
  return rows.map((row) => `accounts/${row.account_id}/fineTuningJobs/${row.id}`);
}
