/**
 * A job's request to its settings: every value that training depends on, with where it came from. All that can be refused is
 * refused here, each with its own code, before anything is created; the worker looks once more before anything is spent.
 */
import { BASE_MODELS, findBaseModel, type BaseModel } from '../schemas/baseModels.js';
import { fieldError, notFound, TemperError } from '../schemas/errors.js';
import {
  ALPHA_PER_RANK,
  DEFAULT_EVALUATION_SPLIT,
  DEFAULT_LORA_DROPOUT,
  DEFAULT_MAX_GRAD_NORM,
  DEFAULT_SEED,
  DEFAULT_WEIGHT_DECAY,
  MAX_LEARNING_RATE,
  MAX_LORA_RANK,
} from '../schemas/limits.js';
import { parseName, resourceName } from '../schemas/names.js';
import type { JobSettings, SettingOrigin, SettingOrigins } from '../schemas/task.js';
import { findById, findTunableModel } from '../stores/baseModels.js';
import type { Database, StoredFile } from '../stores/database.js';
import { findDataset, type DatasetRecord } from '../stores/datasets.js';
import { findModel } from '../stores/models.js';
import type { ObjectStore } from '../stores/objects.js';
import { readQuota, type QuotaRecord } from '../stores/quotas.js';
import { isSilent, listWorkers } from '../stores/workers.js';
import { findStartCheckpoint, type StartCheckpoint } from './checkpoints.js';
import { checkTaskAgainstDataset } from './checkTask.js';
import type { JobRequest } from './jobRequest.js';
import { resolveModelName } from './modelNames.js';
import { didYouMean } from '../schemas/suggest.js';

export interface ResolvedJob {
  settings: JobSettings;
  origins: SettingOrigins;
  dataset: DatasetRecord;
  /** The adapter of a checkpoint to start from: where its files lie now. */
  startFiles?: StoredFile[];
  /** To be shown as events of the job. */
  warnings: { code: string; message: string }[];
}

export interface SettingsSources {
  database: Database;
  objects: ObjectStore;
  tmpFolder: string;
}

export async function resolveSettings(sources: SettingsSources, accountId: string, request: JobRequest): Promise<ResolvedJob> {
  const start = await resolveStart(sources.database, accountId, request);
  const dataset = await requireReadyDataset(sources.database, accountId, 'dataset', request.dataset);
  const { model } = start;
  const origins: SettingOrigins = {};
  const pick = <T>(setting: keyof JobSettings, given: T | undefined, otherwise: T, origin: SettingOrigin): T => {
    origins[setting] = given === undefined ? origin : 'given';
    return given ?? otherwise;
  };
  const loraRank = resolveRank(start, request);
  origins['loraRank'] = start.rank !== undefined ? 'derived' : request.loraRank === undefined ? 'baseModel' : 'given';
  const evaluation = await resolveEvaluation(sources, accountId, request, dataset, origins);
  const settings: JobSettings = {
    task: request.task,
    baseModel: model.name,
    ...(start.warmStartFrom ? { warmStartFrom: start.warmStartFrom } : {}),
    ...(start.checkpoint ? { fromCheckpoint: describeStart(start.checkpoint) } : {}),
    epochs: pick('epochs', request.epochs, model.epochs, 'baseModel'),
    learningRate: pick('learningRate', resolveLearningRate(model, request), model.learningRate, 'baseModel'),
    batchSize: pick('batchSize', request.batchSize, model.batchSize, 'baseModel'),
    loraRank,
    loraAlpha: loraRank * ALPHA_PER_RANK,
    loraDropout: DEFAULT_LORA_DROPOUT,
    quantization: pick('quantization', resolveQuantization(model, request), model.quantization, 'baseModel'),
    ...(await resolveAccelerators(sources.database, request, origins)),
    warmupSteps: pick('warmupSteps', request.warmupSteps, null, 'default'),
    schedule: 'cosine',
    weightDecay: pick('weightDecay', request.weightDecay, DEFAULT_WEIGHT_DECAY, 'default'),
    maxGradNorm: DEFAULT_MAX_GRAD_NORM,
    cutoffLength: resolveCutoff(model, request, origins),
    seed: pick('seed', request.seed, DEFAULT_SEED, 'default'),
    ...evaluation,
    ...resolveInTraining(request, evaluation.evaluation, pick),
    ...resolveTimeLimits(request, origins),
    ...(request.requireApproval === undefined
      ? {}
      : { requireApproval: pick('requireApproval', request.requireApproval, false, 'default') }),
  };
  Object.assign(origins, {
    task: 'given',
    baseModel: start.rank !== undefined ? 'derived' : 'given',
    loraAlpha: 'derived',
    loraDropout: 'default',
    schedule: 'default',
    maxGradNorm: 'default',
  });
  if (start.warmStartFrom) origins['warmStartFrom'] = 'given';
  checkAmount(settings, dataset, await readQuota(sources.database, accountId, 'examples-times-epochs'));
  const warnings = request.warnings.map((message) => ({ code: 'SETTING_WITHOUT_EFFECT', message }));
  if (start.checkpoint) origins['fromCheckpoint'] = 'given';
  const startFiles = start.checkpoint?.files;
  return {
    settings,
    origins,
    dataset,
    startFiles,
    warnings: [...warnings, ...(await checkTaskAgainstDataset(sources, settings.task, dataset))],
  };
}

