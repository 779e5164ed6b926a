/** A job as a run: what is sent to any tracker, in the words that dashboards of the field already use (`train/loss`, …). */
import { resourceName, type Collection } from '../schemas/names.js';
import type { MachineSample } from '../schemas/trainerProtocol.js';
import type { JobRecord, MetricRecord } from '../stores/jobs.js';
import type { Row, Run, RunEnd, Samples } from './tracker.js';

/** @param apiUrl  where users reach the API, for a link; empty where that is not known */
export function describeRun(job: JobRecord, apiUrl: string): Run {
  const name = resourceName(job.account_id, job.collection as Collection, job.id);
  const { task, ...settings } = job.settings;
  return {
    uid: job.uid,
    job: name,
    displayName: job.display_name || job.id,
    notes: `Job ${name} of Temper: temper get fine-tuning-job ${job.id}${apiUrl ? `, or ${apiUrl}/v1/${name}` : ''}`,
    config: {
      ...settings,
      task,
      kind: job.kind,
      baseModel: job.base_model,
      dataset: job.dataset_name,
      model: modelName(job),
      job: name,
      settingOrigins: job.setting_origins,
    },
    tags: [job.kind, lastPart(job.base_model), lastPart(job.dataset_name)].map((tag) => tag.slice(0, 64)),
  };
}

export function describeStep(metric: MetricRecord): Row {
  const values: Record<string, number | null> = {
    'train/global_step': metric.step,
    'train/epoch': metric.epoch,
    'train/loss': metric.loss,
    'train/learning_rate': metric.learning_rate,
    'train/grad_norm': metric.grad_norm,
    'train/tokens': metric.tokens,
    'train/trained_tokens': metric.trained_tokens,
    'train/tokens_per_second': metric.tokens_per_second,
    'train/attempt': metric.attempt,
    'eval/loss': metric.evaluation_loss,
    ...describeMachine(metric.machine),
  };
  return { step: metric.step, time: metric.time, values: onlyFinite(values) };
}

function describeMachine(machine: MachineSample | null): Record<string, number | undefined> {
  return {
    'machine/cpu_percent': machine?.cpuPercent,
    'machine/memory_bytes': machine?.memoryBytes,
    'machine/gpu_memory_bytes': machine?.gpuMemoryBytes,
    'machine/gpu_percent': machine?.gpuPercent,
    'machine/gpu_power_watts': machine?.gpuPowerWatts,
    'machine/gpu_temperature': machine?.gpuTemperature,
  };
}

/** @param report  of the evaluation, as the trainer wrote it; null: there is none */
export function describeEnd(job: JobRecord, last: MetricRecord | undefined, report: EvaluationReport | null): RunEnd {
  const { evaluation, failure, state } = job;
  const succeeded = state === 'COMPLETED' || state === 'EARLY_STOPPED';
  return {
    outcome: succeeded ? 'finished' : state === 'FAILED' ? 'failed' : 'killed',
    summary: {
      job_uid: job.uid,
      job_state: state,
      ...(failure ? { failure_code: failure.code } : {}),
      ...onlyFinite({
        steps: last?.step ?? 0,
        attempts: job.attempt,
        final_loss: last?.loss,
        ...(evaluation
          ? {
              [`eval/base_${evaluation.metric}`]: evaluation.base,
              [`eval/tuned_${evaluation.metric}`]: evaluation.tuned,
              'eval/examples': evaluation.examples,
            }
          : {}),
      }),
    },
    samples: report ? tableOf(report) : null,
    model: succeeded
      ? { name: job.model_id, uri: `temper://${modelName(job)}`, metadata: { baseModel: job.base_model, dataset: job.dataset_name } }
      : null,
  };
}

/** What of the evaluation's report (trainer/temper_trainer/evaluate.py) is shown. */
export interface EvaluationReport {
  samples?: Record<string, string | number>[];
}

function tableOf({ samples = [] }: EvaluationReport): Samples | null {
  const [first] = samples;
  if (!first) return null;
  const columns = Object.keys(first);
  return { columns, rows: samples.map((sample) => columns.map((column) => sample[column] ?? '')) };
}

function modelName(job: JobRecord): string {
  return resourceName(job.account_id, 'models', job.model_id);
}

function lastPart(name: string): string {
  return name.split('/').at(-1)!;
}

/** JSON has no NaN: a value that is none is left out. */
function onlyFinite(values: Record<string, number | null | undefined>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, number] => Number.isFinite(entry[1])));
}
