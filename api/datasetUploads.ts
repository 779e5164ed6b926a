/**
 * Uploading a dataset's file: through the API (`:upload`), or straight to the object store (`:getUploadEndpoint`, PUT,
 * `:validateUpload`). Either way the file lies under a key of its own that nobody chose, and validation starts. What the
 * uploader calls the file is never part of a path.
 */
import { randomUUID } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { DatasetInput } from '../schemas/activities.js';
import { GetUploadEndpointRequest, UploadEndpointReply, UploadReply, ValidateUploadRequest } from '../schemas/dataset.js';
import { fieldError, TemperError } from '../schemas/errors.js';
import { MAX_DIRECT_UPLOAD_BYTES, MAX_SIGNED_UPLOAD_BYTES, UPLOAD_URL_SECONDS } from '../schemas/limits.js';
import { Empty, Id } from '../schemas/wire.js';
import { findTunableModel } from '../stores/baseModels.js';
import type { Upload } from '../stores/database.js';
import { recordUpload, recordUploadWithin, withDatasetLocked, type DatasetRecord } from '../stores/datasets.js';
import { datasetName, requireDataset } from './datasets.js';
import { giveUpParts, putTogether, resumeOrStart } from './resumableUploads.js';
import type { ApiDependencies } from './server.js';
import { validateDataset } from './temporal.js';
import { requireFilename, type FormSpool } from './uploadForm.js';

export function datasetUploadRoutes(server: FastifyInstance, dependencies: ApiDependencies, forms: FormSpool): void {
  const { database, objects, temporal } = dependencies;
  const one = '/v1/accounts/:account/datasets/:id(^[^:/]+$)';
  const params = Type.Object({ account: Id(), id: Id() });

  server.post(
    `${one}::upload`,
    { config: { access: 'user' }, schema: { params, consumes: ['multipart/form-data'], response: { 200: UploadReply } } },
    async (request) => {
      const dataset = requireOpen(await requireDataset(database, request.params));
      return forms.spool(request, { maxBytes: MAX_DIRECT_UPLOAD_BYTES, tooLarge }, async ({ file, filename, digest, fields }) => {
        const counted = await requireTokenizer(dependencies, dataset, fields['baseModel'] ?? fields['base_model']);
        const upload = { key: uploadKey(dataset), filename, ...digest };
        if (!(await recordUpload(database, dataset, upload))) throw immutable(dataset);
        await giveUpParts(objects, dataset.upload);
        await objects.putFile(upload.key, file, { digest });
        await validateDataset(temporal, database, dataset.account_id, validationInput(dataset, upload, counted), later(request, dataset));
        return {
          id: dataset.id,
          bytes: digest.sizeBytes,
          created_at: Math.floor(Date.now() / 1000),
          filename,
          object: 'file',
          purpose: 'fine-tune',
        };
      });
    },
  );

  server.post(
    `${one}::getUploadEndpoint`,
    { config: { access: 'user' }, schema: { params, body: GetUploadEndpointRequest, response: { 200: UploadEndpointReply } } },
    async (request) => {
      const dataset = requireOpen(await requireDataset(database, request.params));
      const { filenameToSize, enableResumableUpload } = request.body as GetUploadEndpointRequest;
      const { filename, sizeBytes } = readDeclaredFile(filenameToSize);
      if (enableResumableUpload) {
        const resumableUpload = await withDatasetLocked(database, dataset.uid, async (current, transaction) => {
          const { upload, parts } = await resumeOrStart(objects, current, filename, sizeBytes, uploadKey(current));
          if (upload !== current.upload && !(await recordUploadWithin(transaction, current, upload))) throw immutable(current);
          return { partSizeBytes: upload.multipart.partSizeBytes, parts };
        });
        return { filenameToSignedUrls: {}, resumableUpload };
      }
      await giveUpParts(objects, dataset.upload);
      const key = uploadKey(dataset);
      if (!(await recordUpload(database, dataset, { key, filename, sizeBytes }))) throw immutable(dataset);
      return { filenameToSignedUrls: { [filename]: await objects.signUpload(key, sizeBytes, UPLOAD_URL_SECONDS) } };
    },
  );

  server.post(
    `${one}::validateUpload`,
    { config: { access: 'user' }, schema: { params, body: ValidateUploadRequest, response: { 200: Empty } } },
    async (request) => {
      const dataset = await requireDataset(database, request.params);
      if (dataset.state === 'READY') return {};
      const { sha256, baseModel } = request.body as ValidateUploadRequest;
      const upload = dataset.upload && { ...dataset.upload, ...(sha256 ? { sha256 } : {}) };
      if (!upload)
        throw new TemperError(
          'UPLOAD_MISSING',
          `${datasetName(dataset)} has no upload yet. Call :getUploadEndpoint and PUT the file to its URL, or send it with :upload.`,
        );
      if (upload.multipart) await putTogether(objects, upload);
      const found = await objects.head(upload.key);
      if (!found)
        throw new TemperError(
          'UPLOAD_MISSING',
          `${upload.filename} has not arrived. PUT it to the URL that :getUploadEndpoint gave, then call :validateUpload again.`,
        );
      if (upload.sizeBytes !== undefined && found.sizeBytes !== upload.sizeBytes) {
        throw new TemperError(
          'UPLOAD_INCOMPLETE',
          `${found.sizeBytes} of ${upload.sizeBytes} bytes of ${upload.filename} have arrived. ` +
            'Call :getUploadEndpoint and PUT the whole file again.',
        );
      }
      if (sha256 && !(await recordUpload(database, dataset, upload))) throw immutable(dataset);
      const counted = await requireTokenizer(dependencies, dataset, baseModel);
      await validateDataset(temporal, database, dataset.account_id, validationInput(dataset, upload, counted), later(request, dataset));
      return {};
    },
  );
}

