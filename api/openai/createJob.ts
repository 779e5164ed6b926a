/** Creating a job from OpenAI's request: its files awaited, its model found, its words turned into ours. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyRequest } from 'fastify';
import { insertJob } from '../../jobs/createJob.js';
import type { JobRequest, WandbRequest } from '../../jobs/jobRequest.js';
import { readAccountWandbKey, WANDB_SECRET } from '../../jobs/wandbKey.js';
import { fieldError, TemperError } from '../../schemas/errors.js';
import type { CreateFineTuningJob, HyperparametersGiven } from '../../schemas/openai.js';
import type { Database, OpenaiJobSettings } from '../../stores/database.js';
import { findDataset } from '../../stores/datasets.js';
import { findRecentJob } from '../../stores/jobHistory.js';
import { findJob, type JobRecord } from '../../stores/jobs.js';
import { makeId, readIdempotencyKey, requestHash, requireSameRequest } from '../idempotency.js';
import type { ApiDependencies } from '../server.js';
import { startJob } from '../temporal.js';
import { cleanSuffix, resolveModel, tunedModelName } from './modelNames.js';
import { isRepetition, REPEATED_WITHIN_SECONDS } from './retries.js';

/** Programs create a job right after uploading its file: validation is waited for, as long as connections are usually kept. */
const FILE_WAIT_MS = 50_000;
const LOOK_EVERY_MS = 250;

export async function createOpenaiJob(dependencies: ApiDependencies, request: FastifyRequest, closing: AbortSignal): Promise<JobRecord> {
  const { database, objects, temporal, config } = dependencies;
  const { accountId, email } = request.caller;
  const body = request.body as CreateFineTuningJob;
  const hash = requestHash(config.secretKey, 'openai', body);
  const key = await readIdempotencyKey(request, database, hash);
  const id = makeId('ftjob', key, accountId, config.secretKey);
  const known = isRepetition(request)
    ? await findRecentJob(database, accountId, hash, REPEATED_WITHIN_SECONDS)
    : await findJob(database, accountId, id);
  const job = known ?? (await insert());
  requireSameRequest(job.request_hash, hash, job.id);
  if (!job.workflow_started) {
    // The job stands from here on. If its workflow cannot be started now, it will be within seconds of Temporal's return.
    await startJob(temporal, database, job).catch((error: Error) =>
      request.log.warn({ job: job.id, cause: error.message }, 'workflow not started yet'),
    );
  }
  return job;

  async function insert(): Promise<JobRecord> {
    const hyperparameters = readHyperparameters(body);
    const start = await resolveModel(database, accountId, config.modelAliases, body.model);
    const wandb = await readWandb(dependencies, accountId, body);
    for (const [parameter, file] of Object.entries({ training_file: body.training_file, validation_file: body.validation_file }))
      if (file != null) await requireProcessed(database, accountId, parameter, file, () => closing.aborted || request.raw.socket.destroyed);

    const suffix = cleanSuffix(body.suffix);
    const unique = id.slice(id.indexOf('-') + 1);
    const wanted: JobRequest = {
      displayName: body.integrations?.[0]?.wandb?.name ?? suffix.slice(0, 63),
      dataset: body.training_file,
      ...('warmStartFrom' in start ? { warmStartFrom: start.warmStartFrom } : { baseModel: start.baseModel }),
      task: { kind: 'conversation' },
      epochs: hyperparameters.n_epochs,
      batchSize: hyperparameters.batch_size,
      learningRateMultiplier: hyperparameters.learning_rate_multiplier,
      seed: body.seed ?? undefined,
      // All of the training file is trained on; what is evaluated is the validation file.
      ...(body.validation_file != null ? { evaluationDataset: body.validation_file } : { evaluation: false }),
      wandb,
      modelId: modelId(suffix, unique),
      warnings: [],
    };
    const openai: OpenaiJobSettings = {
      model: start.shown,
      fineTunedModel: tunedModelName({ accountId, baseModel: start.baseModel, suffix, id: unique }),
      suffix: body.suffix ?? null,
      metadata: body.metadata ?? null,
      learningRateMultiplier: hyperparameters.learning_rate_multiplier ?? 1,
      integrations: (body.integrations ?? null) as OpenaiJobSettings['integrations'],
    };
    return insertJob(
      { database, objects, tmpFolder: config.tmpFolder, secretKeys: config.secretKeys, prices: config.prices },
      { accountId, id, collection: 'supervisedFineTuningJobs', body, requestHash: hash, request: wanted, openai, createdBy: email },
    );
  }
}

