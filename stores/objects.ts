/**
 * The object store (S3). Every write carries its SHA-256, which the server checks before the object exists; every read that
 * matters checks it again. Some gateways publish what a dying client sent, so a size or an existing key proves nothing.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  CopyObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  NoSuchKey,
  NotFound,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { TemperError } from '../schemas/errors.js';
import { openMultipart } from './multipart.js';

export interface ObjectStoreSettings {
  endpoint?: string;
  /** The address clients reach; signed URLs carry it. Defaults to `endpoint`. */
  publicEndpoint?: string;
  region: string;
  bucket: string;
  /** Somebody waits for the answer: a server that says nothing for this long is given up after three tries. */
  silenceMs?: number;
}
export interface FileDigest {
  sha256: string;
  sizeBytes: number;
}
export interface ListedObject {
  key: string;
  sizeBytes: number;
  etag: string;
  modifiedTime: Date;
}
export type ObjectStore = ReturnType<typeof openObjectStore>;

/** S3 takes no more in one PUT. */
const MAX_PUT_BYTES = 5 * 1024 ** 3;
/** Of a multipart upload: all that is held in memory. S3 wants 5 MiB at least and 10,000 parts at most. */
const PART_BYTES = 32 * 1024 ** 2;
const CONNECTION_TIMEOUT_MS = 5_000;
/** A server that says nothing for this long hangs: putting together a large object takes less. */
const SILENCE_TIMEOUT_MS = 120_000;