/** Validation begins when Temporal is back. */
export function later(request: FastifyRequest, { id }: Pick<DatasetRecord, 'id'>): (error: Error) => void {
  return (error) => request.log.warn({ dataset: id, cause: error.message }, 'validation not started yet');
}

function requireOpen(dataset: DatasetRecord): DatasetRecord {
  if (dataset.state === 'READY') throw immutable(dataset);
  return dataset;
}

function immutable(dataset: DatasetRecord): TemperError {
  return new TemperError(
    'DATASET_IMMUTABLE',
    `${datasetName(dataset)} is READY, and its content never changes. Create a new dataset for other content.`,
  );
}

/** A new place for every upload: one that is cut short, or that a later one overtakes, is never read for another. */
export function uploadKey(dataset: Pick<DatasetRecord, 'uid'>): string {
  return `uploads/${dataset.uid}/${randomUUID()}`;
}

/** The full name of the base model whose tokenizer is to count the dataset's tokens. */
async function requireTokenizer(
  { database }: ApiDependencies,
  dataset: DatasetRecord,
  given: string | undefined,
): Promise<string | undefined> {
  if (given === undefined) return undefined;
  const model = await findTunableModel(database, dataset.account_id, given);
  if (model) return model.name;
  const lists = 'The list: GET /v1/accounts/fireworks/models and /v1/accounts/temper/models.';
  throw fieldError('BASE_MODEL_NOT_FOUND', 'baseModel', `The base model ${given.slice(0, 200)} was not found. ${lists}`);
}

export function validationInput(dataset: DatasetRecord, upload: Upload, baseModel?: string): DatasetInput {
  return {
    uid: dataset.uid,
    name: datasetName(dataset),
    uploadKey: upload.key,
    declaredSizeBytes: upload.sizeBytes,
    declaredSha256: upload.sha256,
    ...(baseModel !== undefined ? { baseModel } : {}),
  };
}

function tooLarge(): TemperError {
  return new TemperError(
    'BODY_TOO_LARGE',
    `The file is larger than ${MAX_DIRECT_UPLOAD_BYTES / 1024 / 1024} MiB. ` +
      'Upload it by signed URL: call :getUploadEndpoint, PUT the file there, then call :validateUpload.',
  );
}

function readDeclaredFile(filenameToSize: Record<string, string>): { filename: string; sizeBytes: number } {
  const [first, ...more] = Object.entries(filenameToSize);
  if (!first || more.length > 0)
    throw fieldError(
      'INVALID_UPLOAD',
      'filenameToSize',
      `filenameToSize must name exactly one file, not ${more.length + (first ? 1 : 0)}: a dataset is one JSONL file.`,
    );
  const [filename, size] = first;
  const sizeBytes = Number(size);
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 1 || sizeBytes > MAX_SIGNED_UPLOAD_BYTES) {
    throw fieldError(
      'INVALID_UPLOAD',
      'filenameToSize',
      `The size of a file must be 1 to ${MAX_SIGNED_UPLOAD_BYTES} bytes, not ${size.slice(0, 40)}.`,
    );
  }
  return { filename: requireFilename(filename), sizeBytes };
}
