/** A job and what it stands on, read by the activities from the records: workflows carry only its uid. */
import { TemperError } from '../schemas/errors.js';
import type { Database, StoredFile } from '../stores/database.js';
import { findDataset, findDatasetByUid, type DatasetRecord } from '../stores/datasets.js';
import { findJobByUid, type JobRecord } from '../stores/jobs.js';
import { findModel } from '../stores/models.js';
import { parseName } from '../schemas/names.js';
import { startKey } from '../schemas/task.js';

export async function requireJob(database: Database, uid: string): Promise<JobRecord> {
  const job = await findJobByUid(database, uid);
  if (!job) throw new TemperError('RESOURCE_NOT_FOUND', 'The job was deleted.');
  return job;
}

/** Of the base model that the adapter was trained on: for "auto", what training came to. */
export function trainedQuantization({ settings, progress }: JobRecord): 'none' | 'nf4' {
  return settings.quantization === 'auto' ? (progress.quantization ?? 'none') : settings.quantization;
}

export type ReadyDataset = DatasetRecord & { object_key: string; sha256: string };

export async function requireReadyDataset(database: Database, job: JobRecord): Promise<ReadyDataset> {
  return ready(await findDatasetByUid(database, job.dataset_uid), job.dataset_name);
}

export async function requireEvaluationDataset(database: Database, job: JobRecord): Promise<ReadyDataset | null> {
  const name = job.settings.evaluationDataset;
  if (!name) return null;
  const parsed = parseName(name, 'datasets', job.account_id);
  return ready(parsed ? await findDataset(database, job.account_id, parsed.id) : undefined, name);
}

function ready(dataset: DatasetRecord | undefined, name: string): ReadyDataset {
  if (!dataset)
    throw new TemperError(
      'DATASET_NOT_FOUND',
      `The dataset ${name} was deleted before the job could read it. Create it again and start a new job.`,
    );
  if (dataset.state !== 'READY' || !dataset.object_key || !dataset.sha256)
    throw new TemperError('DATASET_NOT_READY', `The dataset ${name} is not READY.`);
  return dataset as ReadyDataset;
}

/** The files of the adapter that a job starts from: a model's or a checkpoint's. None: it starts from the base model alone. */
export async function requireStartFiles(database: Database, job: JobRecord): Promise<StoredFile[]> {
  const { warmStartFrom: name, fromCheckpoint } = job.settings;
  if (fromCheckpoint) return fromCheckpoint.files.map((file) => ({ ...file, key: startKey(job.uid, file.name) }));
  if (!name) return [];
  const parsed = parseName(name, 'models', job.account_id);
  const model = parsed ? await findModel(database, parsed.accountId, parsed.id) : undefined;
  if (!model) throw new TemperError('WARM_START_NOT_FOUND', `The model ${name} was deleted before the job could go on from it.`);
  if (model.state !== 'READY') throw new TemperError('WARM_START_NOT_READY', `The model ${name} is not READY.`);
  return model.files;
}