interface Start {
  model: BaseModel;
  /** The rank of the adapter to go on from. */
  rank?: number;
  warmStartFrom?: string;
  checkpoint?: StartCheckpoint;
}

/** A base model, or an adapter of the account that brings its base model with it. */
export async function resolveStart(
  database: Database,
  accountId: string,
  { baseModel, warmStartFrom, fromCheckpoint }: Pick<JobRequest, 'baseModel' | 'warmStartFrom' | 'fromCheckpoint'>,
): Promise<Start> {
  if (fromCheckpoint !== undefined) {
    const other = baseModel !== undefined ? 'baseModel' : warmStartFrom !== undefined ? 'warmStartFrom' : null;
    if (other)
      throw new TemperError('BASE_MODEL_AND_WARM_START', `A checkpoint brings its base model with it: leave ${other} out.`, [
        { reason: 'BASE_MODEL_AND_WARM_START', field: other },
        { reason: 'BASE_MODEL_AND_WARM_START', field: 'fromCheckpoint' },
      ]);
    return resolveCheckpoint(database, accountId, fromCheckpoint);
  }
  if (baseModel !== undefined && warmStartFrom !== undefined) {
    throw new TemperError(
      'BASE_MODEL_AND_WARM_START',
      'Give either baseModel or warmStartFrom, not both: an adapter brings its base model with it.',
      [
        { reason: 'BASE_MODEL_AND_WARM_START', field: 'baseModel' },
        { reason: 'BASE_MODEL_AND_WARM_START', field: 'warmStartFrom' },
      ],
    );
  }
  if (warmStartFrom !== undefined) return resolveWarmStart(database, accountId, await resolveModelName(database, accountId, warmStartFrom));
  if (baseModel === undefined)
    throw fieldError(
      'BASE_MODEL_MISSING',
      'baseModel',
      `Say what to tune: give baseModel, for example ${BASE_MODELS[0]!.name}, or warmStartFrom with an adapter of yours.`,
    );
  const named = await resolveModelName(database, accountId, baseModel);
  const model = await findTunableModel(database, accountId, named);
  if (model) return { model };
  const parsed = parseName(named, 'models', accountId);
  const own = parsed?.accountId === accountId ? await findModel(database, accountId, parsed.id) : undefined;
  if (own?.kind === 'HF_BASE_MODEL') {
    const why = own.status_message || 'upload its files and call :validateUpload.';
    throw fieldError('MODEL_NOT_READY', 'baseModel', `${baseModel} is not READY: ${why}`);
  }
  if (own)
    throw fieldError(
      'BASE_MODEL_NOT_TUNABLE',
      'baseModel',
      `${baseModel} is an adapter, not a base model: to go on from it, give it as warmStartFrom.`,
    );
  const hint = didYouMean(
    baseModel,
    BASE_MODELS.map(({ name }) => name),
  );
  const lists = 'The list: GET /v1/accounts/fireworks/models and /v1/accounts/temper/models.';
  throw fieldError('BASE_MODEL_NOT_FOUND', 'baseModel', `The base model ${baseModel} was not found${hint}. ${lists}`);
}

