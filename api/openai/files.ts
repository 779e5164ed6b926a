/** `/v1/files`: a file is a dataset of the account and has its ID; validation is its processing. The metrics of jobs are files, too. */
import { randomUUID } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type, type Static } from 'typebox';
import { fieldError, TemperError } from '../../schemas/errors.js';
import { MAX_DISPLAY_NAME_LENGTH, MAX_FILE_BYTES, MAX_FILE_SECONDS, MIN_FILE_SECONDS } from '../../schemas/limits.js';
import { Deleted, FileListQuery, listOf, OpenaiFile } from '../../schemas/openai.js';
import type { Database } from '../../stores/database.js';
import { createDataset, deleteDataset, findDataset, recordUpload, type DatasetRecord } from '../../stores/datasets.js';
import { findFile, findRecentDataset, listFiles, removeResults, RESULTS_PREFIX, type FileRecord } from '../../stores/files.js';
import type { FileDigest } from '../../stores/objects.js';
import { removeDataset } from '../datasets.js';
import { later, uploadKey, validationInput } from '../datasetUploads.js';
import { makeId, readIdempotencyKey, requestHash } from '../idempotency.js';
import type { ApiDependencies } from '../server.js';
import { validateDataset } from '../temporal.js';
import type { FormSpool } from '../uploadForm.js';
import { noSuchObject } from './errors.js';
import { listReply, noCursor, readLimit, seconds } from './pages.js';
import { isRepetition, REPEATED_WITHIN_SECONDS } from './retries.js';

const access = { access: 'user' as const };
const FilePath = Type.Object({ file: Type.String({ maxLength: 200 }) });
/** As OpenAI has it: by default, all. */
const MAX_LISTED = 10_000;

export function fileRoutes(server: FastifyInstance, dependencies: ApiDependencies, forms: FormSpool): void {
  const { database, objects, config } = dependencies;

  server.post('/v1/files', { config: access, schema: { consumes: ['multipart/form-data'], response: { 200: OpenaiFile } } }, (request) =>
    forms.spool(request, { maxBytes: MAX_FILE_BYTES, tooLarge }, async ({ file, filename, digest, fields }) => {
      const fileSeconds = readFileFields(fields);
      const hash = requestHash(config.secretKey, 'files', { filename, sha256: digest.sha256, fileSeconds });
      const key = await readIdempotencyKey(request, database, hash);
      const publish = (objectKey: string) => objects.putFile(objectKey, file, { digest });
      return viewFile(await createFile(dependencies, request, { filename, ...digest, fileSeconds, hash, key, publish }));
    }),
  );

  server.get(
    '/v1/files',
    { config: access, schema: { querystring: FileListQuery, response: { 200: listOf(OpenaiFile) } } },
    async (request) => {
      const { after, limit, order, purpose } = request.query as Static<typeof FileListQuery>;
      const most = readLimit(limit, MAX_LISTED, MAX_LISTED);
      const page = { after, purpose, descending: order !== 'asc', limit: most + 1 };
      const files = await listFiles(database, request.caller.accountId, page);
      if (!files) throw noCursor(after!);
      return listReply(files.map(viewFile), most);
    },
  );

  server.get('/v1/files/:file', { config: access, schema: { params: FilePath, response: { 200: OpenaiFile } } }, async (request) =>
    viewFile(await requireFile(database, request)),
  );

  server.get(
    '/v1/files/:file/content',
    { config: access, schema: { params: FilePath, produces: ['application/octet-stream'] } },
    async (request, reply) => {
      const file = await requireFile(database, request);
      const key = await contentKey(dependencies, file);
      return reply
        .type('application/octet-stream')
        .header('content-disposition', `attachment; filename*=UTF-8''${encodeURIComponent(file.filename)}`)
        .send(await objects.getStream(key));
    },
  );

  server.delete('/v1/files/:file', { config: access, schema: { params: FilePath, response: { 200: Deleted } } }, async (request) => {
    const file = await requireFile(database, request);
    const { accountId } = request.caller;
    if (file.purpose === 'fine-tune-results') {
      await objects.removePrefix(file.object_key!);
      await removeResults(database, accountId, file.id.slice(RESULTS_PREFIX.length));
    } else {
      await removeDataset(dependencies, (await findDataset(database, accountId, file.id))!, { force: true, by: request.caller.email });
    }
    return { id: file.id, object: 'file', deleted: true };
  });
}

