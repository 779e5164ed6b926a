/**
 * Fine-tuning jobs on the wire, in the two shapes that clients speak: `fineTuningJobs` (the reference documents) and
 * `supervisedFineTuningJobs` (the published client). Both are views of one job; fields of Temper's own are the same in both.
 */
import { Type, type Static } from 'typebox';
import { MAX_ACCELERATORS, MAX_BATCH_SIZE, MAX_LEARNING_RATE, MAX_LORA_RANK, MAX_TEMPLATE_BYTES } from './limits.js';
import { MachineSample } from './trainerProtocol.js';
import { DisplayName, Id, Ignored, Int64, PlainText, ReadOnly, ResourceName, Status, Time } from './wire.js';

const OpenObject = (description: string) => Type.Object({}, { additionalProperties: true, description });
const TemplateText = () =>
  Type.String({
    minLength: 1,
    maxLength: MAX_TEMPLATE_BYTES,
    'x-reason': 'TEMPLATE_INVALID',
    'x-expected': `text of 1 to ${MAX_TEMPLATE_BYTES} characters`,
  });
const FieldName = () => Type.String({ minLength: 1, maxLength: 1000 });

const BATCH_SIZES = Array.from({ length: Math.log2(MAX_BATCH_SIZE) + 1 }, (_, power) => 2 ** power);
const BatchSize = () =>
  Type.Integer({
    enum: BATCH_SIZES,
    'x-reason': 'BATCH_SIZE_NOT_POWER_OF_TWO',
    'x-expected': `a power of two from 1 to ${MAX_BATCH_SIZE}`,
    description: 'Examples of one optimizer step: the global batch',
  });
const Epochs = () =>
  Type.Number({
    exclusiveMinimum: 0,
    maximum: 3_000_000,
    'x-reason': 'EPOCHS_NOT_POSITIVE',
    'x-expected': 'a number above 0; it may be a fraction',
  });
const LearningRate = () =>
  Type.Number({
    exclusiveMinimum: 0,
    maximum: MAX_LEARNING_RATE,
    'x-reason': 'LEARNING_RATE_OUT_OF_RANGE',
    'x-expected': `a number above 0 and at most ${MAX_LEARNING_RATE}, such as 0.0001`,
  });
const LoraRank = () =>
  Type.Integer({
    minimum: 1,
    maximum: MAX_LORA_RANK,
    'x-reason': 'LORA_RANK_OUT_OF_RANGE',
    'x-expected': `a whole number from 1 to ${MAX_LORA_RANK}`,
  });

/** Settings of Temper's own, in both shapes. */
const ownSettings = {
  quantization: Type.Optional(
    Type.String({
      enum: ['none', 'nf4', 'auto'],
      description: 'none: LoRA. nf4: QLoRA. auto: LoRA, or QLoRA where memory is too small for it. By default as the base model needs it',
    }),
  ),
  acceleratorCount: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: MAX_ACCELERATORS,
      description: 'GPUs of one machine that train together; 1 when absent. The batch stays',
    }),
  ),
  fromCheckpoint: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 300,
      description:
        'Instead of baseModel or warmStartFrom: start from the adapter of a checkpoint of another job, named JOB@STEP, or JOB for its newest. The optimizer begins anew',
    }),
  ),
  seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })),
  evaluationSteps: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 2 ** 31 - 1,
      description: 'Steps between two evaluations while training; once an epoch when absent. The model is that of the best one',
    }),
  ),
  earlyStop: Type.Optional(Type.Boolean({ description: 'End training when the loss on the evaluation set has stopped falling' })),
  maxGpuSeconds: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 2 ** 31 - 1,
      description: 'Most seconds that all attempts at training may hold the GPU. Then the best so far becomes the model',
    }),
  ),
  deadline: Type.Optional(
    Type.String({
      format: 'date-time',
      description: 'When training ends at the latest. The best so far becomes the model; without any step by then the job fails',
    }),
  ),
  requireApproval: Type.Optional(
    Type.Boolean({ description: 'Wait, checked and rendered and holding no GPU, until someone approves or rejects the job' }),
  ),
  priority: Type.Optional(Type.Integer({ minimum: 1, maximum: 5, 'x-expected': 'a whole number from 1 (first) to 5; 3 when absent' })),
  mlflowExperiment: Type.Optional(PlainText(256)),
  tensorboard: Type.Optional(Type.Boolean({ description: 'Write a TensorBoard event file: `:getTensorboardFileEndpoint`' })),
};