async function resolveCheckpoint(database: Database, accountId: string, given: string): Promise<Start> {
  const checkpoint = await findStartCheckpoint(database, accountId, given);
  const { base_model: baseModel, settings } = checkpoint.job;
  const model = await findTunableModel(database, accountId, baseModel);
  if (model) return { model, rank: settings.loraRank, checkpoint };
  const message = `${given} was trained on ${baseModel}, which is not among the base models here.`;
  throw fieldError('WARM_START_MISMATCH', 'fromCheckpoint', message);
}

function describeStart({ name, step, files }: StartCheckpoint): JobSettings['fromCheckpoint'] {
  return { job: name, step, files: files.map(({ name: file, sha256, sizeBytes }) => ({ name: file, sha256, sizeBytes })) };
}

async function resolveWarmStart(database: Database, accountId: string, given: string): Promise<Start> {
  const absent = () =>
    fieldError(
      'WARM_START_NOT_FOUND',
      'warmStartFrom',
      `The model ${given} was not found, or you have no access to it. Your models: GET /v1/accounts/${accountId}/models.`,
    );
  if (findBaseModel(given) ?? findById(given))
    throw fieldError('WARM_START_NOT_READY', 'warmStartFrom', `${given} is a base model, not an adapter: give it as baseModel.`);
  const parsed = parseName(given, 'models', accountId);
  const model = parsed?.accountId === accountId ? await findModel(database, accountId, parsed.id) : undefined;
  if (!model) throw absent();
  if (model.kind !== 'HF_PEFT_ADDON')
    throw fieldError('WARM_START_NOT_READY', 'warmStartFrom', `${given} is no adapter: give it as baseModel.`);
  if (model.state !== 'READY' || !model.peft)
    throw fieldError(
      'WARM_START_NOT_READY',
      'warmStartFrom',
      model.job_name
        ? `${given} is ${model.state}: wait for the job that makes it, and then start this one.`
        : `${given} is ${model.state}: ${model.status_message || 'upload its files and call :validateUpload.'}`,
    );
  if (model.peft.untunable)
    throw fieldError('WARM_START_MISMATCH', 'warmStartFrom', `${given} cannot be tuned further: ${model.peft.untunable}`);
  const base = await findTunableModel(database, accountId, model.peft.baseModel);
  if (!base)
    throw fieldError(
      'WARM_START_MISMATCH',
      'warmStartFrom',
      `${given} was trained on ${model.peft.baseModel}, which is not among the base models here.`,
    );
  return { model: base, rank: model.peft.r, warmStartFrom: resourceName(accountId, 'models', model.id) };
}

function resolveLearningRate(model: BaseModel, { learningRate, learningRateMultiplier }: JobRequest): number | undefined {
  if (learningRateMultiplier === undefined) return learningRate;
  const rate = learningRateMultiplier * model.learningRate;
  if (rate <= MAX_LEARNING_RATE) return rate;
  const message = `${learningRateMultiplier} times the rate of ${model.name}, ${model.learningRate}, is more than ${MAX_LEARNING_RATE}.`;
  throw fieldError('LEARNING_RATE_OUT_OF_RANGE', 'learningRate', message);
}

function resolveQuantization(model: BaseModel, { quantization }: JobRequest): JobRequest['quantization'] {
  if (quantization !== 'nf4' || !model.mixtureOfExperts) return quantization;
  const message = `${model.name} is a mixture of experts, which nf4 leaves in 16 bits: it would save no memory. Leave quantization out, or say none.`;
  throw fieldError('QUANTIZATION_UNSUPPORTED', 'quantization', message);
}

function resolveRank({ model, rank, warmStartFrom, checkpoint }: Start, { loraRank }: JobRequest): number {
  if (rank === undefined) return Math.min(loraRank ?? model.loraRank, MAX_LORA_RANK);
  if (loraRank !== undefined && loraRank !== rank) {
    throw fieldError(
      'WARM_START_MISMATCH',
      'loraRank',
      `loraRank ${loraRank} does not fit ${warmStartFrom ?? checkpoint?.name}, which has rank ${rank}: an adapter keeps its rank. Leave loraRank out.`,
    );
  }
  return rank;
}

