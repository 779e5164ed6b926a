/** A job as OpenAI's clients see it, with its events and checkpoints. */
import type { Static } from 'typebox';
import { findBaseModel } from '../../schemas/baseModels.js';
import type { OpenaiCheckpoint, OpenaiJob, OpenaiJobEvent, OpenaiJobState } from '../../schemas/openai.js';
import { isTerminal, type JobState } from '../../schemas/states.js';
import { RESULTS_PREFIX } from '../../stores/files.js';
import type { HistoryEntry, HistoryPosition } from '../../stores/jobHistory.js';
import type { JobRecord, MeasuredCheckpoint } from '../../stores/jobs.js';
import { openaiCode } from './errors.js';
import { idOf, tunedModelName } from './modelNames.js';
import { seconds } from './pages.js';

/**
 * `validating_files` is never shown: a job is only accepted when its files are valid and its settings fit them, and loops that wait
 * while a job is `queued` or `running` would take any other state for its end.
 */
const STATES: Record<JobState, OpenaiJobState> = {
  CREATING: 'queued',
  VALIDATING: 'queued',
  PENDING: 'queued',
  RUNNING: 'running',
  RE_QUEUEING: 'running',
  PAUSED: 'paused',
  WRITING_RESULTS: 'running',
  COMPLETED: 'succeeded',
  EARLY_STOPPED: 'succeeded',
  FAILED: 'failed',
  CANCELLING: 'running',
  CANCELLED: 'cancelled',
  DELETING: 'cancelled',
};

export function viewOpenaiJob(job: JobRecord): Static<typeof OpenaiJob> {
  const { settings, openai, progress, failure } = job;
  const succeeded = STATES[job.state] === 'succeeded';
  const hyperparameters = {
    n_epochs: settings.epochs,
    batch_size: settings.batchSize,
    learning_rate_multiplier: openai?.learningRateMultiplier ?? multiplierOf(job),
  };
  const remaining = job.state === 'RUNNING' ? progress.etaSeconds : null;
  return {
    id: job.id,
    object: 'fine_tuning.job',
    created_at: seconds(job.create_time),
    finished_at: job.completed_time && isTerminal(job.state) ? seconds(job.completed_time) : null,
    estimated_finish: remaining == null ? null : Math.round(job.update_time.getTime() / 1000 + remaining),
    model: openai?.model ?? startOf(job),
    fine_tuned_model: succeeded ? fineTunedModel(job) : null,
    organization_id: job.account_id,
    status: STATES[job.state],
    training_file: idOf(job.dataset_name),
    validation_file: settings.evaluationDataset ? idOf(settings.evaluationDataset) : null,
    result_files: succeeded && job.results ? [`${RESULTS_PREFIX}${job.id}`] : [],
    hyperparameters,
    method: { type: 'supervised', supervised: { hyperparameters } },
    trained_tokens: isTerminal(job.state) ? (progress.tokens ?? null) : null,
    seed: settings.seed,
    error:
      job.state === 'FAILED' && failure
        ? { code: openaiCode(failure.code), message: failure.message, param: failure.domain === 'DATASET' ? 'training_file' : null }
        : null,
    integrations: openai?.integrations ?? null,
    metadata: openai?.metadata ?? null,
    user_provided_suffix: openai?.suffix ?? null,
  };
}

/** The name under which the job's model is, or will be, listed. */
function fineTunedModel(job: JobRecord): string {
  return job.openai?.fineTunedModel ?? tunedModelName({ accountId: job.account_id, baseModel: job.base_model, id: job.model_id });
}

function startOf(job: JobRecord): string {
  if (!job.warm_start_from) return idOf(job.base_model);
  return tunedModelName({ accountId: job.account_id, baseModel: job.base_model, id: idOf(job.warm_start_from) });
}

/** Of a job that gave a rate: to six digits, as nobody wrote it. */
function multiplierOf({ settings }: JobRecord): number {
  const base = findBaseModel(settings.baseModel);
  return base ? Number((settings.learningRate / base.learningRate).toPrecision(6)) : 1;
}

export function viewHistoryEntry(job: JobRecord, entry: HistoryEntry): Static<typeof OpenaiJobEvent> {
  const base = { id: eventId(job, entry), object: 'fine_tuning.job.event' as const, created_at: seconds(entry.time) };
  if (entry.kind === 'step') {
    const total = job.progress.totalSteps ?? null;
    const { loss, evaluationLoss } = entry;
    const data = {
      step: entry.number,
      total_steps: total,
      train_loss: loss,
      ...(evaluationLoss !== null ? { valid_loss: evaluationLoss } : {}),
    };
    const losses = `training loss=${loss?.toFixed(4)}${evaluationLoss === null ? '' : `, validation loss=${evaluationLoss.toFixed(4)}`}`;
    const message = `Step ${entry.number}${total === null ? '' : `/${total}`}: ${losses}`;
    return { ...base, level: 'info', type: 'metrics', message, data };
  }
  const failed = entry.state === 'FAILED';
  return {
    ...base,
    level: failed ? 'error' : entry.type === 'warning' ? 'warn' : 'info',
    type: 'message',
    message: entry.message,
    data: entry.data,
  };
}

function eventId(job: JobRecord, { kind, number }: HistoryPosition): string {
  return `ftevent-${job.uid.replaceAll('-', '')}${kind === 'step' ? 's' : 'e'}${number}`;
}

/** Null for what is no event of the job. */
export function parseEventId(job: JobRecord, id: string): HistoryPosition | null {
  const [, uid, kind, number] = /^ftevent-([0-9a-f]{32})([es])([0-9]{1,9})$/.exec(id) ?? [];
  if (uid !== job.uid.replaceAll('-', '')) return null;
  return { kind: kind === 's' ? 'step' : 'event', number: Number(number) };
}

export function viewOpenaiCheckpoint(job: JobRecord, checkpoint: MeasuredCheckpoint): Static<typeof OpenaiCheckpoint> {
  const isLast = checkpoint.step === job.progress.totalSteps;
  const { evaluation } = job;
  return {
    id: `ftckpt_${job.uid.replaceAll('-', '')}_${checkpoint.attempt}_${checkpoint.step}`,
    object: 'fine_tuning.job.checkpoint',
    created_at: seconds(checkpoint.create_time),
    fine_tuned_model_checkpoint: `${fineTunedModel(job)}:ckpt-step-${checkpoint.step}`,
    fine_tuning_job_id: job.id,
    step_number: checkpoint.step,
    metrics: {
      step: checkpoint.step,
      ...(checkpoint.loss !== null ? { train_loss: checkpoint.loss } : {}),
      ...(checkpoint.evaluation_loss !== null ? { valid_loss: checkpoint.evaluation_loss } : {}),
      // A perplexity is the exponential of the mean loss.
      ...(isLast && evaluation?.metric === 'perplexity' ? { full_valid_loss: Math.log(evaluation.tuned) } : {}),
    },
  };
}