/** A step that failed and is tried again. */
export const Retry = Type.Object({
  step: Type.String({ description: 'The activity, as docs/faults.md lists them' }),
  attempt: Type.Integer({ description: 'The attempt that runs or comes next' }),
  failure: Type.Object(
    {
      code: Type.String(),
      message: Type.String(),
      domain: Type.String(),
      retryable: Type.Boolean(),
    },
    { additionalProperties: true, description: 'Of the attempt before it' },
  ),
  nextAttemptTime: Type.Optional(Time({ description: 'Absent while an attempt runs' })),
});
export type Retry = Static<typeof Retry>;

/** What every job shows, in both shapes. */
const common = {
  name: ReadOnly(ResourceName()),
  uid: ReadOnly(Type.String()),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
  startedTime: ReadOnly(Time({ description: "The trainer's first step" })),
  completedTime: ReadOnly(Time()),
  createdBy: ReadOnly(Type.String({ description: 'E-mail of the user' })),
  status: ReadOnly(Status),
  kind: ReadOnly(Type.String({ description: 'textCompletion, textClassification or conversation' })),
  stage: ReadOnly(Type.String({ description: 'What the job is doing inside its state' })),
  attempt: ReadOnly(Type.Integer({ description: 'Training attempts so far' })),
  queuePosition: ReadOnly(
    Type.Integer({
      description: 'Of a job that waits for a GPU, where it is read by itself: 1 is next, as far as fair turns between accounts tell',
    }),
  ),
  waitReason: ReadOnly(Type.String({ description: 'Of such a job, what it waits for: a GPU, or its turn among the jobs of its account' })),
  expectedStartTime: ReadOnly(Time({ description: 'By the times left of the jobs that train, and those expected of the ones before it' })),
  failure: ReadOnly(OpenObject('Of a failed job: code, message, domain (whose it is), retryable, details, nextAction')),
  retry: ReadOnly(
    OpenObject('Of a job with a step that failed and is tried again, where it is read by itself: step, attempt, failure, nextAttemptTime'),
  ),
  progress: ReadOnly(OpenObject('Step, epoch, loss, learning rate, tokens per second and the like, as of the last step')),
  evaluationResult: ReadOnly(
    OpenObject(
      'Metric of the base and of the tuned model on the same held-out examples; `change`, row by row: `value` (tuned less base of an accuracy, tuned divided by base of a perplexity), its 95 % interval `low` to `high`, and `pValue`',
    ),
  ),
  settings: ReadOnly(OpenObject('Every setting as resolved at creation')),
  reproduction: ReadOnly(OpenObject('Of a job that makes a model once more: which one, and in the end whether the bytes are equal')),
  estimatedCost: ReadOnly(
    OpenObject('Of its training time, where the deployment has prices: currencyCode, units and nanos, as google.type.Money'),
  ),
  cost: ReadOnly(OpenObject('Of a job that has ended, by what it used (docs/estimates.md): currencyCode, units and nanos')),
  settingOrigins: ReadOnly(OpenObject('Where each setting came from: given, baseModel, default or derived')),
  wandbState: ReadOnly(Type.String({ description: 'PENDING, DELIVERING, DEGRADED or DELIVERED' })),
  wandbReason: ReadOnly(Type.String({ description: 'Of DEGRADED: what is wrong, and what to do' })),
  mlflowUrl: ReadOnly(Type.String()),
  mlflowState: ReadOnly(Type.String({ description: 'As wandbState' })),
  mlflowReason: ReadOnly(Type.String()),
  tensorboardState: ReadOnly(Type.String({ description: 'As wandbState' })),
  outputModel: Type.Optional(ResourceName({ description: 'ID or name of the model to make; the job ID when absent' })),
};

