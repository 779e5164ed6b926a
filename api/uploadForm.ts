/** Files that arrive in a form: written to disk and hashed on the way, however large, and gone again when they have been dealt with. */
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { FastifyRequest } from 'fastify';
import { TemperError } from '../schemas/errors.js';
import type { Database } from '../stores/database.js';
import { digestTap, type FileDigest } from '../stores/objects.js';
import { quotaExceeded, readQuota } from '../stores/quotas.js';

/** What a form adds to the file: boundaries, headers, a few fields. */
const FORM_OVERHEAD_BYTES = 64 * 1024;
const MAX_FILENAME_BYTES = 255;

export interface SpooledFile {
  /** Path of the file on this machine. */
  file: string;
  filename: string;
  digest: FileDigest;
  /** The form's other parts, by name. */
  fields: Record<string, string>;
}

export interface FormLimits {
  maxBytes: number;
  tooLarge: () => TemperError;
}

export interface FormSpool {
  /**
   * Gives the form's one file to `use`. A connection that breaks off is an error, never a shorter file.
   * @throws TemperError QUOTA_EXCEEDED when the account sends too many at a time
   */
  spool<T>(request: FastifyRequest, limits: FormLimits, use: (spooled: SpooledFile) => Promise<T>): Promise<T>;
}

export function openFormSpool(database: Database, tmpFolder: string): FormSpool {
  const slots = openUploadSlots(database);
  return {
    async spool(request, limits, use) {
      // From the header alone, before a byte of the body is read.
      if (Number(request.headers['content-length'] ?? 0) > limits.maxBytes + FORM_OVERHEAD_BYTES) throw limits.tooLarge();
      if (!request.isMultipart())
        throw new TemperError('UNSUPPORTED_MEDIA_TYPE', 'Send the file as multipart/form-data, in a part named "file".');
      const done = await slots.take(request.caller.accountId);
      const folder = path.join(tmpFolder, `upload-${process.pid}-${randomUUID()}`);
      try {
        await mkdir(folder, { recursive: true });
        return await use(await spool(request, path.join(folder, 'file'), limits));
      } finally {
        done();
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
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

async function spool(request: FastifyRequest, file: string, { maxBytes, tooLarge }: FormLimits): Promise<SpooledFile> {
  let spooled: Omit<SpooledFile, 'fields'> | null = null;
  const fields: Record<string, string> = Object.create(null) as Record<string, string>;
  const limits = { files: 1, fields: 10, fieldSize: 10_000, parts: 12, headerPairs: 50, fileSize: maxBytes };
  for await (const part of request.parts({ limits, preservePath: true })) {
    if (part.type !== 'file') {
      fields[part.fieldname] = String(part.value);
      continue;
    }
    const filename = requireFilename(part.filename);
    const tap = digestTap();
    await pipeline(part.file, tap.stream, createWriteStream(file));
    if (part.file.truncated) throw tooLarge();
    spooled = { file, filename, digest: tap.digest() };
  }
  if (!spooled) throw new TemperError('INVALID_UPLOAD', 'The form has no file. Send it in a part named "file", with a file name.');
  return { ...spooled, fields };
}

/** A plain name: shown to people and given to downloads, so no folders, control characters or marks that reorder text. */
export function requireFilename(filename: string | undefined): string {
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
