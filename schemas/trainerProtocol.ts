/**
 * The trainer's protocol: what a GPU worker writes into `spec.json`, and the JSON lines the trainer answers on stdout.
 *
 * One process does one piece of work: `python -m temper_trainer SPEC.json`. It knows folders and files, nothing of S3,
 * Temporal or secrets. stdout carries events only, one JSON object a line; logs go to stderr.
 *
 * Exit codes: 0 the work is done (a `completed` event came last), 3 a `failed` event says why, 75 interrupted by
 * SIGTERM after a durable checkpoint (an `interrupted` event came last). Anything else is a crash.
 *
 * Numbers that are not finite never travel: they are `null`, and a loss that is not finite is a failure of its own.
 */
import { Type, type Static } from 'typebox';

export const PROTOCOL_VERSION = 1;

export const EXIT_COMPLETED = 0;
export const EXIT_FAILED = 3;
export const EXIT_INTERRUPTED = 75;

/** One piece of a rendered example: its text, whether the loss counts it, and whether it is literal: row text whose
 * look-alikes of control tokens (`<|eot_id|>`) must be encoded as plain text. Template text is not literal. */
export const Segment = Type.Union([
  Type.Tuple([Type.String(), Type.Boolean()]),
  Type.Tuple([Type.String(), Type.Boolean(), Type.Boolean()]),
]);
export type Segment = Static<typeof Segment>;

/** One line of a file of rendered examples. `line` is the row's 1-based line in the dataset. */
export const RenderedExample = Type.Object({
  line: Type.Integer({ minimum: 1 }),
  segments: Type.Array(Segment, { minItems: 1 }),
  /** Text classification only: the expected label, which is also the text of the last, trained segment. */
  label: Type.Optional(Type.String()),
});
export type RenderedExample = Static<typeof RenderedExample>;

/**
 * A rendered set (`set.json` in its folder): files of examples in the order of the dataset, and `index.bin`, which has the length in bytes of
 * each example, then the places of the `heldOut` ones that are not for training: numbers of 32 bits, little-endian.
 */
export const RenderedSet = Type.Object({
  version: Type.Literal(1),
  files: Type.Array(Type.Object({ name: Type.String(), examples: Type.Integer(), sha256: Type.String(), sizeBytes: Type.Integer() })),
  index: Type.Object({ sha256: Type.String(), sizeBytes: Type.Integer() }),
  heldOut: Type.Integer(),
});
export type RenderedSet = Static<typeof RenderedSet>;

export const TaskKind = Type.Union([Type.Literal('textCompletion'), Type.Literal('textClassification'), Type.Literal('conversation')]);
export type TaskKind = Static<typeof TaskKind>;

const ModelSpec = Type.Object({
  /** Folder with config.json, safetensors weights and the tokenizer. */
  path: Type.String({ minLength: 1 }),
  /** `nf4`: 4-bit NormalFloat with double quantization (QLoRA). `auto`, for training only: nf4 where memory asks for it. */
  quantization: Type.Union([Type.Literal('none'), Type.Literal('nf4'), Type.Literal('auto')]),
  /** Compute type of the frozen weights; `auto` is bfloat16 on a GPU that has it, float32 on CPU. LoRA weights are always float32. */
  dtype: Type.Union([Type.Literal('auto'), Type.Literal('float32'), Type.Literal('bfloat16')]),
});

const DataSpec = Type.Object({
  kind: TaskKind,
  /** To train: the folder of a rendered set. To evaluate: a file of examples. BOS only where the tokenizer puts one before a text by itself. `textCompletion` and `textClassification` get a trained EOS;
   * `conversation` gets none of its own, and no second BOS where the rendered text begins with it. */
  path: Type.String({ minLength: 1 }),
  /** Tokens an example may have, prompt and answer together. */
  cutoffLength: Type.Integer({ minimum: 8 }),
});

