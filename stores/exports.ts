/** Exports of models. The workflow decides their states; every write is idempotent, and what has ended is not written again. */
import { sql, type Selectable } from 'kysely';
import type { ExportCheck, ExportFailure, ExportFormat, ExportStage } from '../schemas/export.js';
import { resourceName } from '../schemas/names.js';
import type { Database, ExportsTable, StoredFile } from './database.js';
import { requireWithinQuota } from './quotas.js';

export type ExportRecord = Selectable<ExportsTable>;

const LIVE = ['PENDING', 'RUNNING'] as const;

export interface NewExport {
  uid: string;
  accountId: string;
  modelUid: string;
  modelId: string;
  id: string;
  format: ExportFormat;
  quantization: string | null;
  requestHash: string;
  createdBy: string;
}

export function exportName({ account_id, model_id, id }: Pick<ExportRecord, 'account_id' | 'model_id' | 'id'>): string {
  return `${resourceName(account_id, 'models', model_id)}/exports/${id}`;
}

/** Where everything of an export lies; goes with the model's own prefix. */
export function exportPrefix({ model_uid, uid }: Pick<ExportRecord, 'model_uid' | 'uid'>): string {
  return `models/${model_uid}/exports/${uid}`;
}

/** Inserts, or gives the one that has the ID by now: the caller compares `request_hash`. @throws TemperError QUOTA_EXCEEDED */
export async function createExport(database: Database, wanted: NewExport): Promise<ExportRecord> {
  const inserted = await database.transaction().execute(async (transaction) => {
    const row = await transaction
      .insertInto('exports')
      .values({
        uid: wanted.uid,
        account_id: wanted.accountId,
        model_uid: wanted.modelUid,
        model_id: wanted.modelId,
        id: wanted.id,
        format: wanted.format,
        quantization: wanted.quantization,
        request_hash: wanted.requestHash,
        created_by: wanted.createdBy,
      })
      .onConflict((conflict) => conflict.columns(['model_uid', 'id']).doNothing())
      .returningAll()
      .executeTakeFirst();
    if (row) await requireWithinQuota(transaction, wanted.accountId, 'stored-bytes', 'bytes');
    return row;
  });
  return inserted ?? (await findExport(database, wanted.modelUid, wanted.id))!;
}

export function findExport(database: Database, modelUid: string, id: string): Promise<ExportRecord | undefined> {
  return database.selectFrom('exports').selectAll().where('model_uid', '=', modelUid).where('id', '=', id).executeTakeFirst();
}

export function findExportByUid(database: Database, uid: string): Promise<ExportRecord | undefined> {
  return database.selectFrom('exports').selectAll().where('uid', '=', uid).executeTakeFirst();
}

export function listExports(database: Database, modelUid: string): Promise<ExportRecord[]> {
  return database.selectFrom('exports').selectAll().where('model_uid', '=', modelUid).orderBy('create_time').execute();
}

/** The files of the model's merged export, where there is one. */
export async function findMergedFiles(database: Database, modelUid: string): Promise<StoredFile[] | null> {
  const row = await database
    .selectFrom('exports')
    .select('files')
    .where('model_uid', '=', modelUid)
    .where('format', '=', 'MERGED')
    .where('state', '=', 'COMPLETED')
    .executeTakeFirst();
  return row?.files ?? null;
}

/** Exports whose workflow may never have been started, because the process died between the two. */
export function exportsWithoutWorkflow(database: Database, olderThanSeconds: number): Promise<ExportRecord[]> {
  return database
    .selectFrom('exports')
    .selectAll()
    .where('workflow_started', '=', false)
    .where('state', 'in', LIVE)
    .where(sql<boolean>`create_time < now() - make_interval(secs => ${olderThanSeconds})`)
    .limit(100)
    .execute();
}

export async function markExportStarted(database: Database, uid: string): Promise<void> {
  await database.updateTable('exports').set({ workflow_started: true }).where('uid', '=', uid).execute();
}

/** How far it is, for people; the first call makes it RUNNING. False when it has ended or is gone. */
export async function recordExportProgress(database: Database, uid: string, stage: ExportStage, percent: number): Promise<boolean> {
  const result = await database
    .updateTable('exports')
    .set({ state: 'RUNNING', stage, percent, update_time: sql`now()` })
    .where('uid', '=', uid)
    .where('state', 'in', LIVE)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** The merged model that a GGUF is made from. */
export async function recordMerged(database: Database, uid: string, merged: StoredFile[]): Promise<boolean> {
  const result = await database
    .updateTable('exports')
    .set({ merged: JSON.stringify(merged), update_time: sql`now()` })
    .where('uid', '=', uid)
    .where('state', 'in', LIVE)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** COMPLETED with everything at once. False when it has ended otherwise, or is gone. */
export async function publishExport(database: Database, uid: string, files: StoredFile[], checked: ExportCheck | null): Promise<boolean> {
  const result = await database
    .updateTable('exports')
    .set({
      state: 'COMPLETED',
      stage: 'done',
      percent: 100,
      files: JSON.stringify(files),
      checked: checked ? JSON.stringify(checked) : null,
      merged: null,
      update_time: sql`now()`,
      end_time: sql`now()`,
    })
    .where('uid', '=', uid)
    .where('state', 'in', LIVE)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** @param failure  why, where it was not somebody's wish */
export async function endExport(database: Database, uid: string, state: 'FAILED' | 'CANCELLED', failure?: ExportFailure): Promise<void> {
  await database
    .updateTable('exports')
    .set({
      state,
      stage: 'done',
      merged: null,
      failure: failure ? JSON.stringify(failure) : null,
      update_time: sql`now()`,
      end_time: sql`now()`,
    })
    .where('uid', '=', uid)
    .where('state', 'in', LIVE)
    .execute();
}

export async function deleteExport(database: Database, uid: string): Promise<void> {
  await database.deleteFrom('exports').where('uid', '=', uid).execute();
}