export const FineTuningJob = Type.Object({
  ...common,
  state: ReadOnly(Type.String({ enum: ['STATE_UNSPECIFIED', 'CREATING', 'PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'DELETING'] })),
  displayName: DisplayName(),
  dataset: Type.Optional(ResourceName()),
  baseModel: Type.Optional(ResourceName()),
  warmStartFrom: Type.Optional(ResourceName()),
  textCompletion: Type.Optional(Type.Object({ inputTemplate: TemplateText(), outputTemplate: TemplateText() })),
  textClassification: Type.Optional(Type.Object({ text: FieldName(), label: FieldName() })),
  conversation: Type.Optional(Type.Object({ jinjaTemplate: Type.Optional(TemplateText()) })),
  modelId: Type.Optional(Id()),
  jobId: Type.Optional(Id()),
  evaluation: Type.Optional(Type.Boolean()),
  evaluationSplit: Type.Optional(
    Type.Number({
      exclusiveMinimum: 0,
      exclusiveMaximum: 1,
      'x-reason': 'EVALUATION_SPLIT_OUT_OF_RANGE',
      'x-expected': 'a share of the examples above 0 and below 1, such as 0.15',
    }),
  ),
  evaluationDataset: Type.Optional(ResourceName()),
  epochs: Type.Optional(Epochs()),
  learningRate: Type.Optional(LearningRate()),
  batchSize: Type.Optional(BatchSize()),
  loraRank: Type.Optional(LoraRank()),
  wandbEntity: Type.Optional(PlainText(128)),
  wandbApiKey: Type.Optional(Type.String({ maxLength: 1000, writeOnly: true })),
  wandbProject: Type.Optional(PlainText(128)),
  wandbUrl: ReadOnly(Type.String()),
  ...ownSettings,
  fineTuningJobId: ReadOnly(Type.String()),
  fineTuningJobName: ReadOnly(Type.String()),
  loraTargetModules: ReadOnly(Type.Array(Type.String())),
  maskToken: ReadOnly(Type.String()),
  padToken: ReadOnly(Type.String()),
  microBatchSize: ReadOnly(Type.Integer()),
});
export type FineTuningJob = Static<typeof FineTuningJob>;

const MANAGED = 'Machines, storage and reservations are the deployment’s own here.';

export const SupervisedFineTuningJob = Type.Object({
  ...common,
  state: ReadOnly(Type.String()),
  displayName: DisplayName(),
  dataset: Type.Optional(ResourceName()),
  baseModel: Type.Optional(ResourceName()),
  warmStartFrom: Type.Optional(ResourceName()),
  jinjaTemplate: Type.Optional(TemplateText()),
  evaluationDataset: Type.Optional(ResourceName()),
  evalAutoCarveout: Type.Optional(Type.Boolean({ description: 'false: no evaluation, unless evaluationDataset is given' })),
  epochs: Type.Optional(Epochs()),
  learningRate: Type.Optional(LearningRate()),
  learningRateWarmupSteps: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })),
  loraRank: Type.Optional(LoraRank()),
  maxContextLength: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 })),
  batchSizeSamples: Type.Optional(BatchSize()),
  batchSize: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 2 ** 31 - 1,
      description:
        'Below 1024: examples, like batchSizeSamples. From 1024: tokens of a pack, ignored, for the trainer packs as its memory allows',
    }),
  ),
  optimizerWeightDecay: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
  wandbConfig: Type.Optional(
    Type.Object({
      enabled: Type.Optional(Type.Boolean()),
      apiKey: Type.Optional(Type.String({ maxLength: 1000, writeOnly: true })),
      project: Type.Optional(PlainText(128)),
      entity: Type.Optional(PlainText(128)),
      runId: Type.Optional(PlainText(128)),
      url: ReadOnly(Type.String()),
    }),
  ),
  ...ownSettings,
  jobProgress: ReadOnly(
    Type.Object({
      percent: Type.Optional(Type.Integer()),
      epoch: Type.Optional(Type.Integer()),
      totalInputRequests: Type.Optional(Type.Integer()),
      totalProcessedRequests: Type.Optional(Type.Integer()),
      successfullyProcessedRequests: Type.Optional(Type.Integer()),
      failedRequests: Type.Optional(Type.Integer()),
      outputRows: Type.Optional(Type.Integer()),
      inputTokens: Type.Optional(Type.Integer()),
      outputTokens: Type.Optional(Type.Integer()),
      cachedInputTokenCount: Type.Optional(Type.Integer()),
    }),
  ),
  trainerLogsSignedUrl: ReadOnly(Type.String()),
  modelId: ReadOnly(Type.String()),
  gradientAccumulationSteps: Ignored('The global batch is batchSizeSamples, whatever it takes to fill it.'),
  samplerCheckpointSaveIntervalSteps: Ignored('Checkpoints are written by time and by share of the run.'),
  rendererHuggingFaceRepoId: Ignored('The chat template is jinjaTemplate, or the base model’s.'),
  region: Ignored(MANAGED),
  nodes: Ignored(MANAGED),
  isTurbo: Ignored(MANAGED),
  mtpEnabled: Ignored('Adapters are trained on the base model alone.'),
  mtpFreezeBaseModel: Ignored('Adapters are trained on the base model alone.'),
  mtpNumDraftTokens: Ignored('Adapters are trained on the base model alone.'),
  metricsFileSignedUrl: Ignored('Metrics are at `:getMetricsFileEndpoint`.'),
  purpose: Ignored(MANAGED),
  usePurpose: Ignored(MANAGED),
  reservationTarget: Ignored(MANAGED),
  useReservation: Ignored(MANAGED),
  awsS3Config: Ignored(MANAGED),
  azureBlobStorageConfig: Ignored(MANAGED),
});
export type SupervisedFineTuningJob = Static<typeof SupervisedFineTuningJob>;