export const TrainSpec = Type.Object({
  version: Type.Literal(PROTOCOL_VERSION),
  work: Type.Literal('train'),
  model: ModelSpec,
  adapter: Type.Object({
    rank: Type.Integer({ minimum: 1, maximum: 64 }),
    alpha: Type.Number({ exclusiveMinimum: 0 }),
    dropout: Type.Number({ minimum: 0, exclusiveMaximum: 1 }),
    /** Absent: all linear layers of the blocks, by the family's table in the trainer. */
    targetModules: Type.Optional(Type.Array(Type.String({ pattern: '^[A-Za-z0-9_]+$' }), { minItems: 1 })),
    /** Folder of an existing PEFT adapter to go on from; rank and targets must agree with it. */
    warmStartPath: Type.Optional(Type.String({ minLength: 1 })),
  }),
  data: DataSpec,
  training: Type.Object({
    /** May be fractional; the run ends after ceil(epochs × steps of one epoch) steps. */
    epochs: Type.Number({ exclusiveMinimum: 0 }),
    /** In order: from the end of `step` on, the run has another length, and the learning rate follows the schedule of that length. */
    extensions: Type.Optional(
      Type.Array(Type.Object({ step: Type.Integer({ minimum: 0 }), epochs: Type.Number({ exclusiveMinimum: 0 }) })),
    ),
    /** Examples in one optimizer step, whatever the micro-batch and the number of GPUs. */
    batchSize: Type.Integer({ minimum: 1, maximum: 512 }),
    learningRate: Type.Number({ exclusiveMinimum: 0, maximum: 1 }),
    warmupSteps: Type.Integer({ minimum: 0 }),
    schedule: Type.Union([Type.Literal('linear'), Type.Literal('cosine'), Type.Literal('constant')]),
    weightDecay: Type.Number({ minimum: 0 }),
    maxGradNorm: Type.Number({ exclusiveMinimum: 0 }),
    seed: Type.Integer({ minimum: 0, maximum: 4294967295 }),
    /** Most tokens in one forward pass; null: chosen by the trainer from the device's memory. */
    microBatchTokens: Type.Union([Type.Integer({ minimum: 8 }), Type.Null()]),
    /** Activations are computed again in the backward pass, even where memory would hold them. */
    recompute: Type.Optional(Type.Boolean()),
    /** The base model is split over the ranks (FSDP2), even where each could hold it. */
    sharded: Type.Optional(Type.Boolean()),
    /** The blocks are compiled (`torch.compile`), on a GPU; a CPU gains nothing and ignores it. */
    compile: Type.Optional(Type.Boolean()),
  }),
  checkpoints: Type.Object({
    /** Folder for `step-N/` folders, each complete once its `manifest.json` is there (written last, atomically renamed). */
    directory: Type.String({ minLength: 1 }),
    /** A checkpoint every this many steps or seconds, whichever comes first. */
    everySteps: Type.Integer({ minimum: 1 }),
    everySeconds: Type.Number({ exclusiveMinimum: 0 }),
    keep: Type.Integer({ minimum: 1 }),
    /** Folder of a complete checkpoint to go on from. A corrupt one is a `CHECKPOINT_CORRUPT` failure: the worker then names the one before. */
    resumeFrom: Type.Optional(Type.String({ minLength: 1 })),
  }),
  /** Evaluation on held-out examples while training; the adapter is then that of the step with the lowest loss on them. */
  evaluation: Type.Optional(
    Type.Object({
      path: Type.String({ minLength: 1 }),
      /** After every so many steps, and after the last. */
      everySteps: Type.Integer({ minimum: 1 }),
      maxExamples: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()]),
      /** Evaluations in a row without a lower loss that end the training; null: it runs to its last step. */
      patience: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()]),
    }),
  ),
  /** Seconds after which training ends with the step it is at, evaluated as if it were the last. At least one step is made. */
  stopAfterSeconds: Type.Optional(Type.Number({ minimum: 0 })),
  /** The step that training ends with in the same way, where a limit of time ended a run that is made once more. */
  stopAtStep: Type.Optional(Type.Integer({ minimum: 1 })),
  /** GPUs that must be there (`GPU_MISSING`), one a rank; absent or 0: a CPU will do. */
  accelerators: Type.Optional(Type.Integer({ minimum: 0 })),
  /** Folder for the finished adapter: `adapter_config.json`, `adapter_model.safetensors`, the tokenizer. */
  outputPath: Type.String({ minLength: 1 }),
});
export type TrainSpec = Static<typeof TrainSpec>;

export const EvaluateSpec = Type.Object({
  version: Type.Literal(PROTOCOL_VERSION),
  work: Type.Literal('evaluate'),
  model: ModelSpec,
  /** Folder of the tuned PEFT adapter; the base model is evaluated on the same rows with the adapter off. */
  adapterPath: Type.String({ minLength: 1 }),
  data: DataSpec,
  /** textClassification: every label of the job, the candidates of each prediction. */
  labels: Type.Optional(Type.Array(Type.String(), { minItems: 1 })),
  /** The first this many rows of the evaluation set (they are already in seeded order); null: all. */
  maxExamples: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()]),
  /** Load the adapter a second time at the end, and repeat a few rows one by one: they must give the same. */
  verify: Type.Optional(Type.Boolean()),
  /** JSON file for the full report: the metrics, per-label counts, confusion pairs, samples. */
  outputPath: Type.String({ minLength: 1 }),
});
export type EvaluateSpec = Static<typeof EvaluateSpec>;

