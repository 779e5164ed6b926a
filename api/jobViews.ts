/** A job as the API shows it, in either shape. */
import { errorRow, isErrorCode, nextAction } from '../schemas/errors.js';
import type { FineTuningJob, JobAttempt, JobCheckpoint, JobEvent, JobMetric, SupervisedFineTuningJob } from '../schemas/job.js';
import { resourceName } from '../schemas/names.js';
import { isTerminal, legacyJobState, supervisedJobState } from '../schemas/states.js';
import type { EventRecord } from '../stores/events.js';
import type { AttemptRecord, CheckpointRecord, JobRecord, MetricRecord } from '../stores/jobs.js';
import { estimatedCost } from './jobCost.js';

export function viewFineTuningJob(job: JobRecord): FineTuningJob {
  const { settings, progress } = job;
  const { kind, ...block } = settings.task;
  return {
    ...commonFields(job, 'fineTuningJobs'),
    state: legacyJobState(job.state),
    [kind]: block,
    modelId: job.model_id,
    jobId: job.id,
    fineTuningJobId: job.id,
    fineTuningJobName: resourceName(job.account_id, 'fineTuningJobs', job.id),
    evaluation: settings.evaluation,
    evaluationSplit: settings.evaluationSplit,
    evaluationDataset: settings.evaluationDataset ?? '',
    batchSize: settings.batchSize,
    ...(job.wandb ? { wandbProject: job.wandb.project, wandbEntity: job.wandb.entity ?? '', wandbUrl: job.wandb.url ?? '' } : {}),
    // Strict clients want all of these, and have no use for them.
    loraTargetModules: progress.targetModules ?? [],
    maskToken: '',
    padToken: '',
    microBatchSize: 0,
  };
}

export function viewSupervisedJob(job: JobRecord): SupervisedFineTuningJob {
  const { settings, progress, wandb } = job;
  const { task } = settings;
  return {
    ...commonFields(job, 'supervisedFineTuningJobs'),
    state: supervisedJobState(job.state),
    modelId: job.model_id,
    ...(task.kind === 'conversation' && task.jinjaTemplate !== undefined ? { jinjaTemplate: task.jinjaTemplate } : {}),
    ...(settings.evaluationDataset ? { evaluationDataset: settings.evaluationDataset } : {}),
    evalAutoCarveout: settings.evaluation && !settings.evaluationDataset,
    batchSizeSamples: settings.batchSize,
    maxContextLength: settings.cutoffLength,
    optimizerWeightDecay: settings.weightDecay,
    ...(settings.warmupSteps !== null ? { learningRateWarmupSteps: settings.warmupSteps } : {}),
    ...(wandb
      ? { wandbConfig: { enabled: true, project: wandb.project, entity: wandb.entity ?? '', runId: wandb.runId, url: wandb.url ?? '' } }
      : {}),
    jobProgress: {
      percent: percentDone(job),
      epoch: Math.floor(progress.epoch ?? 0),
      ...(progress.trainExamples !== undefined ? { totalInputRequests: progress.trainExamples } : {}),
      ...(progress.tokens !== undefined ? { inputTokens: progress.tokens } : {}),
    },
  };
}

