/** `/v1/uploads`: a file in parts, each stored as it arrives and joined in the order that the completion names. */
import { createHash, randomBytes } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type, type Static } from 'typebox';
import { fieldError, TemperError } from '../../schemas/errors.js';
import { MAX_MULTIPART_UPLOAD_BYTES, MAX_UPLOAD_PART_BYTES, MULTIPART_UPLOAD_SECONDS } from '../../schemas/limits.js';
import { CompleteUpload, CreateUpload, OpenaiUpload, OpenaiUploadPart } from '../../schemas/openai.js';
import type { Database } from '../../stores/database.js';
import { findDataset, findDatasetByUid } from '../../stores/datasets.js';
import { findFile, type FileRecord } from '../../stores/files.js';
import type { ObjectStore } from '../../stores/objects.js';
import {
  addPart,
  closeUpload,
  createUpload,
  deleteUpload,
  expiredUploads,
  findUpload,
  listParts,
  type UploadPartRecord,
  type UploadRecord,
} from '../../stores/uploads.js';
import { requestHash } from '../idempotency.js';
import type { ApiDependencies } from '../server.js';
import { requireFilename, type FormSpool } from '../uploadForm.js';
import { noSuchObject } from './errors.js';
import { createFile, viewFile } from './files.js';
import { seconds } from './pages.js';

const access = { access: 'user' as const };
const UploadPath = Type.Object({ upload: Type.String({ maxLength: 200 }) });

export function uploadRoutes(server: FastifyInstance, dependencies: ApiDependencies, forms: FormSpool): void {
  const { database, objects, config } = dependencies;
  const one = '/v1/uploads/:upload';

  server.post('/v1/uploads', { config: access, schema: { body: CreateUpload, response: { 200: OpenaiUpload } } }, async (request) => {
    const body = request.body as Static<typeof CreateUpload>;
    const upload = await createUpload(database, {
      id: `upload_${randomBytes(16).toString('hex')}`,
      accountId: request.caller.accountId,
      filename: requireFilename(body.filename),
      mimeType: body.mime_type,
      sizeBytes: body.bytes,
      fileSeconds: body.expires_after?.seconds,
      requestHash: requestHash(config.secretKey, 'uploads', body),
      createdBy: request.caller.email,
      expireTime: new Date(Date.now() + MULTIPART_UPLOAD_SECONDS * 1000),
    });
    return viewUpload(upload, null);
  });

  server.post(
    `${one}/parts`,
    { config: access, schema: { params: UploadPath, consumes: ['multipart/form-data'], response: { 200: OpenaiUploadPart } } },
    async (request) => {
      const upload = requireOpen(await requireUpload(database, request));
      return forms.spool(request, { maxBytes: MAX_UPLOAD_PART_BYTES, tooLarge }, async ({ file, digest }) => {
        const id = `part_${randomBytes(16).toString('hex')}`;
        const key = `${partsPrefix(upload)}${id}`;
        await objects.putFile(key, file, { digest });
        const part = await addPart(database, { id, uploadId: upload.id, key, ...digest }, MAX_MULTIPART_UPLOAD_BYTES).catch(
          async (error: unknown) => {
            await objects.removePrefix(key);
            throw error;
          },
        );
        if (typeof part !== 'string') return viewPart(part);
        await objects.removePrefix(key);
        if (part === 'full') throw fieldError('BODY_TOO_LARGE', 'data', 'The parts of this upload are more than 8 GiB together.');
        throw closed((await findUpload(database, upload.account_id, upload.id)) ?? upload);
      });
    },
  );

  server.post(
    `${one}/complete`,
    { config: access, schema: { params: UploadPath, body: CompleteUpload, response: { 200: OpenaiUpload } } },
    async (request) => {
      const upload = await requireUpload(database, request);
      if (upload.state === 'completed') return viewCompleted(database, upload);
      requireOpen(upload);
      const { part_ids: ids, md5 } = request.body as Static<typeof CompleteUpload>;
      const parts = orderParts(upload, await listParts(database, upload.id), ids);
      const file = await createFile(dependencies, request, {
        filename: upload.filename,
        sizeBytes: upload.size_bytes,
        fileSeconds: upload.file_seconds ?? undefined,
        hash: upload.request_hash,
        // The upload's own ID: completing twice makes one file.
        key: upload.id,
        publish: (objectKey) => objects.putStream(objectKey, joinParts(objects, parts, md5)),
      });
      const dataset = await findDataset(database, upload.account_id, file.id);
      await closeUpload(database, upload.id, { state: 'completed', datasetUid: dataset?.uid ?? null });
      await objects.removePrefix(partsPrefix(upload));
      return viewCompleted(database, (await findUpload(database, upload.account_id, upload.id)) ?? upload);
    },
  );

  server.post(`${one}/cancel`, { config: access, schema: { params: UploadPath, response: { 200: OpenaiUpload } } }, async (request) => {
    const upload = await requireUpload(database, request);
    if (upload.state === 'cancelled') return viewUpload(upload, null);
    if (!(await closeUpload(database, upload.id, { state: 'cancelled' }))) throw closed(upload);
    await objects.removePrefix(partsPrefix(upload));
    return viewUpload({ ...upload, state: 'cancelled' }, null);
  });
}