export function openObjectStore(settings: ObjectStoreSettings) {
  const { bucket } = settings;
  const openClient = (socketTimeout: number, maxAttempts: number) =>
    new S3Client({
      region: settings.region,
      endpoint: settings.endpoint,
      forcePathStyle: true,
      maxAttempts,
      requestHandler: { connectionTimeout: CONNECTION_TIMEOUT_MS, socketTimeout },
    });
  /** For what a healthy server may take long for. */
  const patient = openClient(SILENCE_TIMEOUT_MS, 5);
  const client = settings.silenceMs === undefined ? patient : openClient(settings.silenceMs, 3);
  // A presigned URL must not carry the checksum of the empty body that the default settings would sign into it.
  const signer = new S3Client({
    region: settings.region,
    endpoint: settings.publicEndpoint ?? settings.endpoint,
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });

  /** Publishes a local file under a key. `writeOnce`: an object already there is left as it is (the caller's keys are content-addressed). */
  async function putFile(key: string, file: string, options: { digest?: FileDigest; writeOnce?: boolean } = {}): Promise<FileDigest> {
    const digest = options.digest ?? (await digestFile(file));
    if (digest.sizeBytes <= MAX_PUT_BYTES) await put(key, { file }, digest, options.writeOnce);
    else await putStream(key, readChunks(file));
    return digest;
  }

  /** Publishes what a stream gives, of any length, in parts that the server checks one by one. A stream that fails publishes nothing. */
  async function putStream(key: string, source: AsyncIterable<Buffer>): Promise<FileDigest> {
    const target = { Bucket: bucket, Key: safeKey(key) };
    const hash = createHash('sha256');
    let sizeBytes = 0;
    const parts: { PartNumber: number; ETag: string | undefined; ChecksumSHA256: string }[] = [];
    try {
      const { UploadId } = await client.send(new CreateMultipartUploadCommand({ ...target, ChecksumAlgorithm: 'SHA256' }));
      try {
        for await (const part of inParts(source, PART_BYTES)) {
          hash.update(part);
          sizeBytes += part.length;
          const ChecksumSHA256 = createHash('sha256').update(part).digest('base64');
          const PartNumber = parts.length + 1;
          const { ETag } = await client.send(
            new UploadPartCommand({ ...target, UploadId, PartNumber, Body: part, ContentLength: part.length, ChecksumSHA256 }),
          );
          parts.push({ PartNumber, ETag, ChecksumSHA256 });
        }
        await patient.send(new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts: parts } }));
      } catch (error) {
        await client.send(new AbortMultipartUploadCommand({ ...target, UploadId })).catch(() => undefined);
        throw error;
      }
    } catch (error) {
      throw storeError(error, key);
    }
    return { sha256: hash.digest('hex'), sizeBytes };
  }

  async function putBytes(key: string, body: Buffer | string, options: { writeOnce?: boolean } = {}): Promise<FileDigest> {
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body);
    const digest = { sha256: createHash('sha256').update(bytes).digest('hex'), sizeBytes: bytes.length };
    await put(key, bytes, digest, options.writeOnce);
    return digest;
  }

  async function put(key: string, body: Buffer | { file: string }, digest: FileDigest, writeOnce = false): Promise<void> {
    const target = { Bucket: bucket, Key: safeKey(key) };
    const unreadable = new AbortController();
    const content = Buffer.isBuffer(body) ? body : createReadStream(body.file);
    // The client does not listen: the error of a file that is gone would end the process.
    if (content instanceof Readable) content.on('error', (error) => unreadable.abort(error));
    const command = new PutObjectCommand({
      ...target,
      Body: content,
      ContentLength: digest.sizeBytes,
      ChecksumSHA256: Buffer.from(digest.sha256, 'hex').toString('base64'),
      IfNoneMatch: writeOnce ? '*' : undefined,
    });
    try {
      await client.send(command, { abortSignal: unreadable.signal });
    } catch (error) {
      if (writeOnce && error instanceof S3ServiceException && error.$metadata.httpStatusCode === 412) return;
      throw storeError(unreadable.signal.aborted ? unreadable.signal.reason : error, key);
    } finally {
      if (content instanceof Readable) content.destroy();
    }
  }

  /** Brings an object to a local file: whole and with the expected hash, or not at all. */
  async function getFile(key: string, file: string, expected?: { sha256: string }, signal?: AbortSignal): Promise<FileDigest> {
    await mkdir(path.dirname(file), { recursive: true });
    const partial = `${file}.partial-${process.pid}`;
    try {
      const tap = digestTap();
      await pipeline(await getStream(key), tap.stream, createWriteStream(partial), { signal });
      const digest = tap.digest();
      if (expected && digest.sha256 !== expected.sha256) {
        throw new TemperError(
          'OBJECT_CORRUPT',
          `The object ${key} does not have the content it was stored with (SHA-256 ${digest.sha256}, expected ${expected.sha256}).`,
        );
      }
      await rename(partial, file);
      return digest;
    } catch (error) {
      await rm(partial, { force: true });
      throw storeError(error, key);
    }
  }

  async function getStream(key: string): Promise<Readable> {
    try {
      const reply = await client.send(new GetObjectCommand({ Bucket: bucket, Key: safeKey(key) }));
      return reply.Body as Readable;
    } catch (error) {
      throw storeError(error, key);
    }
  }

  /** Bytes `start` (included) to `end` (excluded) of an object. */
  async function getRange(key: string, start: number, end: number): Promise<Buffer> {
    if (end <= start) return Buffer.alloc(0);
    try {
      const reply = await client.send(new GetObjectCommand({ Bucket: bucket, Key: safeKey(key), Range: `bytes=${start}-${end - 1}` }));
      return Buffer.from(await reply.Body!.transformToByteArray());
    } catch (error) {
      throw storeError(error, key);
    }
  }

  async function getBytes(key: string): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of readObject(key)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** The object piece by piece, for readers that bear it when the end does not come. @throws TemperError OBJECT_STORE_UNAVAILABLE then */
  async function* readObject(key: string): AsyncGenerator<Buffer> {
    const stream = await getStream(key);
    try {
      for await (const chunk of stream) yield chunk as Buffer;
    } catch (error) {
      throw storeError(error, key);
    }
  }

  async function getText(key: string): Promise<string> {
    return (await getBytes(key)).toString('utf8');
  }

  /** Copies inside the store: up to 5 GiB, without the bytes coming here. */
  async function copy(from: string, to: string): Promise<void> {
    try {
      const source = `${bucket}/${safeKey(from).split('/').map(encodeURIComponent).join('/')}`;
      await patient.send(new CopyObjectCommand({ Bucket: bucket, Key: safeKey(to), CopySource: source }));
    } catch (error) {
      throw storeError(error, from);
    }
  }

  /** Size of an object, or null when there is none. */
  async function head(key: string): Promise<{ sizeBytes: number } | null> {
    try {
      const reply = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: safeKey(key) }));
      return { sizeBytes: reply.ContentLength ?? 0 };
    } catch (error) {
      if (error instanceof NotFound || error instanceof NoSuchKey) return null;
      throw storeError(error, key);
    }
  }

  async function list(prefix: string): Promise<ListedObject[]> {
    const found: ListedObject[] = [];
    let token: string | undefined;
    do {
      const page = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token }));
      for (const { Key: key, Size, ETag, LastModified } of page.Contents ?? [])
        if (key) found.push({ key, sizeBytes: Size ?? 0, etag: ETag ?? '', modifiedTime: LastModified ?? new Date() });
      token = page.NextContinuationToken;
    } while (token);
    return found;
  }

  /** Deletes everything under a prefix (or one key); nothing there is success. */
  async function removePrefix(prefix: string): Promise<void> {
    const keys = (await list(prefix)).map(({ key }) => ({ Key: key }));
    for (let start = 0; start < keys.length; start += 1000) {
      await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: keys.slice(start, start + 1000), Quiet: true } }));
    }
  }

  /** A URL that uploads exactly one object of exactly this size, for as long as it is valid. */
  async function signUpload(key: string, sizeBytes: number, expiresInSeconds: number): Promise<string> {
    const command = new PutObjectCommand({ Bucket: bucket, Key: safeKey(key), ContentLength: sizeBytes });
    return getSignedUrl(signer, command, { expiresIn: expiresInSeconds, signableHeaders: new Set(['host', 'content-length']) });
  }

  async function signDownload(key: string, filename: string, expiresInSeconds: number): Promise<string> {
    const command = new GetObjectCommand({
      Bucket: bucket,
      Key: safeKey(key),
      ResponseContentDisposition: `attachment; filename="${filename.replace(/[^\w.-]/g, '_')}"`,
    });
    return getSignedUrl(signer, command, { expiresIn: expiresInSeconds });
  }

  function close(): void {
    client.destroy();
    patient.destroy();
    signer.destroy();
  }

  return {
    putFile,
    putStream,
    putBytes,
    getFile,
    getStream,
    readObject,
    getRange,
    getBytes,
    getText,
    copy,
    head,
    list,
    removePrefix,
    signUpload,
    signDownload,
    multipart: openMultipart({ client, patient, signer }, bucket),
    close,
  };
}

