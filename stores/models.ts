/** Model records: tuned models registered by jobs, and models that users upload. The catalogue's base models are data, not rows. */
import { sql, type Selectable } from 'kysely';
import type { Database, ModelsTable, PeftDetails, StoredFile } from './database.js';

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

export function updateModelTexts(
  database: Database,
  accountId: string,
  id: string,
  texts: { displayName?: string; description?: string },
): Promise<ModelRecord> {
  return database
    .updateTable('models')
    .set({
      update_time: sql`now()`,
      ...(texts.displayName !== undefined ? { display_name: texts.displayName } : {}),
      ...(texts.description !== undefined ? { description: texts.description } : {}),
    })
    .where('account_id', '=', accountId)
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function deleteModel(database: Database, uid: string): Promise<void> {
  await database.deleteFrom('models').where('uid', '=', uid).execute();
}
