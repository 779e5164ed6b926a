/**
 * Models that users bring: created as a name, their files PUT to signed URLs (`:getUploadEndpoint`) or imported from the hub by a
 * workflow, and checked (`:validateUpload`). What an uploader calls a file is never part of where it is put.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type, type Static } from 'typebox';
import { findBaseModel } from '../schemas/baseModels.js';
import { fieldError, TemperError, type ErrorDetail } from '../schemas/errors.js';
import { UPLOAD_URL_SECONDS } from '../schemas/limits.js';
import { CreateModelRequest, Model, ModelUploadEndpointRequest, ValidateUploadQuery, ValidateUploadReply } from '../schemas/model.js';
import { MAX_MODEL_FILES, refuseModelFile, type ModelKind } from '../schemas/modelFiles.js';
import { parseName, resourceName } from '../schemas/names.js';
import { Id, SignedUrls } from '../schemas/wire.js';
import { findTunableModel } from '../stores/baseModels.js';
import type { Database, ModelImport } from '../stores/database.js';
import { addUploadFiles, createModel, findModelByUid, recordModelProgress, type ModelRecord } from '../stores/models.js';
import type { ObjectStore } from '../stores/objects.js';
import { findSecret } from '../stores/secrets.js';
import { readIdempotencyKey, requestHash, requireSameRequest } from './idempotency.js';
import { ModelPath, requireModel } from './models.js';
import { viewModel } from './modelViews.js';
import type { ApiDependencies } from './server.js';
import { validateModel } from './temporal.js';

/** `:validateUpload` waits this long for the verdict; a small model needs less, a large one is asked for again. */
const VERDICT_WAIT_MS = 20_000;
const VERDICT_POLL_MS = 200;