/** The suffix, as far as it can be part of an ID, before what makes it unique. */
function modelId(suffix: string, unique: string): string {
  const slug = suffix
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 48)
    .replace(/^-+|-+$/g, '');
  return `${slug || 'ft'}-${unique}`;
}

type Hyperparameters = { [Name in keyof HyperparametersGiven]?: number };

function readHyperparameters({ method, hyperparameters }: CreateFineTuningJob): Hyperparameters {
  const type = method?.type ?? 'supervised';
  if (type !== 'supervised')
    throw fieldError('INVALID_FIELD', 'method.type', `method.type "${type}" is not supported here: only "supervised" is.`);
  const given = method?.supervised?.hyperparameters;
  const values: Hyperparameters = {};
  for (const name of ['batch_size', 'learning_rate_multiplier', 'n_epochs'] as const) {
    const [newer, older] = [given?.[name], hyperparameters?.[name]];
    if (newer != null && older != null && newer !== older)
      throw fieldError(
        'INVALID_FIELD',
        `hyperparameters.${name}`,
        `hyperparameters.${name} is ${older}, and method.supervised.hyperparameters.${name} is ${newer}: give one of them, the latter.`,
      );
    const value = newer ?? older;
    if (value != null && value !== 'auto') values[name] = value;
  }
  return values;
}

async function readWandb(
  { database, config }: ApiDependencies,
  accountId: string,
  { integrations }: CreateFineTuningJob,
): Promise<WandbRequest | null> {
  const wanted = integrations?.[0]?.wandb;
  if (!wanted) return null;
  const apiKey = await readAccountWandbKey(database, config.secretKeys, accountId);
  if (apiKey) return { apiKey, project: wanted.project, ...(wanted.entity ? { entity: wanted.entity } : {}) };
  throw fieldError(
    'WANDB_CONFIG_INVALID',
    'integrations',
    `Reporting to Weights & Biases needs its API key: store it as the account's secret ${WANDB_SECRET}, with \`temper create secret ${WANDB_SECRET}\`.`,
  );
}

/** Waits until validation has judged the file. @throws TemperError for one that cannot be trained on, or is not judged in time */
async function requireProcessed(
  database: Database,
  accountId: string,
  parameter: string,
  file: string,
  isGone: () => boolean,
): Promise<void> {
  const deadline = Date.now() + FILE_WAIT_MS;
  for (;;) {
    const dataset = await findDataset(database, accountId, file);
    if (!dataset)
      throw fieldError(
        'INVALID_FIELD',
        parameter,
        `${parameter}: the file ${JSON.stringify(file.slice(0, 100))} does not exist, or you have no access to it.`,
      );
    if (dataset.state === 'READY') return;
    if (dataset.status_code !== 'OK' || !dataset.upload)
      throw fieldError(
        'DATASET_NOT_READY',
        parameter,
        `${parameter}: ${file} cannot be used. ${dataset.status_message || 'It has no content.'}`,
      );
    if (Date.now() > deadline || isGone())
      throw new TemperError(
        'DATASET_PROCESSING',
        `${parameter}: ${file} is still being checked. Wait until its status is "processed", then create the job.`,
        [{ reason: 'DATASET_PROCESSING', field: parameter }],
      );
    await sleep(LOOK_EVERY_MS);
  }
}
