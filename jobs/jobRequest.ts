/** What a client asked for, in either shape, as one request: which kind of job, which numbers were given, what was given in vain. */
import { fieldError, TemperError } from '../schemas/errors.js';
import type { FineTuningJob, SupervisedFineTuningJob } from '../schemas/job.js';
import { MAX_BATCH_SIZE } from '../schemas/limits.js';
import { parseName } from '../schemas/names.js';
import type { Task } from '../schemas/task.js';
import { WANDB_SECRET } from './wandbKey.js';

export interface WandbRequest {
  apiKey: string;
  project: string;
  entity?: string;
  runId?: string;
}

/** Numbers are absent where the request leaves them to defaults. */
export interface JobRequest {
  displayName: string;
  dataset?: string;
  baseModel?: string;
  warmStartFrom?: string;
  /** `JOB` or `JOB@STEP`. */
  fromCheckpoint?: string;
  task: Task;
  epochs?: number;
  learningRate?: number;
  /** Instead of a rate: a multiple of the base model's own. */
  learningRateMultiplier?: number;
  batchSize?: number;
  loraRank?: number;
  warmupSteps?: number;
  weightDecay?: number;
  maxContextLength?: number;
  quantization?: 'none' | 'nf4' | 'auto';
  acceleratorCount?: number;
  seed?: number;
  evaluationSteps?: number;
  earlyStop?: boolean;
  maxGpuSeconds?: number;
  /** ISO 8601. */
  deadline?: string;
  requireApproval?: boolean;
  priority?: number;
  evaluation?: boolean;
  evaluationSplit?: number;
  evaluationDataset?: string;
  wandb: WandbRequest | null;
  mlflowExperiment?: string;
  tensorboard?: boolean;
  /** ID of the model to make. */
  modelId?: string;
  /** What the job will show as warnings: settings that were accepted and have no effect. */
  warnings: string[];
}

/**
 * From the shape of `fineTuningJobs`.
 * @param wandbKey  the account's, for a request that wants to report and has none
 */
export function readFineTuningJob(body: FineTuningJob, accountId: string, wandbKey: string | null = null): JobRequest {
  return {
    ...sharedFields(body),
    task: readTask(body),
    batchSize: body.batchSize,
    evaluation: body.evaluation,
    evaluationSplit: body.evaluationSplit,
    wandb: readWandb(
      { apiKey: body.wandbApiKey, project: body.wandbProject, entity: body.wandbEntity },
      { apiKey: 'wandbApiKey', project: 'wandbProject', entity: 'wandbEntity' },
      wandbKey,
    ),
    modelId: body.modelId ?? readModelId(body.outputModel, accountId),
    warnings: [],
  };
}

/** From the shape of `supervisedFineTuningJobs`: always conversations, for `{prompt, completion}` rows are conversations of one turn. */
export function readSupervisedJob(body: SupervisedFineTuningJob, accountId: string, wandbKey: string | null = null): JobRequest {
  const { batchSize, warnings } = readSupervisedBatchSize(body);
  const { enabled, ...wandb } = body.wandbConfig ?? {};
  return {
    ...sharedFields(body),
    task: { kind: 'conversation', ...(body.jinjaTemplate !== undefined ? { jinjaTemplate: body.jinjaTemplate } : {}) },
    batchSize,
    warmupSteps: body.learningRateWarmupSteps,
    weightDecay: body.optimizerWeightDecay,
    maxContextLength: body.maxContextLength,
    evaluation: body.evaluationDataset === undefined ? body.evalAutoCarveout : undefined,
    wandb:
      enabled === false
        ? null
        : readWandb(
            wandb,
            {
              apiKey: 'wandbConfig.apiKey',
              project: 'wandbConfig.project',
              entity: 'wandbConfig.entity',
              runId: 'wandbConfig.runId',
            },
            wandbKey,
          ),
    modelId: readModelId(body.outputModel, accountId),
    warnings,
  };
}

/** Fields of the same name and meaning in both shapes. */
function sharedFields(body: FineTuningJob | SupervisedFineTuningJob) {
  const {
    dataset,
    baseModel,
    warmStartFrom,
    fromCheckpoint,
    epochs,
    learningRate,
    loraRank,
    acceleratorCount,
    seed,
    priority,
    evaluationDataset,
    evaluationSteps,
    earlyStop,
    maxGpuSeconds,
    deadline,
    requireApproval,
    mlflowExperiment,
    tensorboard,
  } = body;
  const quantization = body.quantization as JobRequest['quantization'];
  return {
    displayName: body.displayName ?? '',
    dataset,
    baseModel,
    warmStartFrom,
    fromCheckpoint,
    epochs,
    learningRate,
    loraRank,
    quantization,
    acceleratorCount,
    seed,
    priority,
    evaluationDataset,
    evaluationSteps,
    earlyStop,
    maxGpuSeconds,
    deadline,
    requireApproval,
    mlflowExperiment,
    tensorboard,
  };
}