function commonFields(job: JobRecord, collection: 'fineTuningJobs' | 'supervisedFineTuningJobs') {
  const { settings, failure, evaluation, wandb, mlflow, tensorboard } = job;
  const cost = estimatedCost(job);
  return {
    name: resourceName(job.account_id, collection, job.id),
    uid: job.uid,
    displayName: job.display_name,
    createTime: job.create_time.toISOString(),
    updateTime: job.update_time.toISOString(),
    ...(job.started_time ? { startedTime: job.started_time.toISOString() } : {}),
    ...(job.completed_time ? { completedTime: job.completed_time.toISOString() } : {}),
    createdBy: job.created_by,
    status: failure
      ? { code: isErrorCode(failure.code) ? errorRow(failure.code).status : 'UNKNOWN', message: failure.message }
      : { code: 'OK', message: '' },
    kind: job.kind,
    stage: job.stage,
    attempt: job.attempt,
    ...(failure ? { failure: { ...failure, ...(failure.code === 'CANCELLED' ? {} : { nextAction: nextAction(failure) }) } } : {}),
    progress: { ...job.progress, percent: percentDone(job) },
    ...(evaluation
      ? {
          evaluationResult: {
            metric: evaluation.metric,
            base: evaluation.base,
            tuned: evaluation.tuned,
            examples: evaluation.examples,
            ...(evaluation.change ? { change: { ...evaluation.change } } : {}),
          },
        }
      : {}),
    settings: { ...settings },
    settingOrigins: { ...job.setting_origins },
    ...(job.reproduction ? { reproduction: { model: job.reproduction.first.model, ...job.reproduction.outcome } } : {}),
    ...(cost ? { estimatedCost: { ...cost } } : {}),
    ...(job.cost ? { cost: { ...job.cost } } : {}),
    ...(wandb ? { wandbState: wandb.state ?? 'PENDING', wandbReason: wandb.reason ?? '' } : {}),
    ...(mlflow
      ? {
          mlflowExperiment: mlflow.experiment,
          mlflowUrl: mlflow.url ?? '',
          mlflowState: mlflow.state ?? 'PENDING',
          mlflowReason: mlflow.reason ?? '',
        }
      : {}),
    ...(tensorboard ? { tensorboard: true, tensorboardState: tensorboard.state ?? 'PENDING' } : {}),
    outputModel: resourceName(job.account_id, 'models', job.model_id),
    dataset: job.dataset_name,
    baseModel: settings.baseModel,
    ...(job.warm_start_from ? { warmStartFrom: job.warm_start_from } : {}),
    ...(settings.fromCheckpoint ? { fromCheckpoint: `${settings.fromCheckpoint.job}@${settings.fromCheckpoint.step}` } : {}),
    epochs: settings.epochs,
    learningRate: settings.learningRate,
    loraRank: settings.loraRank,
    quantization: settings.quantization,
    ...(settings.acceleratorCount !== undefined ? { acceleratorCount: settings.acceleratorCount } : {}),
    seed: settings.seed,
    priority: job.priority,
    ...(settings.evaluationSteps != null ? { evaluationSteps: settings.evaluationSteps } : {}),
    earlyStop: settings.earlyStop ?? false,
    ...(settings.maxGpuSeconds !== undefined ? { maxGpuSeconds: settings.maxGpuSeconds } : {}),
    ...(settings.deadline !== undefined ? { deadline: settings.deadline } : {}),
    ...(settings.requireApproval !== undefined ? { requireApproval: settings.requireApproval } : {}),
  };
}

/** 100 only when the model is there: scripts take it for the end. */
function percentDone({ state, progress }: JobRecord): number {
  if (state === 'COMPLETED' || state === 'EARLY_STOPPED') return 100;
  return progress.totalSteps ? Math.min(99, Math.floor((100 * (progress.step ?? 0)) / progress.totalSteps)) : 0;
}

export function viewEvent(event: EventRecord): JobEvent {
  return {
    sequence: event.sequence,
    time: event.time.toISOString(),
    type: event.type,
    message: event.message,
    ...(event.state ? { state: event.state } : {}),
    ...(Object.keys(event.data).length > 0 ? { data: event.data } : {}),
  };
}

/** After this event of a job there is none that changes its state. */
export function isLastEvent(event: EventRecord): boolean {
  return event.type === 'state' && event.state !== null && isTerminal(event.state as JobRecord['state']);
}

export function viewAttempt(attempt: AttemptRecord): JobAttempt {
  return {
    attempt: attempt.attempt,
    worker: attempt.worker,
    reason: attempt.reason,
    startStep: attempt.start_step,
    startTime: attempt.start_time.toISOString(),
    ...(attempt.device ? { device: attempt.device } : {}),
    ...(attempt.resumed_from ? { resumedFrom: attempt.resumed_from } : {}),
    ...(attempt.adaptations ? { adaptations: attempt.adaptations.map((adaptation) => ({ ...adaptation })) } : {}),
    ...(attempt.end_step !== null ? { endStep: attempt.end_step } : {}),
    ...(attempt.outcome ? { outcome: attempt.outcome } : {}),
    ...(attempt.failure ? { failure: { ...attempt.failure } } : {}),
    ...(attempt.end_time ? { endTime: attempt.end_time.toISOString() } : {}),
  };
}

export function viewCheckpoint(checkpoint: CheckpointRecord): JobCheckpoint {
  return {
    step: checkpoint.step,
    attempt: checkpoint.attempt,
    createTime: checkpoint.create_time.toISOString(),
    sizeBytes: String(checkpoint.size_bytes),
    ...(checkpoint.loss !== null ? { loss: checkpoint.loss } : {}),
  };
}

export function viewMetric(metric: MetricRecord): JobMetric {
  return {
    step: metric.step,
    attempt: metric.attempt,
    epoch: metric.epoch,
    loss: metric.loss,
    learningRate: metric.learning_rate,
    ...(metric.grad_norm !== null ? { gradNorm: metric.grad_norm } : {}),
    tokens: metric.tokens,
    trainedTokens: metric.trained_tokens,
    tokensPerSecond: metric.tokens_per_second,
    ...(metric.evaluation_loss !== null ? { evaluationLoss: metric.evaluation_loss } : {}),
    ...(metric.machine !== null ? { machine: metric.machine } : {}),
    time: metric.time.toISOString(),
  };
}
