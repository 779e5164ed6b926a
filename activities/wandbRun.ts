/** A finished job as one Weights & Biases run: what is sent, in the words that dashboards of the field already use (`train/loss`, …). */
import type { JobState } from '../schemas/states.js';
import { resourceName, type Collection } from '../schemas/names.js';
import type { JobRecord, MetricRecord } from '../stores/jobs.js';

export interface WandbRun {
  /** The run's ID in its project: one for the life of the job. */
  id: string;
  displayName: string;
  project: string;
  /** Absent: the default entity of the key. */
  entity?: string;
  config: Record<string, unknown>;
  /** In step order, never empty; the last one also carries the summary. */
  rows: WandbRow[];
  /** 0: the run is shown as finished; else as failed. */
  exitCode: 0 | 1;
}
export interface WandbRow {
  step: number;
  values: Record<string, number | string>;
}

export function describeRun(job: JobRecord, metrics: MetricRecord[], outcome: JobState): WandbRun {
  const { project, entity, runId } = job.wandb!;
  const rows = metrics.map(describeStep);
  // The tracker's summary is the last value of each key, so what belongs there travels with the last row: the only one of a job that
  // made no step.
  const last = rows.at(-1) ?? { step: 0, values: {} };
  if (rows.length === 0) rows.push(last);
  Object.assign(last.values, describeEnd(job, metrics.at(-1), outcome));
  return {
    id: runId,
    displayName: job.display_name || job.id,
    project,
    entity,
    config: describeConfig(job),
    rows,
    exitCode: outcome === 'COMPLETED' || outcome === 'EARLY_STOPPED' ? 0 : 1,
  };
}

function describeConfig(job: JobRecord): Record<string, unknown> {
  const { task, ...settings } = job.settings;
  return {
    ...settings,
    task,
    kind: job.kind,
    baseModel: job.base_model,
    dataset: job.dataset_name,
    model: resourceName(job.account_id, 'models', job.model_id),
    job: resourceName(job.account_id, job.collection as Collection, job.id),
    settingOrigins: job.setting_origins,
    // The SDK drops tags; here they can at least be filtered by.
    tags: [job.kind, job.base_model, job.dataset_name],
  };
}

function describeStep(metric: MetricRecord): WandbRow {
  return {
    step: metric.step,
    values: onlyFinite({
      'train/global_step': metric.step,
      'train/epoch': metric.epoch,
      'train/loss': metric.loss,
      'train/learning_rate': metric.learning_rate,
      'train/grad_norm': metric.grad_norm,
      'train/tokens': metric.tokens,
      'train/trained_tokens': metric.trained_tokens,
      'train/tokens_per_second': metric.tokens_per_second,
      'eval/loss': metric.evaluation_loss,
    }),
  };
}

function describeEnd(job: JobRecord, last: MetricRecord | undefined, outcome: JobState): Record<string, number | string> {
  const { evaluation, failure } = job;
  return {
    job_uid: job.uid,
    job_state: outcome,
    ...(failure ? { failure_code: failure.code } : {}),
    ...onlyFinite({
      final_loss: last?.loss,
      ...(evaluation
        ? {
            [`eval/base_${evaluation.metric}`]: evaluation.base,
            [`eval/tuned_${evaluation.metric}`]: evaluation.tuned,
            'eval/examples': evaluation.examples,
          }
        : {}),
    }),
  };
}

/** JSON has no NaN: a value that is none is left out of its row. */
function onlyFinite(values: Record<string, number | null | undefined>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, number] => Number.isFinite(entry[1])));
}