export const JobEvent = Type.Object({
  sequence: Type.Integer({ description: 'From 1, without gap' }),
  time: Time(),
  type: Type.String({ description: 'state, stage, warning, checkpoint, attempt, evaluation, report, model or data' }),
  state: Type.Optional(Type.String({ description: 'Of a `state` or `stage` event: the state after it' })),
  message: Type.String(),
  data: Type.Optional(OpenObject('What there is beside the message')),
});
export type JobEvent = Static<typeof JobEvent>;

export const JobAttempt = Type.Object({
  attempt: Type.Integer(),
  worker: Type.String(),
  device: Type.Optional(Type.String()),
  reason: Type.String({ description: 'Why there was an attempt' }),
  startStep: Type.Integer(),
  resumedFrom: Type.Optional(Type.String()),
  adaptations: Type.Optional(
    Type.Array(OpenObject('code, step, microBatchTokens, recompute, quantization'), {
      description: 'What it did when memory was too small, in order; the next attempt begins with the last of them',
    }),
  ),
  endStep: Type.Optional(Type.Integer()),
  outcome: Type.Optional(Type.String({ description: 'completed, failed, paused or cancelled; absent while it runs' })),
  failure: Type.Optional(OpenObject('code, message, domain, retryable')),
  startTime: Time(),
  endTime: Type.Optional(Time()),
});
export type JobAttempt = Static<typeof JobAttempt>;

export const JobCheckpoint = Type.Object({
  step: Type.Integer(),
  attempt: Type.Integer(),
  createTime: Time(),
  sizeBytes: Int64(),
  loss: Type.Optional(Type.Number()),
});
export type JobCheckpoint = Static<typeof JobCheckpoint>;

export const JobMetric = Type.Object({
  step: Type.Integer(),
  attempt: Type.Integer(),
  epoch: Type.Number(),
  loss: Type.Number(),
  learningRate: Type.Number(),
  gradNorm: Type.Optional(Type.Number()),
  tokens: Type.Integer(),
  trainedTokens: Type.Integer(),
  tokensPerSecond: Type.Number(),
  evaluationLoss: Type.Optional(Type.Number({ description: 'On the evaluation set, at the steps where it is measured' })),
  machine: Type.Optional(MachineSample),
  time: Time(),
});
export type JobMetric = Static<typeof JobMetric>;