function readFileFields({ purpose, ...fields }: Record<string, string>): number | undefined {
  if (purpose === undefined) throw fieldError('MISSING_FIELD', 'purpose', 'purpose is missing: say purpose="fine-tune".');
  if (purpose !== 'fine-tune')
    throw fieldError(
      'INVALID_FIELD',
      'purpose',
      `purpose must be "fine-tune", not ${JSON.stringify(purpose.slice(0, 40))}: files are for fine-tuning here.`,
    );
  const { 'expires_after[anchor]': anchor, 'expires_after[seconds]': given, ...unknown } = fields;
  const [name] = Object.keys(unknown);
  if (name !== undefined) throw fieldError('UNKNOWN_FIELD', name.slice(0, 100), `unknown field ${name.slice(0, 100)}`);
  if (anchor === undefined && given === undefined) return undefined;
  if (anchor !== 'created_at') throw fieldError('INVALID_FIELD', 'expires_after.anchor', 'expires_after.anchor must be "created_at".');
  if (!/^[0-9]{1,8}$/.test(given ?? '') || Number(given) < MIN_FILE_SECONDS || Number(given) > MAX_FILE_SECONDS) {
    const message = `expires_after.seconds must be a whole number from ${MIN_FILE_SECONDS} to ${MAX_FILE_SECONDS}.`;
    throw fieldError('INVALID_FIELD', 'expires_after.seconds', message);
  }
  return Number(given);
}

export interface NewFile {
  filename: string;
  sizeBytes: number;
  /** Absent where it is only known once all has been joined. */
  sha256?: string;
  fileSeconds?: number;
  hash: string;
  /** An idempotency key of the caller's. */
  key: string | null;
  /** Puts the content under a key. */
  publish: (objectKey: string) => Promise<FileDigest>;
}

/** A dataset with its content, under validation. What cannot be brought that far leaves nothing. */
export async function createFile(dependencies: ApiDependencies, request: FastifyRequest, file: NewFile): Promise<FileRecord> {
  const { database, objects, temporal, config } = dependencies;
  const { accountId, email } = request.caller;
  const known = isRepetition(request) ? await findRecentDataset(database, accountId, file.hash, REPEATED_WITHIN_SECONDS) : undefined;
  const id = known ?? makeId('file', file.key, accountId, config.secretKey);
  const existing = await findDataset(database, accountId, id);
  if (existing && (await hasContent(dependencies, existing))) return (await findFile(database, accountId, id))!;

  const dataset =
    existing ??
    (await createDataset(database, {
      uid: randomUUID(),
      accountId,
      id,
      displayName: file.filename.slice(0, MAX_DISPLAY_NAME_LENGTH),
      request: { filename: file.filename },
      requestHash: file.hash,
      createdBy: email,
      expireTime: file.fileSeconds === undefined ? undefined : new Date(Date.now() + file.fileSeconds * 1000),
    }));
  const upload = { key: uploadKey(dataset), filename: file.filename, sizeBytes: file.sizeBytes, sha256: file.sha256 };
  try {
    await recordUpload(database, dataset, upload);
    await file.publish(upload.key);
    await validateDataset(temporal, database, accountId, validationInput(dataset, upload), later(request, dataset));
  } catch (error) {
    await deleteDataset(database, dataset.uid);
    await objects.removePrefix(upload.key);
    throw error;
  }
  return (await findFile(database, accountId, id))!;
}

/** False for what a process left that died while the content was on its way: the same request then brings it again. */
async function hasContent({ objects }: ApiDependencies, { state, status_code: code, upload }: DatasetRecord): Promise<boolean> {
  return state === 'READY' || code !== 'OK' || (upload !== null && (await objects.head(upload.key)) !== null);
}

async function requireFile(database: Database, request: FastifyRequest): Promise<FileRecord> {
  const { file: id } = request.params as Static<typeof FilePath>;
  const file = await findFile(database, request.caller.accountId, id);
  if (!file) throw noSuchObject('file_id', 'file', id);
  return file;
}

/** Before validation has judged it, a file lies where it was uploaded; what validation refuses is not kept. */
async function contentKey({ objects }: ApiDependencies, file: FileRecord): Promise<string> {
  if (file.object_key) return file.object_key;
  if (file.upload_key && (await objects.head(file.upload_key))) return file.upload_key;
  throw new TemperError('RESOURCE_NOT_FOUND', `The content of ${file.id} is not kept: ${file.status_message || 'it was removed.'}`);
}

export function viewFile(file: FileRecord): Static<typeof OpenaiFile> {
  const failed = file.state !== 'READY' && file.status_code !== 'OK';
  return {
    id: file.id,
    object: 'file',
    bytes: file.size_bytes,
    created_at: seconds(file.create_time),
    ...(file.expire_time ? { expires_at: seconds(file.expire_time) } : {}),
    filename: file.filename,
    purpose: file.purpose,
    status: file.state === 'READY' ? 'processed' : failed ? 'error' : 'uploaded',
    ...(failed ? { status_details: file.status_message } : {}),
  };
}

function tooLarge(): TemperError {
  const limit = `${MAX_FILE_BYTES / 1024 ** 2} MiB`;
  return new TemperError(
    'BODY_TOO_LARGE',
    `The file is larger than ${limit}. Send it in parts: POST /v1/uploads, client.uploads in OpenAI's clients.`,
  );
}