/** Loads a finished adapter from its files and looks whether it gives finite losses, on a few rows of the training set. */
export const VerifySpec = Type.Object({
  version: Type.Literal(PROTOCOL_VERSION),
  work: Type.Literal('verify'),
  model: ModelSpec,
  adapterPath: Type.String({ minLength: 1 }),
  data: DataSpec,
});
export type VerifySpec = Static<typeof VerifySpec>;

/** Makes one model of a base model and an adapter: bfloat16 safetensors, checked by the logits of both on the texts. */
export const MergeSpec = Type.Object({
  version: Type.Literal(PROTOCOL_VERSION),
  work: Type.Literal('merge'),
  /** `quantization`: how the base was loaded in training; it is merged unquantized, with a warning when it was not. */
  model: ModelSpec,
  adapterPath: Type.String({ minLength: 1 }),
  texts: Type.Array(Type.String(), { minItems: 1 }),
  /** Of each weight file, at most, and about the memory it takes; null: 4 GiB. */
  shardBytes: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()]),
  /** Folder for the model: weights (with an index when there are several files), configuration, tokenizer. */
  outputPath: Type.String({ minLength: 1 }),
});
export type MergeSpec = Static<typeof MergeSpec>;

/** Has llama.cpp's converter write a GGUF, and reads it again. */
export const ConvertSpec = Type.Object({
  version: Type.Literal(PROTOCOL_VERSION),
  work: Type.Literal('convert'),
  /** Folder of the converter (activities/ggufConverter.ts). */
  converterPath: Type.String({ minLength: 1 }),
  /** Folder of a merged model; of an adapter when there is a `basePath`. */
  path: Type.String({ minLength: 1 }),
  /** Folder with the config.json of the adapter's base model. */
  basePath: Type.Optional(Type.String({ minLength: 1 })),
  quantization: Type.Union([Type.Literal('f32'), Type.Literal('f16'), Type.Literal('bf16'), Type.Literal('q8_0')]),
  /** The file. */
  outputPath: Type.String({ minLength: 1 }),
});
export type ConvertSpec = Static<typeof ConvertSpec>;

/** Brings a model from the Hugging Face hub into a folder. Weights come pickled (`.bin`) only where there are no others. */
export const FetchSpec = Type.Object({
  version: Type.Literal(PROTOCOL_VERSION),
  work: Type.Literal('fetch'),
  repository: Type.String({ minLength: 1 }),
  revision: Type.Optional(Type.String({ minLength: 1 })),
  kind: Type.Union([Type.Literal('base'), Type.Literal('addon')]),
  outputPath: Type.String({ minLength: 1 }),
});
export type FetchSpec = Static<typeof FetchSpec>;

/** Looks into files that someone brings, with limits and without network: converts pickled weights to safetensors, loads the tokenizer. */
export const InspectSpec = Type.Object({
  version: Type.Literal(PROTOCOL_VERSION),
  work: Type.Literal('inspect'),
  path: Type.String({ minLength: 1 }),
  /** Names of `.bin` files in `path`. */
  convert: Type.Optional(Type.Array(Type.String(), { minItems: 1 })),
  tokenizer: Type.Boolean(),
  outputPath: Type.String({ minLength: 1 }),
});
export type InspectSpec = Static<typeof InspectSpec>;

export const TrainerSpec = Type.Union([TrainSpec, EvaluateSpec, VerifySpec, MergeSpec, ConvertSpec, FetchSpec, InspectSpec]);
export type TrainerSpec = Static<typeof TrainerSpec>;

const nullableNumber = Type.Union([Type.Number(), Type.Null()]);