function readTask({ textCompletion, textClassification, conversation }: FineTuningJob): Task {
  const given = Object.entries({ textCompletion, textClassification, conversation })
    .filter(([, block]) => block !== undefined)
    .map(([name]) => name);
  if (given.length === 0) {
    throw new TemperError(
      'JOB_KIND_MISSING',
      'Say what kind of job it is: give one of textCompletion, textClassification and conversation (an empty conversation {} is enough).',
    );
  }
  if (given.length > 1) {
    throw new TemperError(
      'JOB_KIND_AMBIGUOUS',
      `A job is of one kind: give only one of ${given.join(' and ')}.`,
      given.map((field) => ({ reason: 'JOB_KIND_AMBIGUOUS', field })),
    );
  }
  if (textCompletion) return { kind: 'textCompletion', ...textCompletion };
  if (textClassification) return { kind: 'textClassification', ...textClassification };
  return { kind: 'conversation', ...conversation };
}

/** There, `batchSize` is the tokens of a pack, which decides about memory and not about results; a small number can only mean examples. */
function readSupervisedBatchSize({ batchSize, batchSizeSamples }: SupervisedFineTuningJob): { batchSize?: number; warnings: string[] } {
  if (batchSize === undefined) return { batchSize: batchSizeSamples, warnings: [] };
  if (batchSize > 2 * MAX_BATCH_SIZE - 1) {
    return {
      batchSize: batchSizeSamples,
      warnings: [
        `batchSize ${batchSize} counts tokens of a pack and has no effect: the trainer packs as its memory allows. ` +
          'Use batchSizeSamples for the examples of a step.',
      ],
    };
  }
  if (!Number.isInteger(Math.log2(batchSize))) {
    throw fieldError(
      'BATCH_SIZE_NOT_POWER_OF_TWO',
      'batchSize',
      `batchSize must be a power of two from 1 to ${MAX_BATCH_SIZE}, not ${batchSize}. Use batchSizeSamples for the examples of a step.`,
    );
  }
  if (batchSizeSamples !== undefined && batchSizeSamples !== batchSize) {
    throw fieldError(
      'BATCH_SIZE_NOT_POWER_OF_TWO',
      'batchSize',
      `batchSize ${batchSize} and batchSizeSamples ${batchSizeSamples} both count examples: give one of them.`,
    );
  }
  return { batchSize, warnings: [] };
}

/** Reporting to Weights & Biases needs a key and a project; neither alone is a wish that can be met. */
function readWandb(
  given: Partial<WandbRequest>,
  fields: Partial<Record<keyof WandbRequest, string>>,
  accountKey: string | null,
): WandbRequest | null {
  const { project, entity, runId } = given;
  if (!given.apiKey && !project && !entity && !runId) return null;
  const apiKey = given.apiKey || accountKey;
  const invalid = (field: keyof WandbRequest, problem: string) =>
    fieldError('WANDB_CONFIG_INVALID', fields[field] ?? field, `${fields[field] ?? field} ${problem}`);
  if (!apiKey)
    throw invalid(
      'apiKey',
      `is missing: reporting to Weights & Biases needs a key. Give it here, or store it as the account's secret ${WANDB_SECRET}; leave the other fields out if no report is wanted.`,
    );
  if (!project) throw invalid('project', 'is missing: a report to Weights & Biases needs the project to go to.');
  requireWandbKey(apiKey, fields.apiKey ?? 'apiKey');
  if (!/^[^/\\#?%:]{1,128}$/.test(project)) throw invalid('project', 'must be 1 to 128 characters without / \\ # ? % :');
  if (entity !== undefined && !/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(entity))
    throw invalid('entity', 'must be the name of a user or team: letters, digits, - _ and .');
  if (runId !== undefined && !/^[A-Za-z0-9_-]{1,128}$/.test(runId)) throw invalid('runId', 'must be 1 to 128 letters, digits, - or _');
  return { apiKey, project, ...(entity ? { entity } : {}), ...(runId ? { runId } : {}) };
}

/** Neither the key itself nor a part of it is in the answer. */
export function requireWandbKey(key: string, field: string): string {
  if (/^[\x21-\x7e]{8,256}$/.test(key)) return key;
  const problem = 'is not a key: it must be 8 to 256 printable characters without spaces or line breaks.';
  throw fieldError('WANDB_CONFIG_INVALID', field, `${field} ${problem}`);
}

/** `outputModel` is an ID, or the name of a model of the account. */
function readModelId(outputModel: string | undefined, accountId: string): string | undefined {
  if (outputModel === undefined || outputModel === '') return undefined;
  const parsed = parseName(outputModel, 'models', accountId);
  if (parsed?.accountId === accountId) return parsed.id;
  throw fieldError(
    'INVALID_ID',
    'outputModel',
    `outputModel must be a model ID (1 to 63 characters of a-z, 0-9 and hyphen), or accounts/${accountId}/models/ID.`,
  );
}

/** The request as it is stored and hashed: without secrets. */
export function withoutSecrets(body: object): Record<string, unknown> {
  const { wandbApiKey: _key, wandbConfig, ...rest } = body as Record<string, unknown>;
  if (typeof wandbConfig !== 'object' || wandbConfig === null) return rest;
  const { apiKey: _inner, ...config } = wandbConfig as Record<string, unknown>;
  return { ...rest, wandbConfig: config };
}