function resolveCutoff(model: BaseModel, { maxContextLength }: JobRequest, origins: SettingOrigins): number {
  origins['cutoffLength'] = maxContextLength === undefined ? 'baseModel' : 'given';
  if (maxContextLength !== undefined && maxContextLength > model.cutoffLength) {
    throw fieldError(
      'INVALID_FIELD',
      'maxContextLength',
      `maxContextLength ${maxContextLength} is more than ${model.name} takes: at most ${model.cutoffLength} tokens.`,
    );
  }
  return maxContextLength ?? model.cutoffLength;
}

/** A held-out share by default; a dataset of its own, or nothing, as asked. */
async function resolveEvaluation(
  sources: SettingsSources,
  accountId: string,
  request: JobRequest,
  dataset: DatasetRecord,
  origins: SettingOrigins,
): Promise<Pick<JobSettings, 'evaluation' | 'evaluationSplit' | 'evaluationDataset'>> {
  const { evaluation, evaluationSplit, evaluationDataset, task } = request;
  origins['evaluation'] = evaluation === undefined ? 'default' : 'given';
  origins['evaluationSplit'] = evaluationSplit === undefined ? 'default' : 'given';
  if (evaluation === false && (evaluationSplit !== undefined || evaluationDataset !== undefined)) {
    const field = evaluationSplit !== undefined ? 'evaluationSplit' : 'evaluationDataset';
    throw fieldError(
      'EVALUATION_SPLIT_WITHOUT_EVALUATION',
      field,
      `${field} has no meaning with evaluation: false. Leave one of them out.`,
    );
  }
  if (evaluation === false) return { evaluation: false, evaluationSplit: 0 };
  if (evaluationDataset !== undefined) {
    if (evaluationSplit !== undefined)
      throw fieldError(
        'INVALID_FIELD',
        'evaluationSplit',
        'evaluationSplit has no meaning beside evaluationDataset: leave one of them out.',
      );
    const own = await requireReadyDataset(sources.database, accountId, 'evaluationDataset', evaluationDataset);
    await checkTaskAgainstDataset(sources, task, own).catch((error: unknown) => {
      throw ofEvaluationDataset(error);
    });
    origins['evaluationDataset'] = 'given';
    return { evaluation: true, evaluationSplit: 0, evaluationDataset: resourceName(accountId, 'datasets', own.id) };
  }
  if (dataset.examples >= 2) return { evaluation: true, evaluationSplit: evaluationSplit ?? DEFAULT_EVALUATION_SPLIT };
  if (evaluation === undefined && evaluationSplit === undefined) return { evaluation: false, evaluationSplit: 0 };
  throw fieldError(
    'DATASET_TOO_SMALL_TO_SPLIT',
    evaluation ? 'evaluation' : 'evaluationSplit',
    'The dataset has one example: there is nothing to hold back for evaluation. Add examples, or set evaluation to false.',
  );
}

/** @throws TemperError when no living worker has as many. Where none is known, the job waits for one. */
async function resolveAccelerators(
  database: Database,
  { acceleratorCount }: JobRequest,
  origins: SettingOrigins,
): Promise<Pick<JobSettings, 'acceleratorCount'>> {
  if (acceleratorCount === undefined) return {};
  origins['acceleratorCount'] = 'given';
  const workers = (await listWorkers(database)).filter((worker) => worker.kind === 'gpu' && !isSilent(worker));
  const most = Math.max(1, ...workers.map(({ report }) => report.trainer?.gpus.length ?? 0));
  if (workers.length > 0 && acceleratorCount > most)
    throw fieldError(
      'ACCELERATORS_UNAVAILABLE',
      'acceleratorCount',
      `acceleratorCount: the job asks for ${acceleratorCount} GPUs of one machine, and no worker has more than ${most}. Ask for fewer, or add a worker.`,
    );
  return { acceleratorCount };
}

