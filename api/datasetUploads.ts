/**
 * Uploading a dataset's file: through the API (`:upload`), or straight to the object store (`:getUploadEndpoint`, PUT,
 * `:validateUpload`). Either way the file lies under a key of its own that nobody chose, and validation starts. What the
 * uploader calls the file is never part of a path.
 */
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { MultipartFile } from '@fastify/multipart';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { DatasetInput } from '../schemas/activities.js';
import { GetUploadEndpointRequest, UploadReply, ValidateUploadRequest } from '../schemas/dataset.js';
import { fieldError, TemperError } from '../schemas/errors.js';
import { MAX_DIRECT_UPLOAD_BYTES, MAX_SIGNED_UPLOAD_BYTES, UPLOAD_URL_SECONDS } from '../schemas/limits.js';
import { Empty, Id, SignedUrls } from '../schemas/wire.js';
import { findTunableModel } from '../stores/baseModels.js';
import type { Database, Upload } from '../stores/database.js';
import { recordUpload, type DatasetRecord } from '../stores/datasets.js';
import { digestTap, type FileDigest } from '../stores/objects.js';
import { quotaExceeded, readQuota } from '../stores/quotas.js';
import { datasetName, requireDataset } from './datasets.js';
import type { ApiDependencies } from './server.js';
import { startValidation } from './temporal.js';

/** What a form adds to the file: boundaries, headers, a few fields. */
const FORM_OVERHEAD_BYTES = 64 * 1024;
const MAX_FILENAME_BYTES = 255;

export function datasetUploadRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  const { database, objects, temporal, config } = dependencies;
  const one = '/v1/accounts/:account/datasets/:id(^[^:/]+$)';
  const params = Type.Object({ account: Id(), id: Id() });
  const slots = openUploadSlots(database);

  server.post(
    `${one}::upload`,
    { config: { access: 'user' }, schema: { params, consumes: ['multipart/form-data'], response: { 200: UploadReply } } },
    async (request) => {
      const dataset = requireOpen(await requireDataset(database, request.params));
      requireSmallEnough(request);
      const done = await slots.take(dataset.account_id);
      const folder = path.join(config.tmpFolder, `upload-${process.pid}-${randomUUID()}`);
      try {
        await mkdir(folder, { recursive: true });
        const file = path.join(folder, 'file');
        const { filename, digest, baseModel } = await spoolFile(request, file);
        const counted = await requireTokenizer(dependencies, dataset, baseModel);
        const upload = { key: uploadKey(dataset), filename, ...digest };
        if (!(await recordUpload(database, dataset, upload))) throw immutable(dataset);
        await objects.putFile(upload.key, file, { digest });
        await startValidation(temporal, dataset.account_id, validationInput(dataset, upload, counted));
        return {
          id: dataset.id,
          bytes: digest.sizeBytes,
          created_at: Math.floor(Date.now() / 1000),
          filename,
          object: 'file',
          purpose: 'fine-tune',
        };
      } finally {
        done();
        await rm(folder, { recursive: true, force: true });
      }
    },
  );

  server.post(
    `${one}::getUploadEndpoint`,
    { config: { access: 'user' }, schema: { params, body: GetUploadEndpointRequest, response: { 200: SignedUrls } } },
    async (request) => {
      const dataset = requireOpen(await requireDataset(database, request.params));
      const { filename, sizeBytes } = readDeclaredFile((request.body as GetUploadEndpointRequest).filenameToSize);
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
      const { upload } = dataset;
      if (!upload)
        throw new TemperError(
          'UPLOAD_MISSING',
          `${datasetName(dataset)} has no upload yet. Call :getUploadEndpoint and PUT the file to its URL, or send it with :upload.`,
        );
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
      const counted = await requireTokenizer(dependencies, dataset, (request.body as ValidateUploadRequest).baseModel);
      await startValidation(temporal, dataset.account_id, validationInput(dataset, upload, counted));
      return {};
    },
  );
}

/** Direct uploads lie on this process's disk until they are published: an account may have so many of them at a time. */
function openUploadSlots(database: Database): { take(accountId: string): Promise<() => void> } {
  const taken = new Map<string, number>();
  return {
    async take(accountId) {
      const { value } = await readQuota(database, accountId, 'concurrent-uploads');
      const count = (taken.get(accountId) ?? 0) + 1;
      if (count > value)
        throw quotaExceeded(accountId, 'concurrent-uploads', `${count} direct uploads at a time where ${value} are allowed`);
      taken.set(accountId, count);
      return () => taken.set(accountId, taken.get(accountId)! - 1);
    },
  };
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
function uploadKey(dataset: DatasetRecord): string {
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

function validationInput(dataset: DatasetRecord, upload: Upload, baseModel: string | undefined): DatasetInput {
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

/** From the header alone, before a byte of the body is read. */
function requireSmallEnough(request: FastifyRequest): void {
  if (Number(request.headers['content-length'] ?? 0) > MAX_DIRECT_UPLOAD_BYTES + FORM_OVERHEAD_BYTES) throw tooLarge();
}

/** Writes the form's one file to disk and hashes it on the way. A connection that breaks off leaves an error, never a shorter file. */
async function spoolFile(request: FastifyRequest, file: string): Promise<{ filename: string; digest: FileDigest; baseModel?: string }> {
  if (!request.isMultipart())
    throw new TemperError('UNSUPPORTED_MEDIA_TYPE', 'Send the file as multipart/form-data, in a part named "file".');
  let spooled: { filename: string; digest: FileDigest } | null = null;
  let baseModel: string | undefined;
  const limits = { files: 1, fields: 10, fieldSize: 10_000, parts: 12, headerPairs: 50, fileSize: MAX_DIRECT_UPLOAD_BYTES };
  for await (const part of request.parts({ limits, preservePath: true })) {
    if (part.type === 'file') spooled = await spoolPart(part, file);
    else if (/^base_?model$/i.test(part.fieldname)) baseModel = String(part.value);
  }
  if (!spooled) throw new TemperError('INVALID_UPLOAD', 'The form has no file. Send it in a part named "file", with a file name.');
  return { ...spooled, baseModel };
}

async function spoolPart(part: MultipartFile, file: string): Promise<{ filename: string; digest: FileDigest }> {
  const filename = requireFilename(part.filename);
  const tap = digestTap();
  await pipeline(part.file, tap.stream, createWriteStream(file));
  if (part.file.truncated) throw tooLarge();
  return { filename, digest: tap.digest() };
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

/** A plain name: shown to people and given to downloads, so no folders, control characters or marks that reorder text. */
function requireFilename(filename: string | undefined): string {
  const isPlain =
    filename !== undefined &&
    filename.length > 0 &&
    Buffer.byteLength(filename) <= MAX_FILENAME_BYTES &&
    !/[/\\\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/.test(filename);
  if (isPlain && filename !== '.' && filename !== '..') return filename;
  throw new TemperError(
    'INVALID_UPLOAD',
    `The file's name must be 1 to ${MAX_FILENAME_BYTES} bytes of plain text without slashes, for example data.jsonl.`,
  );
}
