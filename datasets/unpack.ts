/**
 * Gzip and zstd files, told by their first bytes whatever their name, are decompressed to plain JSONL before anything reads
 * them: byte offsets, ranges and hashes are those of the JSONL. Compressed input is not trusted: what comes out is limited in
 * size and in proportion to what went in.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { MAX_COMPRESSION_RATIO, MAX_DECOMPRESSED_BYTES, MIN_BYTES_FOR_COMPRESSION_RATIO } from '../schemas/limits.js';
import type { Compression } from '../schemas/validationReport.js';
import type { Finding } from './problems.js';
import { CompressionError, unzstd } from './zstd.js';

/** A file as plain JSONL. */
export type Unpacked =
  /** It was that already. */
  | { path: string; compression?: undefined; problem?: undefined }
  | { path: string; compression: Compression; sha256: string; sizeBytes: number; problem?: undefined }
  /** It cannot be decompressed. */
  | { compression: Compression; problem: Finding };

/** Decompresses the file to `target` if it is compressed. Rejects only when a file cannot be read or written, or the signal aborts. */
export async function unpackFile(path: string, target: string, signal?: AbortSignal): Promise<Unpacked> {
  const format = await compressionFormat(path);
  if (format === undefined) return { path };
  const compression: Compression = { format, sizeBytes: (await stat(path)).size };
  const hash = createHash('sha256');
  let sizeBytes = 0;
  try {
    await pipeline(
      decompress(path, format),
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          sizeBytes += chunk.length;
          checkSize(sizeBytes, compression.sizeBytes);
          hash.update(chunk);
          yield chunk;
        }
      },
      createWriteStream(target),
      { signal },
    );
  } catch (error) {
    const problem = compressionProblem(error);
    if (problem === undefined) throw error;
    return { compression, problem };
  }
  return { path: target, compression, sha256: hash.digest('hex'), sizeBytes };
}

async function compressionFormat(path: string): Promise<Compression['format'] | undefined> {
  const file = await open(path);
  try {
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
    if (buffer[0] === 0x1f && buffer[1] === 0x8b) return 'gzip';
    // A zstd file may begin with a frame to be skipped.
    const magic = buffer.readUInt32LE();
    return magic === 0xfd2fb528 || (magic >= 0x184d2a50 && magic <= 0x184d2a5f) ? 'zstd' : undefined;
  } finally {
    await file.close();
  }
}

async function* decompress(path: string, format: Compression['format']): AsyncGenerator<Uint8Array> {
  const compressed = createReadStream(path, { highWaterMark: 256 * 1024 });
  if (format === 'zstd') {
    yield* unzstd(compressed);
    return;
  }
  const gunzip = createGunzip({ chunkSize: 256 * 1024 });
  compressed.on('error', (error) => gunzip.destroy(error));
  yield* compressed.pipe(gunzip);
  await checkRest(path, gunzip.bytesWritten);
}

/** What follows the last gzip member may only be zeros, as tapes and archives pad with. */
async function checkRest(path: string, from: number): Promise<void> {
  for await (const chunk of createReadStream(path, { start: from })) {
    if ((chunk as Buffer).some((byte) => byte !== 0)) throw new CompressionError('other data after the end of the gzip data');
  }
}

class SizeError extends Error {}

function checkSize(sizeBytes: number, compressedBytes: number): void {
  if (sizeBytes > MAX_DECOMPRESSED_BYTES) throw new SizeError(`more than ${MAX_DECOMPRESSED_BYTES} bytes`);
  if (sizeBytes > MIN_BYTES_FOR_COMPRESSION_RATIO && sizeBytes > compressedBytes * MAX_COMPRESSION_RATIO) {
    throw new SizeError(`more than ${MAX_COMPRESSION_RATIO} times the ${compressedBytes} bytes of the file`);
  }
}

/** The finding that an error of decompression stands for, or undefined for one of the disk. */
function compressionProblem(error: unknown): Finding | undefined {
  if (error instanceof SizeError) {
    const expected = `at most ${MAX_DECOMPRESSED_BYTES} bytes, and at most ${MAX_COMPRESSION_RATIO} times the compressed size`;
    return { code: 'E_TOO_LARGE', found: error.message, expected, fix: 'split the file, or upload it uncompressed' };
  }
  const expected = 'whole gzip or zstd data';
  const fix = 'compress the file again and upload the whole of it';
  if (error instanceof CompressionError) return { code: 'E_COMPRESSION', found: error.message, expected, fix };
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (!code.startsWith('Z_')) return undefined;
  const isCut = code === 'Z_BUF_ERROR';
  const found = isCut ? 'the end of the file in the middle of the gzip data' : `damaged gzip data (${(error as Error).message})`;
  return { code: 'E_COMPRESSION', found, expected, fix };
}