/** Removes what was begun and never completed. */
export async function removeExpiredUploads({ database, objects }: Pick<ApiDependencies, 'database' | 'objects'>): Promise<void> {
  for (const upload of await expiredUploads(database)) {
    await objects.removePrefix(partsPrefix(upload));
    await deleteUpload(database, upload.id);
  }
}

async function requireUpload(database: Database, request: FastifyRequest): Promise<UploadRecord> {
  const { upload: id } = request.params as Static<typeof UploadPath>;
  const upload = await findUpload(database, request.caller.accountId, id);
  if (!upload) throw noSuchObject('upload_id', 'upload', id);
  return upload;
}

function requireOpen(upload: UploadRecord): UploadRecord {
  if (statusOf(upload) === 'pending') return upload;
  throw closed(upload);
}

function closed(upload: UploadRecord): TemperError {
  return new TemperError('ILLEGAL_STATE', `The upload ${upload.id} is ${statusOf(upload)}. Begin a new one.`);
}

/** The named parts in the named order, which must be the whole file. */
function orderParts(upload: UploadRecord, stored: UploadPartRecord[], ids: string[]): UploadPartRecord[] {
  const byId = new Map(stored.map((part) => [part.id, part]));
  const parts = ids.map((id, index) => {
    const part = byId.get(id);
    if (!part) throw fieldError('INVALID_FIELD', `part_ids[${index}]`, `${id} is no part of ${upload.id}, or is named twice.`);
    byId.delete(id);
    return part;
  });
  const sizeBytes = parts.reduce((sum, part) => sum + part.size_bytes, 0);
  if (sizeBytes === upload.size_bytes) return parts;
  const message = `The parts have ${sizeBytes} bytes, the upload was declared with ${upload.size_bytes}. Name every part, once, or add what is missing.`;
  throw fieldError('UPLOAD_INCOMPLETE', 'part_ids', message);
}

/** One part after the other. The wrong sum is found before the end, and so nothing is published. */
async function* joinParts(objects: ObjectStore, parts: UploadPartRecord[], md5: string | undefined): AsyncGenerator<Buffer> {
  const hash = createHash('md5');
  for (const part of parts) {
    let sizeBytes = 0;
    for await (const chunk of objects.readObject(part.key)) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      yield chunk;
    }
    if (sizeBytes !== part.size_bytes)
      throw new TemperError('OBJECT_CORRUPT', `${part.id} was cut short on its way from the object store. Try again.`);
  }
  const found = hash.digest('hex');
  if (md5 === undefined || md5.toLowerCase() === found) return;
  throw fieldError('INVALID_UPLOAD', 'md5', `The parts have the MD5 sum ${found}, not ${md5}: a part is damaged, or the order is wrong.`);
}

async function viewCompleted(database: Database, upload: UploadRecord): Promise<Static<typeof OpenaiUpload>> {
  const dataset = upload.dataset_uid ? await findDatasetByUid(database, upload.dataset_uid) : undefined;
  return viewUpload(upload, dataset ? ((await findFile(database, upload.account_id, dataset.id)) ?? null) : null);
}

function statusOf(upload: UploadRecord): 'pending' | 'completed' | 'cancelled' | 'expired' {
  return upload.state === 'pending' && upload.expire_time.getTime() <= Date.now() ? 'expired' : upload.state;
}

function viewUpload(upload: UploadRecord, file: FileRecord | null): Static<typeof OpenaiUpload> {
  return {
    id: upload.id,
    object: 'upload',
    bytes: upload.size_bytes,
    created_at: seconds(upload.create_time),
    expires_at: seconds(upload.expire_time),
    filename: upload.filename,
    purpose: 'fine-tune',
    status: statusOf(upload),
    file: file ? viewFile(file) : null,
  };
}

function viewPart(part: UploadPartRecord): Static<typeof OpenaiUploadPart> {
  return { id: part.id, object: 'upload.part', created_at: seconds(part.create_time), upload_id: part.upload_id };
}

function partsPrefix(upload: Pick<UploadRecord, 'id'>): string {
  return `uploads/parts/${upload.id}/`;
}

function tooLarge(): TemperError {
  return new TemperError(
    'BODY_TOO_LARGE',
    `A part may have ${MAX_UPLOAD_PART_BYTES / 1024 ** 2} MiB at most. Send the file in more parts.`,
  );
}
