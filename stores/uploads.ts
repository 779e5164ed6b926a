/** Uploads that arrive in parts: each part an object of its own until all are joined. */
import { sql, type Selectable } from 'kysely';
import type { Database, UploadPartsTable, UploadsTable } from './database.js';
import { lockUsage, quotaExceeded, readQuota, readUsage } from './quotas.js';

export type UploadRecord = Selectable<UploadsTable>;
export type UploadPartRecord = Selectable<UploadPartsTable>;

export interface NewUpload {
  id: string;
  accountId: string;
  filename: string;
  mimeType: string;
  sizeBytes: number;
  fileSeconds?: number;
  requestHash: string;
  createdBy: string;
  expireTime: Date;
}

export function createUpload(database: Database, upload: NewUpload): Promise<UploadRecord> {
  return database
    .insertInto('uploads')
    .values({
      id: upload.id,
      account_id: upload.accountId,
      filename: upload.filename,
      mime_type: upload.mimeType,
      size_bytes: upload.sizeBytes,
      file_seconds: upload.fileSeconds,
      request_hash: upload.requestHash,
      created_by: upload.createdBy,
      expire_time: upload.expireTime,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

export function findUpload(database: Database, accountId: string, id: string): Promise<UploadRecord | undefined> {
  return database.selectFrom('uploads').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}

/**
 * 'closed' when the upload is no longer open; 'full' when its parts would be more than `maxBytes` together.
 * @throws TemperError QUOTA_EXCEEDED when the account would have more stored than it may
 */
export function addPart(
  database: Database,
  part: { id: string; uploadId: string; key: string; sizeBytes: number; sha256: string },
  maxBytes: number,
): Promise<UploadPartRecord | 'closed' | 'full'> {
  return database.transaction().execute(async (transaction) => {
    const open = await transaction
      .selectFrom('uploads')
      .select('account_id')
      .where('id', '=', part.uploadId)
      .where('state', '=', 'pending')
      .forUpdate()
      .executeTakeFirst();
    if (!open) return 'closed';
    const stored = await transaction
      .selectFrom('upload_parts')
      .select(sql<number>`coalesce(sum(size_bytes), 0)::int8`.as('sizeBytes'))
      .where('upload_id', '=', part.uploadId)
      .executeTakeFirstOrThrow();
    if (stored.sizeBytes + part.sizeBytes > maxBytes) return 'full';
    const added = await transaction
      .insertInto('upload_parts')
      .values({ id: part.id, upload_id: part.uploadId, key: part.key, size_bytes: part.sizeBytes, sha256: part.sha256 })
      .returningAll()
      .executeTakeFirstOrThrow();
    await requireRoom(transaction, open.account_id);
    return added;
  });
}

/** Parts count beside what is stored until they are joined: then the file does. */
async function requireRoom(transaction: Database, accountId: string): Promise<void> {
  await lockUsage(transaction, accountId);
  const { value } = await readQuota(transaction, accountId, 'stored-bytes');
  const stored = (await readUsage(transaction, accountId, 'stored-bytes')) ?? 0;
  const parts = await transaction
    .selectFrom('upload_parts')
    .innerJoin('uploads', 'uploads.id', 'upload_parts.upload_id')
    .select(sql<number>`coalesce(sum(upload_parts.size_bytes), 0)::int8`.as('sizeBytes'))
    .where('uploads.account_id', '=', accountId)
    .where('uploads.state', '=', 'pending')
    .executeTakeFirstOrThrow();
  const usage = stored + parts.sizeBytes;
  if (usage > value) throw quotaExceeded(accountId, 'stored-bytes', `${usage} bytes where ${value} are allowed`);
}

export function listParts(database: Database, uploadId: string): Promise<UploadPartRecord[]> {
  return database.selectFrom('upload_parts').selectAll().where('upload_id', '=', uploadId).execute();
}

/** Ends an upload; false when it was no longer open. */
export async function closeUpload(
  database: Database,
  id: string,
  end: { state: 'completed'; datasetUid: string | null } | { state: 'cancelled' },
): Promise<boolean> {
  const file = end.state === 'completed' ? { dataset_uid: end.datasetUid } : {};
  const result = await database
    .updateTable('uploads')
    .set({ state: end.state, ...file })
    .where('id', '=', id)
    .where('state', '=', 'pending')
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}

/** Uploads that were begun and not completed in time. */
export function expiredUploads(database: Database): Promise<UploadRecord[]> {
  return database
    .selectFrom('uploads')
    .selectAll()
    .where('state', '=', 'pending')
    .where(sql<boolean>`expire_time < now()`)
    .limit(100)
    .execute();
}

export async function deleteUpload(database: Database, id: string): Promise<void> {
  await database.deleteFrom('uploads').where('id', '=', id).execute();
}
