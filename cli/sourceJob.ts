/** `--source-job NAME`: the settings of an earlier job, under those of the file and the flags. */
import { callApi, type Resource } from './client.js';
import { kindOfJob, SETTINGS, type JobSettings, type SettingValue } from './jobSettings.js';
import { JOB, resourcePath } from './resources.js';
import type { Session } from './session.js';

/** A job's own names, and what is asked for anew each time. */
const NOT_COPIED = new Set(['model_id', 'job_id', 'display_name', 'wandb_entity', 'wandb_api_key', 'wandb_project', 'deadline']);

export async function settingsOfJob(session: Session, name: string): Promise<JobSettings> {
  const job = await callApi(session.connection, { method: 'GET', path: await resourcePath(session, JOB, name) });
  const origin = `job ${name}`;
  const values: JobSettings['values'] = new Map();
  for (const { key, field } of SETTINGS) {
    if (NOT_COPIED.has(key)) continue;
    const value = field.split('.').reduce<unknown>((inside, step) => (inside as Resource | undefined)?.[step], job);
    // An adapter that was gone on from brings its base model; a split of nothing means none.
    const implied = (key === 'base_model' && (job['warmStartFrom'] || job['fromCheckpoint'])) || (key === 'evaluation_split' && !value);
    if (value !== undefined && value !== '' && !implied) values.set(key, { value: value as SettingValue, origin });
  }
  const kind = kindOfJob(job);
  return { values, ...(kind ? { kind: { name: kind, origin } } : {}) };
}
