/**
 * A job that is given more epochs or more time while it lives. The records decide: a job whose training is over there cannot be made
 * longer, and a trainer that is done asks them before its work counts as done (`closeTraining`).
 */
import type { ExtendInput, JobLength, TrainResult } from '../schemas/activities.js';
import { fieldError, TemperError } from '../schemas/errors.js';
import type { JobState } from '../schemas/states.js';
import type { JobSettings } from '../schemas/task.js';
import type { Database } from '../stores/database.js';
import { findDatasetByUid } from '../stores/datasets.js';
import { appendEventIn, hasEvent } from '../stores/events.js';
import { lockJob, setSettings, setTrained, type JobRecord } from '../stores/jobs.js';
import { readQuota } from '../stores/quotas.js';
import { checkAmount } from './resolveSettings.js';

/** @throws TemperError ILLEGAL_STATE, INVALID_FIELD, EXAMPLES_TIMES_EPOCHS_TOO_LARGE */
export function extendJob(database: Database, { uid, id, by, ...wanted }: ExtendInput): Promise<JobLength> {
  return database.transaction().execute(async (transaction) => {
    const job = await lockJob(transaction, uid);
    if (!job) throw new TemperError('RESOURCE_NOT_FOUND', 'The job was deleted.');
    const key = `extended/${id}`;
    if (await hasEvent(transaction, uid, key)) return lengthOf(job.settings);
    if (job.trained || OVER.includes(job.state)) {
      const why = job.trained ? 'its training is over' : `it is ${job.state}`;
      throw new TemperError('ILLEGAL_STATE', `The job cannot be extended any more: ${why}. A new job can go on from its model.`);
    }
    const settings = { ...job.settings };
    if (wanted.epochs !== undefined) await lengthen(transaction, job, settings, wanted.epochs);
    if (wanted.deadline !== undefined) replace(settings, 'deadline', wanted.deadline);
    if (wanted.maxGpuSeconds !== undefined) replace(settings, 'maxGpuSeconds', wanted.maxGpuSeconds);
    const given = Object.fromEntries(Object.keys(wanted).map((name) => [name, 'given' as const]));
    await setSettings(transaction, uid, settings, { ...job.setting_origins, ...given });
    await appendEventIn(transaction, uid, {
      key,
      type: 'stage',
      message: `${by} changed the length of the job: ${describe(job.settings, settings)}.`,
      data: { from: { ...lengthOf(job.settings) }, to: { ...lengthOf(settings) } },
    });
    return lengthOf(settings);
  });
}

/** A job that failed can be resumed, so it can be extended, too. */
const OVER: JobState[] = ['COMPLETED', 'EARLY_STOPPED', 'CANCELLING', 'CANCELLED', 'DELETING'];

export function lengthOf({ epochs, deadline, maxGpuSeconds }: JobSettings): JobLength {
  return { epochs, deadline: deadline ?? null, maxGpuSeconds: maxGpuSeconds ?? null };
}

export function isSameLength(one: JobSettings, other: JobSettings): boolean {
  return JSON.stringify(lengthOf(one)) === JSON.stringify(lengthOf(other));
}

/**
 * Called before a trainer goes on from `step`: what was asked for since the last one began holds from there. A job that has made no step
 * yet is one of the new length as a whole.
 */
export function takeUpExtension(database: Database, uid: string, step: number): Promise<JobRecord> {
  return database.transaction().execute(async (transaction) => {
    const job = await lockJob(transaction, uid);
    if (!job) throw new TemperError('RESOURCE_NOT_FOUND', 'The job was deleted.');
    const settings = settle(job.settings, step);
    if (job.trained) await setTrained(transaction, uid, null);
    if (settings === job.settings) return job;
    await setSettings(transaction, uid, settings, job.setting_origins);
    await appendEventIn(transaction, uid, {
      key: `extension/${settings.extensions?.length ?? 0}/${step}`,
      type: 'stage',
      message: `From step ${step} on it trains for ${settings.epochs} epochs.`,
      data: { step, epochs: settings.epochs },
    });
    return { ...job, settings };
  });
}

/**
 * Training is over, unless the job was made longer in a way that its trainer did not know of.
 * @param known  the settings that it trained by
 * @returns whether it is over
 */
export function closeTraining(database: Database, uid: string, known: JobSettings, result: TrainResult): Promise<boolean> {
  return database.transaction().execute(async (transaction) => {
    const job = await lockJob(transaction, uid);
    if (!job) throw new TemperError('RESOURCE_NOT_FOUND', 'The job was deleted.');
    const hasMoreEpochs = job.settings.epochs > known.epochs;
    const hasOtherTime = !isSameLength({ ...job.settings, epochs: known.epochs }, known);
    if (result.endedBy ? hasOtherTime : hasMoreEpochs && !result.earlyStopped) return false;
    const settings = settle(job.settings, result.steps);
    if (settings !== job.settings) await setSettings(transaction, uid, settings, job.setting_origins);
    await setTrained(transaction, uid, result);
    return true;
  });
}

async function lengthen(database: Database, job: JobRecord, settings: JobSettings, epochs: number): Promise<void> {
  const present = settings.epochs;
  if (epochs === present) return;
  if (epochs < present)
    throw fieldError(
      'INVALID_FIELD',
      'epochs',
      `The job trains ${present} epochs, and what lives can only be made longer: ${epochs} are fewer.`,
    );
  const dataset = await findDatasetByUid(database, job.dataset_uid);
  const { evaluationSplit } = settings;
  if (dataset) checkAmount({ epochs, evaluationSplit }, dataset, await readQuota(database, job.account_id, 'examples-times-epochs'));
  const earlier = settings.extensions ?? [];
  const last = earlier.at(-1);
  settings.epochs = epochs;
  settings.extensions =
    last?.step === null
      ? [...earlier.slice(0, -1), { ...last, toEpochs: epochs }]
      : [...earlier, { fromEpochs: present, toEpochs: epochs, step: null }];
}

/** The same object where nothing is open. */
function settle(settings: JobSettings, step: number): JobSettings {
  const { extensions = [], ...rest } = settings;
  if (extensions.at(-1)?.step !== null) return settings;
  const settled = extensions.slice(0, -1);
  const from = Math.max(step, settled.at(-1)?.step ?? 0);
  if (from > 0) settled.push({ ...extensions.at(-1)!, step: from });
  return { ...rest, ...(settled.length > 0 ? { extensions: settled } : {}) };
}

function replace<Field extends 'deadline' | 'maxGpuSeconds'>(settings: JobSettings, field: Field, value: JobSettings[Field] | null): void {
  if (value === null) delete settings[field];
  else settings[field] = value;
}

function describe(before: JobSettings, after: JobSettings): string {
  const [from, to] = [lengthOf(before), lengthOf(after)];
  const changes = (Object.keys(to) as (keyof JobLength)[]).filter((name) => from[name] !== to[name]);
  if (changes.length === 0) return 'it stays as it was';
  return changes.map((name) => `${name} ${from[name] ?? 'unlimited'} → ${to[name] ?? 'unlimited'}`).join(', ');
}