export function modelUploadRoutes(server: FastifyInstance, { database, objects, temporal, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/models';
  const one = `${collection}/:id(^[^:/]+$)`;
  const write = { access: 'user' as const };

  server.post(
    collection,
    { config: write, schema: { params: Type.Object({ account: Id() }), body: CreateModelRequest, response: { 200: Model } } },
    async (request) => {
      const body = request.body as CreateModelRequest;
      const { accountId, email } = request.caller;
      const hash = requestHash(config.secretKey, 'models', body);
      await readIdempotencyKey(request, database, hash);
      const name = resourceName(accountId, 'models', body.modelId);
      if (findBaseModel(name))
        throw new TemperError('RESOURCE_ALREADY_EXISTS', `${name} is a base model of the catalogue. Choose another ID.`);
      const { kind, baseModel } = await readKind(database, accountId, body);
      const { displayName, description, conversationConfig, contextLength, trainingContextLength } = body.model ?? {};
      const { supportsTools, supportsImageInput, huggingFaceUrl, githubUrl } = body.model ?? {};
      const model = await createModel(database, {
        uid: randomUUID(),
        accountId,
        id: body.modelId,
        displayName: displayName ?? '',
        description: description ?? '',
        kind,
        baseModel,
        conversation: conversationConfig ? { style: 'jinja', template: conversationConfig.template } : null,
        facts: { contextLength, trainingContextLength, supportsTools, supportsImageInput, huggingFaceUrl, githubUrl },
        import: body.importFrom ? await readImport(database, accountId, body.importFrom) : null,
        requestHash: hash,
        createdBy: email,
      });
      requireSameRequest(model.request_hash ?? '', hash, name);
      if (model.import && model.state !== 'READY') await validateModel(temporal, database, model, later(request, model));
      return viewModel(model);
    },
  );

  server.post(
    `${one}::getUploadEndpoint`,
    { config: write, schema: { params: ModelPath, body: ModelUploadEndpointRequest, response: { 200: SignedUrls } } },
    async (request) => {
      const model = requireOpen(await requireModel(database, request.params, request.caller.accountId));
      if (model.import) throw new TemperError('ILLEGAL_STATE', `${nameOf(model)} is imported from the hub: it takes no uploads.`);
      const declared = readFiles(model, (request.body as ModelUploadEndpointRequest).filenameToSize);
      const files = declared.map((file) => ({ ...file, key: `uploads/${model.uid}/${randomUUID()}` }));
      const upload = await addUploadFiles(database, model.uid, randomUUID(), files);
      if (!upload) throw immutable(model);
      if (upload.files.length > MAX_MODEL_FILES)
        throw fieldError(
          'INVALID_UPLOAD',
          'filenameToSize',
          `A model has ${MAX_MODEL_FILES} files at most. Delete it and begin again with fewer.`,
        );
      const urls = await Promise.all(
        files.map(async ({ name, key, sizeBytes }) => [name, await objects.signUpload(key, sizeBytes, UPLOAD_URL_SECONDS)] as const),
      );
      return { filenameToSignedUrls: Object.fromEntries(urls) };
    },
  );

  server.get(
    `${one}::validateUpload`,
    { config: write, schema: { params: ModelPath, querystring: ValidateUploadQuery, response: { 200: ValidateUploadReply } } },
    async (request) => {
      const { trustRemoteCode } = request.query as Static<typeof ValidateUploadQuery>;
      if (trustRemoteCode?.toLowerCase() === 'true')
        throw fieldError(
          'INVALID_FIELD',
          'trustRemoteCode',
          'trustRemoteCode cannot be true: code that comes with a model never runs here.',
        );
      const model = await requireModel(database, request.params, request.caller.accountId);
      if (model.state === 'READY') return verdictOf(model);
      requireOpen(model);
      if (!model.import || model.upload) await requireArrived(model, objects);
      await recordModelProgress(database, model.uid, 'Validation is about to begin.', model.update_time);
      const isUnderWay = await validateModel(temporal, database, model, later(request, model));
      return verdictOf(isUnderWay ? await waitForVerdict(database, model) : { ...model, status_code: 'OK', status_message: '' });
    },
  );
}

/** The work begins when Temporal is back. */
function later(request: FastifyRequest, { id }: ModelRecord): (error: Error) => void {
  return (error) => request.log.warn({ model: id, cause: error.message }, 'validation not started yet');
}

function nameOf(model: ModelRecord): string {
  return resourceName(model.account_id, 'models', model.id);
}

function immutable(model: ModelRecord): TemperError {
  return new TemperError('ILLEGAL_STATE', `${nameOf(model)} is READY, and its files never change. Create a new model for other files.`);
}

function requireOpen(model: ModelRecord): ModelRecord {
  if (model.state === 'READY') throw immutable(model);
  if (model.job_name) throw new TemperError('ILLEGAL_STATE', `${nameOf(model)} is being made by ${model.job_name}: it takes no uploads.`);
  return model;
}

async function readKind(
  database: Database,
  accountId: string,
  { model }: CreateModelRequest,
): Promise<{ kind: ModelKind; baseModel: string | null }> {
  if (model?.kind === 'HF_BASE_MODEL') {
    if (model.peftDetails)
      throw fieldError('INVALID_FIELD', 'model.peftDetails', 'peftDetails is of add-ons: leave it out for a model of kind HF_BASE_MODEL.');
    return { kind: 'HF_BASE_MODEL', baseModel: null };
  }
  const given = model?.peftDetails?.baseModel;
  if (!given)
    throw fieldError(
      'MISSING_FIELD',
      'model.peftDetails.baseModel',
      'model.peftDetails.baseModel is missing: say which base model the add-on was made for, or give kind HF_BASE_MODEL for a whole model.',
    );
  const base = await findTunableModel(database, accountId, given);
  if (!base)
    throw fieldError(
      'BASE_MODEL_NOT_FOUND',
      'model.peftDetails.baseModel',
      `The base model ${given} was not found. The list: GET /v1/accounts/fireworks/models, and your own READY ones of kind HF_BASE_MODEL.`,
    );
  return { kind: 'HF_PEFT_ADDON', baseModel: base.name };
}

async function readImport(
  database: Database,
  accountId: string,
  source: NonNullable<CreateModelRequest['importFrom']>,
): Promise<ModelImport> {
  const { repository, revision, tokenSecret } = source;
  if (repository.includes('..') || repository.includes('--'))
    throw fieldError(
      'INVALID_FIELD',
      'importFrom.repository',
      `importFrom.repository must be a name on the Hugging Face hub, ORG/NAME, not ${repository}.`,
    );
  if (tokenSecret === undefined) return { repository, revision };
  const parsed = parseName(tokenSecret, 'secrets', accountId);
  if (parsed?.accountId !== accountId || !(await findSecret(database, accountId, parsed.id)))
    throw fieldError(
      'RESOURCE_NOT_FOUND',
      'importFrom.tokenSecret',
      `The secret ${tokenSecret} was not found, or you have no access to it.`,
    );
  return { repository, revision, tokenSecretId: parsed.id };
}

function readFiles(model: ModelRecord, filenameToSize: Record<string, string>): { name: string; sizeBytes: number }[] {
  const files = Object.entries(filenameToSize).map(([name, size]) => ({ name, sizeBytes: Number(size) }));
  if (files.length === 0 || files.length > MAX_MODEL_FILES)
    throw fieldError('INVALID_UPLOAD', 'filenameToSize', `filenameToSize must name 1 to ${MAX_MODEL_FILES} files, not ${files.length}.`);
  const refused = files.flatMap(({ name, sizeBytes }): ErrorDetail[] => {
    const why = refuseModelFile(model.kind as ModelKind, name, sizeBytes);
    return why ? [{ reason: 'INVALID_UPLOAD', field: 'filenameToSize', message: `${JSON.stringify(name.slice(0, 100))} ${why}.` }] : [];
  });
  if (refused.length > 0)
    throw new TemperError(
      'INVALID_UPLOAD',
      refused
        .slice(0, 3)
        .map(({ message }) => message)
        .join(' '),
      refused.slice(0, 20),
    );
  return files;
}

/** Every file that was declared, whole: looked at before a workflow is started for it. */
async function requireArrived(model: ModelRecord, objects: ObjectStore): Promise<void> {
  const files = model.upload?.files ?? [];
  if (files.length === 0)
    throw new TemperError('UPLOAD_MISSING', `${nameOf(model)} has no files yet. Call :getUploadEndpoint and PUT each file to its URL.`);
  const found = await Promise.all(files.map(({ key }) => objects.head(key)));
  const missing = files.filter((_, index) => !found[index]).map(({ name }) => name);
  if (missing.length > 0)
    throw new TemperError(
      'UPLOAD_MISSING',
      `${missing.slice(0, 5).join(', ')} ${missing.length === 1 ? 'has' : `(${missing.length} files) have`} not arrived. PUT them to the URLs that :getUploadEndpoint gave.`,
    );
  const cut = files.findIndex(({ sizeBytes }, index) => found[index]!.sizeBytes !== sizeBytes);
  if (cut >= 0)
    throw new TemperError(
      'UPLOAD_INCOMPLETE',
      `${found[cut]!.sizeBytes} of ${files[cut]!.sizeBytes} bytes of ${files[cut]!.name} have arrived. PUT the whole file again.`,
    );
}

/** The record once the verdict stands in it, or as it is when the time is over. */
async function waitForVerdict(database: Database, before: ModelRecord): Promise<ModelRecord> {
  const deadline = performance.now() + VERDICT_WAIT_MS;
  for (;;) {
    await sleep(VERDICT_POLL_MS);
    const model = (await findModelByUid(database, before.uid)) ?? before;
    const judged = model.state === 'READY' || (model.status_code !== 'OK' && model.update_time > before.update_time);
    if (judged || performance.now() > deadline) return model;
  }
}

function verdictOf(model: ModelRecord): Static<typeof ValidateUploadReply> {
  const { state, status_code: code, status_message: message, warnings } = model;
  if (state !== 'READY' && code !== 'OK') {
    const about = model.status_details.length > 0 ? model.status_details : undefined;
    throw new TemperError(
      code === 'INVALID_ARGUMENT' ? 'MODEL_FILES_INVALID' : 'HUB_UNREACHABLE',
      `${nameOf(model)} is not valid: ${message}`,
      about,
    );
  }
  const more = state === 'READY' ? [] : [`${message || 'Validation goes on.'} Call :validateUpload again, or look at the model's state.`];
  return { warnings: [...warnings, ...more], state, status: { code, message } };
}