/** The process is up: versions of everything that runs, and the device. Sent before the model loads. */
export const StartedEvent = Type.Object({
  event: Type.Literal('started'),
  pid: Type.Integer(),
  device: Type.String(),
  versions: Type.Record(Type.String(), Type.String()),
});
/** A stage that may be long and is otherwise silent: `loadModel`, `tokenize`, `download`, `convert`, `loadTokenizer`, `evaluate` (while training), `evaluateBase`, `evaluateTuned`, `verify`, `merge`, `checkAdapter`, `checkBase`, `checkMerged`, `readModel`, `readGguf`. Also the sign of life. */
export const ProgressEvent = Type.Object({
  event: Type.Literal('progress'),
  stage: Type.String(),
  done: Type.Integer({ minimum: 0 }),
  total: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
});
const reading = {
  /** Examples that were read: at first a random sample, and all of a small set. The counts are of these. */
  readExamples: Type.Integer(),
  tokens: Type.Integer(),
  trainedTokens: Type.Integer(),
  /** Longer than the cut-off, and cut. */
  truncatedExamples: Type.Integer(),
  /** Left out of their steps, because what the cut-off leaves of them has no token to train on. */
  droppedExamples: Type.Integer(),
};
/** Data and model are ready; the plan of the whole run is fixed. `examples`: all of the set that are for training. */
export const PreparedEvent = Type.Object({
  event: Type.Literal('prepared'),
  examples: Type.Integer(),
  ...reading,
  totalSteps: Type.Integer(),
  stepsPerEpoch: Type.Integer(),
  trainableParameters: Type.Integer(),
  totalParameters: Type.Integer(),
  targetModules: Type.Array(Type.String()),
  microBatchTokens: Type.Integer(),
  recompute: Type.Boolean(),
  quantization: Type.Union([Type.Literal('none'), Type.Literal('nf4')]),
  ranks: Type.Integer({ minimum: 1 }),
  sharded: Type.Boolean(),
  /** Peak memory of a rank by the formula of docs/estimates.md; null where the weights' headers could not be read. */
  estimatedGib: Type.Union([Type.Number(), Type.Null()]),
  /** How the examples of a pack are kept apart: by PyTorch's variable-length kernel, one call an example, or a mask. */
  attention: Type.Union([Type.Literal('varlen'), Type.Literal('byExample'), Type.Literal('masked')]),
  compiled: Type.Boolean(),
  /** transformers' name of it. */
  optimizer: Type.String(),
  /** So far, by part: imports, tokenize, loadModel. */
  seconds: Type.Record(Type.String(), Type.Number()),
});
/** Memory was too small, and less is taken: at once, or by the next attempt when a `failed` event follows. The global batch stays. */
export const AdaptedEvent = Type.Object({
  event: Type.Literal('adapted'),
  code: Type.Union([Type.Literal('MICRO_BATCH_HALVED'), Type.Literal('ACTIVATIONS_RECOMPUTED'), Type.Literal('QUANTIZED')]),
  step: Type.Integer({ minimum: 0 }),
  message: Type.String(),
  microBatchTokens: Type.Integer(),
  recompute: Type.Boolean(),
  quantization: Type.Union([Type.Literal('none'), Type.Literal('nf4')]),
});
/** All examples of the first epoch were read; not sent where `prepared` told of all. */
export const DataReadEvent = Type.Object({ event: Type.Literal('dataRead'), ...reading });
export const ResumedEvent = Type.Object({ event: Type.Literal('resumed'), step: Type.Integer(), path: Type.String() });
/** What training takes of its machine; of several ranks, the first's process and GPU. */
export const MachineSample = Type.Object({
  cpuPercent: Type.Number({ description: 'Of one core' }),
  memoryBytes: Type.Optional(Type.Integer()),
  gpuMemoryBytes: Type.Optional(Type.Integer()),
  gpuPercent: Type.Optional(Type.Number()),
  gpuPowerWatts: Type.Optional(Type.Number()),
  gpuTemperature: Type.Optional(Type.Number({ description: 'Degrees Celsius' })),
});
export type MachineSample = Static<typeof MachineSample>;
/** One optimizer step. `loss` is the mean over the trained tokens of the whole global batch. */
export const StepEvent = Type.Object({
  event: Type.Literal('step'),
  step: Type.Integer({ minimum: 1 }),
  totalSteps: Type.Integer({ minimum: 1 }),
  epoch: Type.Number(),
  loss: Type.Number(),
  learningRate: Type.Number(),
  gradNorm: nullableNumber,
  tokens: Type.Integer(),
  trainedTokens: Type.Integer(),
  tokensPerSecond: Type.Number(),
  etaSeconds: nullableNumber,
  /** Mean loss over the trained tokens of the held-out examples, after the steps where it is measured. */
  evaluationLoss: Type.Optional(Type.Number()),
  /** With the first step of an attempt, and then every 15 seconds. */
  machine: Type.Optional(MachineSample),
});
/** A complete checkpoint lies at `path`; `manifestSha256` is the hash of its `manifest.json`. */
export const CheckpointEvent = Type.Object({
  event: Type.Literal('checkpoint'),
  step: Type.Integer(),
  path: Type.String(),
  manifestSha256: Type.String(),
  sizeBytes: Type.Integer(),
});
export const WarningEvent = Type.Object({ event: Type.Literal('warning'), code: Type.String(), message: Type.String() });
/** The tuned model against the base on the same rows: of an accuracy the difference, of a perplexity the quotient, with its 95 %
 * confidence interval. `pValue`: of a change at least as large if both were equally good. */
