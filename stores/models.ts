/** Model records: tuned models registered by jobs, and models that users upload. The catalogue's base models are data, not rows. */
import { sql, type Selectable } from 'kysely';
import type { ErrorDetail } from '../schemas/errors.js';
import type { Lineage } from '../schemas/lineage.js';
import type { BaseModelDetails, Database, ModelFacts, ModelImport, ModelsTable, ModelUpload, PeftDetails, StoredFile } from './database.js';
import { requireWithinQuota } from './quotas.js';

export type ModelRecord = Selectable<ModelsTable>;

export function findModel(database: Database, accountId: string, id: string): Promise<ModelRecord | undefined> {
  return database.selectFrom('models').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}

export function findModelByOpenaiName(database: Database, accountId: string, name: string): Promise<ModelRecord | undefined> {
  return database.selectFrom('models').selectAll().where('account_id', '=', accountId).where('openai_name', '=', name).executeTakeFirst();
}

/** The account's own that are READY, newest first. */
export function listReadyModels(database: Database, accountId: string): Promise<ModelRecord[]> {
  return database
    .selectFrom('models')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('state', '=', 'READY')
    .orderBy('create_time', 'desc')
    .execute();
}

export interface TunedModel {
  accountId: string;
  id: string;
  displayName: string;
  baseModel: string;
  peft: PeftDetails;
  conversation: Record<string, unknown> | null;
  files: StoredFile[];
  contextLength: number;
  jobUid: string;
  metrics: Record<string, unknown> | null;
  lineage: Lineage;
}

/** Reserves a job's model ID at the job's creation, so that two jobs cannot end in one name. False when it is taken by another. */
export async function reserveModel(
  database: Database,
  model: { uid: string; accountId: string; id: string; jobName: string; jobUid: string; openaiName?: string; createdBy: string },
): Promise<boolean> {
  await database
    .insertInto('models')
    .values({
      uid: model.uid,
      account_id: model.accountId,
      id: model.id,
      kind: 'HF_PEFT_ADDON',
      state: 'UPLOADING',
      job_name: model.jobName,
      job_uid: model.jobUid,
      openai_name: model.openaiName,
      created_by: model.createdBy,
      base_model: null,
      context_length: null,
      request_hash: null,
    })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doNothing())
    .execute();
  const row = await findModel(database, model.accountId, model.id);
  return row?.job_uid === model.jobUid;
}

/** Publishes: all fields and files at once, so a model is READY with everything or not at all. Idempotent. */
export async function publishModel(database: Database, model: TunedModel): Promise<void> {
  await database
    .updateTable('models')
    .set({
      display_name: model.displayName,
      state: 'READY',
      base_model: model.baseModel,
      peft: JSON.stringify(model.peft),
      conversation: model.conversation ? JSON.stringify(model.conversation) : null,
      files: JSON.stringify(model.files),
      context_length: model.contextLength,
      metrics: model.metrics ? JSON.stringify(model.metrics) : null,
      lineage: JSON.stringify(model.lineage),
      update_time: sql`now()`,
    })
    .where('account_id', '=', model.accountId)
    .where('id', '=', model.id)
    .where('job_uid', '=', model.jobUid)
    .execute();
}

/** Takes away the model of a job that came to nothing: a reservation, or what registration had published before the job was stopped. */
export async function releaseModel(database: Database, jobUid: string): Promise<void> {
  await database.deleteFrom('models').where('job_uid', '=', jobUid).execute();
}

export function updateModel(
  database: Database,
  accountId: string,
  id: string,
  changes: { displayName?: string; description?: string; facts?: ModelFacts },
): Promise<ModelRecord> {
  return database
    .updateTable('models')
    .set({
      update_time: sql`now()`,
      ...(changes.displayName !== undefined ? { display_name: changes.displayName } : {}),
      ...(changes.description !== undefined ? { description: changes.description } : {}),
      ...(changes.facts !== undefined ? { facts: JSON.stringify(changes.facts) } : {}),
    })
    .where('account_id', '=', accountId)
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** The first step of a deletion: from here on nothing can be read or trained from it. */
export async function withdrawModel(database: Database, uid: string): Promise<void> {
  await database
    .updateTable('models')
    .set({ state: 'UPLOADING', upload: null, files: '[]', is_work_due: false, update_time: sql`now()` })
    .where('uid', '=', uid)
    .execute();
}

export async function deleteModel(database: Database, uid: string): Promise<void> {
  await database.deleteFrom('models').where('uid', '=', uid).execute();
}

export interface NewModel {
  uid: string;
  accountId: string;
  id: string;
  displayName: string;
  description: string;
  kind: string;
  /** Of an add-on. */
  baseModel: string | null;
  conversation: Record<string, unknown> | null;
  facts: ModelFacts;
  import: ModelImport | null;
  requestHash: string;
  createdBy: string;
}

/** Inserts a model that someone brings, or gives the record that already has the ID (the caller compares `request_hash`). */
export async function createModel(database: Database, model: NewModel): Promise<ModelRecord> {
  const inserted = await database
    .insertInto('models')
    .values({
      uid: model.uid,
      account_id: model.accountId,
      id: model.id,
      display_name: model.displayName,
      description: model.description,
      kind: model.kind,
      state: 'UPLOADING',
      base_model: model.baseModel,
      conversation: model.conversation ? JSON.stringify(model.conversation) : null,
      facts: JSON.stringify(model.facts),
      import: model.import ? JSON.stringify(model.import) : null,
      is_work_due: model.import !== null,
      request_hash: model.requestHash,
      created_by: model.createdBy,
      context_length: null,
      job_name: null,
      job_uid: null,
    })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doNothing())
    .returningAll()
    .executeTakeFirst();
  return inserted ?? (await findModel(database, model.accountId, model.id))!;
}