/** Opened when the first chunk is asked for, and closed when no more are. */
async function* readChunks(file: string): AsyncGenerator<Buffer> {
  yield* createReadStream(file, { highWaterMark: 1 << 20 });
}

/** Chunks joined to parts of one size, the last one shorter; one empty part of nothing. */
async function* inParts(source: AsyncIterable<Buffer>, partBytes: number): AsyncGenerator<Buffer> {
  let chunks: Buffer[] = [];
  let held = 0;
  let given = 0;
  for await (let chunk of source) {
    while (held + chunk.length >= partBytes) {
      const rest = chunk.subarray(partBytes - held);
      yield Buffer.concat([...chunks, chunk.subarray(0, partBytes - held)]);
      given += 1;
      chunks = [];
      held = 0;
      chunk = rest;
    }
    if (chunk.length === 0) continue;
    chunks.push(chunk);
    held += chunk.length;
  }
  if (held > 0 || given === 0) yield Buffer.concat(chunks);
}

/** A pass-through stream and, once it has ended, the digest of what went through. */
export function digestTap(): { stream: Transform; digest(): FileDigest } {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      done(null, chunk);
    },
  });
  return { stream, digest: () => ({ sha256: hash.digest('hex'), sizeBytes }) };
}

export async function digestFile(file: string): Promise<FileDigest> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return { sha256: hash.digest('hex'), sizeBytes: (await stat(file)).size };
}

/** Gateways fold `..`, `//` and leading slashes into other people's keys, so ours never have them. */
function safeKey(key: string): string {
  if (key.split('/').some((part) => part === '' || part === '.' || part === '..'))
    throw new TemperError('INTERNAL', `Unsafe object key: ${key}`);
  return key;
}

/** What befalls the file that is sent or written: waiting for the store would not help. */
const OF_LOCAL_FILES = new Set(['ENOENT', 'ENOSPC', 'EACCES', 'EIO']);

function storeError(error: unknown, key: string): unknown {
  if (error instanceof TemperError) return error;
  if (error instanceof NoSuchKey || error instanceof NotFound) {
    return new TemperError('OBJECT_MISSING', `The object ${key} is not in the object store.`);
  }
  if (error instanceof Error && (error.name === 'AbortError' || OF_LOCAL_FILES.has((error as NodeJS.ErrnoException).code ?? '')))
    return error;
  const reason = error instanceof Error ? error.name : String(error);
  return new TemperError('OBJECT_STORE_UNAVAILABLE', `The object store did not take or give ${key} (${reason}).`);
}
