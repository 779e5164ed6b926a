/** Exports of a model: make, watch, cancel, download, delete. */
import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { Type, type Static } from 'typebox';
import { ModelId } from '../schemas/alias.js';
import { errorRow, fieldError, isErrorCode, TemperError } from '../schemas/errors.js';
import {
  CreateExportRequest,
  DEFAULT_QUANTIZATION,
  Export,
  EXPORT_FORMATS,
  EXPORT_STATES,
  GGUF_QUANTIZATIONS,
  type ExportFormat,
} from '../schemas/export.js';
import { DOWNLOAD_URL_SECONDS } from '../schemas/limits.js';
import { resourceName } from '../schemas/names.js';
import { Empty, GetQuery, Id, listReply, ListQuery, SignedUrls } from '../schemas/wire.js';
import type { Database } from '../stores/database.js';
import { createExport, deleteExport, endExport, exportName, exportPrefix, findExport, type ExportRecord } from '../stores/exports.js';
import type { ModelRecord } from '../stores/models.js';
import { readIdempotencyKey, requestHash, requireSameRequest } from './idempotency.js';
import { text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { ModelPath, requireModel } from './models.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import { cancelWork, startExport, stopWork } from './temporal.js';

const ExportPath = Type.Object({ account: Id(), id: ModelId(), export: Id() });

const FIELDS: ListFields = {
  name: {
    type: 'text',
    expression: sql`('accounts/' || account_id || '/models/' || model_id || '/exports/' || id)`,
    orderExpression: sql.ref('id'),
  },
  format: text('format', Object.keys(EXPORT_FORMATS)),
  state: text('state', EXPORT_STATES),
  createTime: time('create_time'),
  updateTime: time('update_time'),
  createdBy: text('created_by'),
};

export function exportRoutes(server: FastifyInstance, { database, objects, temporal, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/models/:id(^[^:/]+$)/exports';
  const one = `${collection}/:export(^[^:/]+$)`;
  const read = { access: 'member' as const };
  const write = { access: 'user' as const };

  server.post(
    collection,
    { config: write, schema: { params: ModelPath, body: CreateExportRequest, response: { 200: Export } } },
    async (request) => {
      const { accountId, email } = request.caller;
      const model = requireExportable(await requireModel(database, request.params, accountId));
      const body = request.body as CreateExportRequest;
      const { format, quantization } = readForm(body.export);
      const hash = requestHash(config.secretKey, 'exports', { format, quantization, model: model.uid });
      await readIdempotencyKey(request, database, hash);
      const id = body.exportId ?? [format, quantization].filter(Boolean).join('-').toLowerCase().replaceAll('_', '-');
      const found = await createExport(database, {
        uid: randomUUID(),
        accountId,
        modelUid: model.uid,
        modelId: model.id,
        id,
        format,
        quantization,
        requestHash: hash,
        createdBy: email,
      });
      requireSameRequest(found.request_hash, hash, exportName(found));
      if (!found.workflow_started) {
        // The row stands: the workflow is started within seconds of Temporal's return.
        await startExport(temporal, database, found).catch((error: Error) =>
          request.log.warn({ export: exportName(found), cause: error.message }, 'workflow not started yet'),
        );
      }
      return viewExport(found);
    },
  );

  server.get(
    collection,
    { config: read, schema: { params: ModelPath, querystring: ListQuery, response: { 200: listReply('exports', Export) } } },
    async (request) => {
      const { accountId } = request.caller;
      const model = await requireModel(database, request.params, accountId);
      return answerList(database, config.secretKey, accountId, request.query as Static<typeof ListQuery>, {
        table: 'exports',
        collection: 'exports',
        fields: FIELDS,
        schema: Export,
        view: viewExport,
        where: sql<boolean>`model_uid = ${model.uid}`,
        binding: model.uid,
      });
    },
  );

  server.get(one, { config: read, schema: { params: ExportPath, querystring: GetQuery, response: { 200: Export } } }, async (request) => {
    const mask = compileReadMask<Export>((request.query as Static<typeof GetQuery>).readMask, Export);
    return mask(viewExport(await requireExport(database, request.params, request.caller.accountId)));
  });

  server.get(
    `${one}::getDownloadEndpoint`,
    { config: read, schema: { params: ExportPath, querystring: GetQuery, response: { 200: SignedUrls } } },
    async (request) => {
      const found = await requireExport(database, request.params, request.caller.accountId);
      if (found.state !== 'COMPLETED')
        throw new TemperError('ILLEGAL_STATE', `${exportName(found)} is ${found.state}: its files are there when it is COMPLETED.`);
      const urls = found.files.map(
        async (file) => [file.name, await objects.signDownload(file.key, file.name, DOWNLOAD_URL_SECONDS)] as const,
      );
      return { filenameToSignedUrls: Object.fromEntries(await Promise.all(urls)) };
    },
  );

  // Its workflow stops the work, removes what it had stored and then says CANCELLED.
  server.post(
    `${one}::cancel`,
    { config: write, schema: { params: ExportPath, body: Empty, response: { 200: Export } } },
    async (request) => {
      const found = await requireExport(database, request.params, request.caller.accountId);
      if (!isLive(found)) throw new TemperError('ILLEGAL_STATE', `${exportName(found)} has ended already: it is ${found.state}.`);
      if (!(await cancelWork(temporal, exportName(found)))) await endExport(database, found.uid, 'CANCELLED');
      return viewExport((await findExport(database, found.model_uid, found.id)) ?? found);
    },
  );

  server.delete(one, { config: write, schema: { params: ExportPath, response: { 200: Empty } } }, async (request) => {
    const found = await requireExport(database, request.params, request.caller.accountId);
    // What ends in between stores nothing more: the row is not live.
    await endExport(database, found.uid, 'CANCELLED');
    await stopWork(temporal, exportName(found));
    await objects.removePrefix(`${exportPrefix(found)}/`);
    await deleteExport(database, found.uid);
    return {};
  });
}

const isLive = ({ state }: ExportRecord) => state === 'PENDING' || state === 'RUNNING';

/** @throws TemperError RESOURCE_NOT_FOUND */
async function requireExport(database: Database, params: unknown, callersAccount: string): Promise<ExportRecord> {
  const path = params as Static<typeof ExportPath>;
  const model = await requireModel(database, path, callersAccount);
  const found = await findExport(database, model.uid, path.export);
  if (found) return found;
  const name = `${resourceName(model.account_id, 'models', model.id)}/exports/${path.export}`;
  throw new TemperError('RESOURCE_NOT_FOUND', `${name} was not found, or you have no access to it.`);
}

function requireExportable(model: ModelRecord): ModelRecord {
  const name = resourceName(model.account_id, 'models', model.id);
  if (model.state !== 'READY') throw new TemperError('MODEL_NOT_READY', `${name} is ${model.state}: there is nothing to export yet.`);
  if (model.kind === 'HF_PEFT_ADDON' && model.base_model) return model;
  throw new TemperError('EXPORT_UNSUPPORTED', `${name} is a base model, whose files are already those of a whole model: download it.`);
}

function readForm({ format, quantization }: Pick<Export, 'format' | 'quantization'>): {
  format: ExportFormat;
  quantization: string | null;
} {
  const ofFormat = format as ExportFormat;
  if (ofFormat === 'GGUF' || ofFormat === 'GGUF_ADAPTER')
    return { format: ofFormat, quantization: quantization ?? DEFAULT_QUANTIZATION[ofFormat] };
  if (quantization === undefined) return { format: ofFormat, quantization: null };
  const message = `quantization has no meaning for ${format}: it is of a GGUF (${GGUF_QUANTIZATIONS.join(', ')}). Leave it out.`;
  throw fieldError('INVALID_FIELD', 'export.quantization', message);
}

export function viewExport(record: ExportRecord): Export {
  const { failure } = record;
  return {
    name: exportName(record),
    model: resourceName(record.account_id, 'models', record.model_id),
    format: record.format,
    ...(record.quantization ? { quantization: record.quantization } : {}),
    state: record.state,
    stage: record.stage,
    percent: record.percent,
    status: failure
      ? { code: isErrorCode(failure.code) ? errorRow(failure.code).status : 'UNKNOWN', message: failure.message }
      : { code: 'OK', message: '' },
    ...(failure ? { failure: { ...failure } } : {}),
    ...(record.checked ? { check: { ...record.checked } } : {}),
    sizeBytes: String(record.files.reduce((sum, file) => sum + file.sizeBytes, 0)),
    files: record.files.map((file) => ({ name: file.name, sizeBytes: String(file.sizeBytes), sha256: file.sha256 })),
    createTime: record.create_time.toISOString(),
    updateTime: record.update_time.toISOString(),
    ...(record.end_time ? { completedTime: record.end_time.toISOString() } : {}),
    createdBy: record.created_by,
  };
}