/** Needs rows to look at: asked for without an evaluation, it is a wish that cannot be met. */
function resolveInTraining(
  { evaluationSteps, earlyStop }: JobRequest,
  evaluation: boolean,
  pick: <T>(setting: keyof JobSettings, given: T | undefined, otherwise: T, origin: SettingOrigin) => T,
): Pick<JobSettings, 'evaluationSteps' | 'earlyStop'> {
  if (!evaluation && (evaluationSteps !== undefined || earlyStop)) {
    const field = earlyStop ? 'earlyStop' : 'evaluationSteps';
    const message = `${field} needs held-out examples to look at, and this job has none: turn evaluation on, or leave ${field} out.`;
    throw fieldError('EVALUATION_SPLIT_WITHOUT_EVALUATION', field, message);
  }
  return {
    evaluationSteps: pick('evaluationSteps', evaluationSteps, null, 'default'),
    earlyStop: pick('earlyStop', earlyStop, false, 'default'),
  };
}

function resolveTimeLimits(
  { maxGpuSeconds, deadline }: JobRequest,
  origins: SettingOrigins,
): Pick<JobSettings, 'maxGpuSeconds' | 'deadline'> {
  if (deadline !== undefined && Date.parse(deadline) <= Date.now())
    throw fieldError('INVALID_FIELD', 'deadline', `deadline ${deadline} has passed: give a time to come, or leave it out.`);
  if (maxGpuSeconds !== undefined) origins['maxGpuSeconds'] = 'given';
  if (deadline !== undefined) origins['deadline'] = 'given';
  return { ...(maxGpuSeconds === undefined ? {} : { maxGpuSeconds }), ...(deadline === undefined ? {} : { deadline }) };
}

/** The same refusal, told apart from one of the training rows. */
function ofEvaluationDataset(error: unknown): unknown {
  if (!(error instanceof TemperError)) return error;
  const details = error.details.map((detail) => ({ ...detail, field: 'evaluationDataset' }));
  return new TemperError(error.code, `The evaluation dataset does not fit the job: ${error.message}`, details);
}

async function requireReadyDataset(
  database: Database,
  accountId: string,
  field: string,
  given: string | undefined,
): Promise<DatasetRecord> {
  if (given === undefined || given === '')
    throw fieldError(
      'MISSING_FIELD',
      field,
      `${field} is missing: the name of the dataset to train on, accounts/${accountId}/datasets/ID.`,
    );
  const parsed = parseName(given, 'datasets', accountId);
  if (!parsed)
    throw fieldError(
      'INVALID_FIELD',
      field,
      `${field} must be accounts/${accountId}/datasets/ID, not ${JSON.stringify(given.slice(0, 100))}.`,
    );
  const dataset = parsed.accountId === accountId ? await findDataset(database, accountId, parsed.id) : undefined;
  if (!dataset) throw notFound(parsed.accountId, 'datasets', parsed.id);
  if (dataset.state !== 'READY') {
    const reason = dataset.status_message
      ? `its validation failed: ${dataset.status_message}`
      : 'upload its file and wait until it is READY.';
    throw fieldError('DATASET_NOT_READY', field, `${given} is not READY; ${reason}`);
  }
  return dataset;
}

/** @throws TemperError when it is more than the account may train in one job, or nothing at all */
export function checkAmount(
  { epochs, evaluationSplit }: Pick<JobSettings, 'epochs' | 'evaluationSplit'>,
  { examples }: Pick<DatasetRecord, 'examples'>,
  quota: QuotaRecord,
): void {
  if (examples * epochs > quota.value) {
    const amount = `${examples} examples × ${epochs} epochs are ${examples * epochs}, more than the quota ${quota.id}, ${quota.value}`;
    const message = `${amount}. Use fewer epochs or a smaller dataset.`;
    throw fieldError('EXAMPLES_TIMES_EPOCHS_TOO_LARGE', 'epochs', message);
  }
  const trained = Math.max(1, examples - Math.round(examples * evaluationSplit));
  if (trained * epochs < 1) {
    const least = (1 / trained).toPrecision(3);
    const amount = `${epochs} epochs of ${trained} examples are less than one example`;
    throw fieldError('EPOCHS_NOT_POSITIVE', 'epochs', `${amount}: there would be nothing to train on. Use at least ${least}.`);
  }
}