export function findModelByUid(database: Database, uid: string): Promise<ModelRecord | undefined> {
  return database.selectFrom('models').selectAll().where('uid', '=', uid).executeTakeFirst();
}

/** Notes that a model's files are to be brought or checked, for as long as nobody does. Its `update_time` stays: no verdict is meant. */
export async function setModelWorkDue(database: Database, uid: string, isDue: boolean): Promise<void> {
  await database.updateTable('models').set({ is_work_due: isDue }).where('uid', '=', uid).where('state', '=', 'UPLOADING').execute();
}

/** Models whose import or validation was asked for and is not started. */
export function modelsToStart(database: Database, olderThanSeconds: number): Promise<ModelRecord[]> {
  return database
    .selectFrom('models')
    .selectAll()
    .where('is_work_due', '=', true)
    .where('state', '=', 'UPLOADING')
    .where(sql<boolean>`update_time < now() - make_interval(secs => ${olderThanSeconds})`)
    .orderBy('update_time')
    .limit(100)
    .execute();
}

/**
 * Adds files to the upload of a model, in place of those with the same names; all in one step, so that two callers lose none.
 * @returns the upload as it is now; null when the model is READY by now
 * @throws TemperError QUOTA_EXCEEDED when the account would have more stored than it may
 */
export async function addUploadFiles(
  database: Database,
  uid: string,
  uploadId: string,
  files: ModelUpload['files'],
): Promise<ModelUpload | null> {
  return database.transaction().execute(async (transaction) => {
    const row = await transaction
      .selectFrom('models')
      .select(['account_id', 'upload', 'state'])
      .where('uid', '=', uid)
      .forUpdate()
      .executeTakeFirst();
    if (row?.state !== 'UPLOADING') return null;
    const names = new Set(files.map(({ name }) => name));
    const upload = { id: uploadId, files: [...(row.upload?.files ?? []).filter(({ name }) => !names.has(name)), ...files] };
    await transaction
      .updateTable('models')
      .set({ upload: JSON.stringify(upload), status_code: 'OK', status_message: '', status_details: '[]', update_time: sql`now()` })
      .where('uid', '=', uid)
      .execute();
    await requireWithinQuota(transaction, row.account_id, 'stored-bytes', 'bytes');
    return upload;
  });
}

/** An import has brought its files: from here on it is an upload like any other. */
export async function recordImport(database: Database, uid: string, imported: ModelImport, upload: ModelUpload): Promise<void> {
  await database
    .updateTable('models')
    .set({ import: JSON.stringify(imported), upload: JSON.stringify(upload), update_time: sql`now()` })
    .where('uid', '=', uid)
    .where('state', '=', 'UPLOADING')
    .execute();
}

/** What is going on with a model that is not READY, for people. @param since  only if nothing was decided after this time */
export async function recordModelProgress(database: Database, uid: string, message: string, since?: Date): Promise<void> {
  await database
    .updateTable('models')
    .set({ status_code: 'OK', status_message: message, status_details: '[]' })
    .where('uid', '=', uid)
    .where('state', '=', 'UPLOADING')
    .$if(since !== undefined, (update) => update.where(sql<boolean>`date_trunc('milliseconds', update_time) <= ${since}`))
    .execute();
}

export interface ModelVerdict {
  code: string;
  message: string;
  details: ErrorDetail[];
}

/** A model that cannot be used, and why. Idempotent; a verdict on files that others have joined since is ignored. */
export async function refuseModel(database: Database, uid: string, uploadId: string | undefined, verdict: ModelVerdict): Promise<void> {
  await database
    .updateTable('models')
    .set({
      status_code: verdict.code,
      status_message: verdict.message,
      status_details: JSON.stringify(verdict.details),
      update_time: sql`now()`,
    })
    .where('uid', '=', uid)
    .where('state', '=', 'UPLOADING')
    .where(sql<boolean>`(upload is null or ${uploadId ?? null}::text is null or upload->>'id' = ${uploadId ?? null})`)
    .execute();
}

export interface CheckedModel {
  files: StoredFile[];
  warnings: string[];
  peft: PeftDetails | null;
  baseDetails: BaseModelDetails | null;
  conversation: Record<string, unknown> | null;
  contextLength: number;
}

/** READY with everything at once. False when its files are others by now, or it is READY or gone. */
export async function publishUploadedModel(database: Database, uid: string, uploadId: string, model: CheckedModel): Promise<boolean> {
  const result = await database
    .updateTable('models')
    .set({
      state: 'READY',
      status_code: 'OK',
      status_message: '',
      status_details: '[]',
      files: JSON.stringify(model.files),
      warnings: JSON.stringify(model.warnings),
      peft: model.peft ? JSON.stringify(model.peft) : null,
      base_details: model.baseDetails ? JSON.stringify(model.baseDetails) : null,
      conversation: model.conversation ? JSON.stringify(model.conversation) : null,
      context_length: model.contextLength,
      upload: null,
      update_time: sql`now()`,
    })
    .where('uid', '=', uid)
    .where('state', '=', 'UPLOADING')
    .where(sql<boolean>`upload->>'id' = ${uploadId}`)
    .executeTakeFirst();
  return result.numUpdatedRows > 0n;
}