export const EvaluationChange = Type.Object({
  value: Type.Number(),
  low: Type.Number(),
  high: Type.Number(),
  pValue: Type.Number({ minimum: 0, maximum: 1 }),
});
export type EvaluationChange = Static<typeof EvaluationChange>;
export const EvaluatedEvent = Type.Object({
  event: Type.Literal('evaluated'),
  target: Type.Union([Type.Literal('base'), Type.Literal('tuned')]),
  metric: Type.Union([Type.Literal('accuracy'), Type.Literal('perplexity')]),
  value: Type.Number(),
  /** 95 % confidence interval. */
  low: Type.Number(),
  high: Type.Number(),
  examples: Type.Integer(),
  tokens: Type.Integer(),
  seconds: Type.Number(),
  /** Of the tuned model. */
  change: Type.Optional(EvaluationChange),
});
/** The adapter was loaded once more from its files, and `rows` rows repeated. The difference is of a mean loss a token. */
export const VerifiedEvent = Type.Object({
  event: Type.Literal('verified'),
  rows: Type.Integer(),
  largestDifference: Type.Number(),
});
/** The last event of work that cannot go on. `code` is one of the errors in errors.ts. */
export const FailedEvent = Type.Object({
  event: Type.Literal('failed'),
  code: Type.String(),
  message: Type.String(),
  retryable: Type.Boolean(),
});
export const InterruptedEvent = Type.Object({ event: Type.Literal('interrupted'), step: Type.Integer() });
export const CompletedEvent = Type.Object({
  event: Type.Literal('completed'),
  /** Train: the last step made. Others: 0. */
  step: Type.Integer(),
  files: Type.Array(Type.Object({ name: Type.String(), sizeBytes: Type.Integer(), sha256: Type.String() })),
  /** Train: the evaluation loss ended the training before its last step. */
  earlyStopped: Type.Optional(Type.Boolean()),
  /** Train: `stopAfterSeconds` or `stopAtStep` did. */
  timeEnded: Type.Optional(Type.Boolean()),
  /** Train with evaluation: the step whose weights the adapter has, and its loss on the held-out examples. */
  bestStep: Type.Optional(Type.Integer()),
  bestLoss: Type.Optional(Type.Number()),
  /** Train: the most memory that it held, GiB: of the GPU what PyTorch allocated, on a CPU all of the process. */
  peakGib: Type.Optional(Type.Number()),
  /** Merge: root mean square of the differences of logits from base and adapter, as a share of the logits' spread; `effect` is
   * that of the base model without the adapter. */
  merged: Type.Optional(
    Type.Object({ difference: Type.Number(), effect: Type.Number(), tolerance: Type.Number(), tokens: Type.Integer() }),
  ),
  /** Convert: tensors of the GGUF, weights in its matrices, and how far their mean size is from that of the source, as a share. */
  converted: Type.Optional(Type.Object({ tensors: Type.Integer(), weights: Type.Integer(), weightDifference: Type.Number() })),
  /** Fetch: the commit that was brought. */
  commit: Type.Optional(Type.String()),
  /** Inspect: the tokenizer's highest ID and one. */
  tokens: Type.Optional(Type.Integer()),
  /** Seconds by part: imports, loadModel, tokenize, train, checkpoints, save; `data`, the time that the steps waited for their examples. */
  seconds: Type.Record(Type.String(), Type.Number()),
});

export const TrainerEvent = Type.Union([
  StartedEvent,
  ProgressEvent,
  PreparedEvent,
  DataReadEvent,
  ResumedEvent,
  StepEvent,
  CheckpointEvent,
  AdaptedEvent,
  WarningEvent,
  EvaluatedEvent,
  VerifiedEvent,
  FailedEvent,
  InterruptedEvent,
  CompletedEvent,
]);
export type TrainerEvent = Static<typeof TrainerEvent>;
export type AdaptedEvent = Static<typeof AdaptedEvent>;
export type StepEvent = Static<typeof StepEvent>;
export type EvaluatedEvent = Static<typeof EvaluatedEvent>;
export type PreparedEvent = Static<typeof PreparedEvent>;
export type CheckpointEvent = Static<typeof CheckpointEvent>;
export type DataReadEvent = Static<typeof DataReadEvent>;
export type CompletedEvent = Static<typeof CompletedEvent>;
