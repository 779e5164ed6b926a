/**
 * Zstandard frames to bytes. `fzstd` decodes the blocks; the frames around them are read here, so that a frame can ask for no
 * more memory than it may have, each block is one step, and what is cut off or follows the last frame is noticed.
 * Frame layout: RFC 8878. Content checksums are not compared (`fzstd` does not compute them).
 */
import { Decompress } from 'fzstd';
import { MAX_ZSTD_WINDOW_BYTES } from '../schemas/limits.js';

/** Why the compressed data cannot be read, for people. */
export class CompressionError extends Error {}

const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50; // the last four bits are free
const MAX_BLOCK_BYTES = 128 * 1024;
const RLE_BLOCK = 1;

/** @throws CompressionError */
export async function* unzstd(chunks: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
  const source = new ByteSource(chunks);
  while (!(await source.isAtEnd())) {
    const start = await source.read(4);
    const magic = start.readUInt32LE();
    if ((magic & ~0xf) >>> 0 === SKIPPABLE_MAGIC) await source.skip((await source.read(4)).readUInt32LE());
    else if (magic === MAGIC) yield* readFrame(source, start);
    else throw new CompressionError(`bytes ${start.toString('hex')} where a zstd frame should begin`);
  }
}

async function* readFrame(source: ByteSource, magic: Buffer): AsyncGenerator<Uint8Array> {
  const descriptor = await source.read(1);
  const flags = descriptor[0]!;
  const isSingleSegment = (flags & 0x20) !== 0;
  const windowDescriptor = await source.read(isSingleSegment ? 0 : 1);
  const dictionary = await source.read([0, 1, 2, 4][flags & 3]!);
  const contentSize = await source.read([isSingleSegment ? 1 : 0, 2, 4, 8][flags >>> 6]!);
  if (dictionary.some((byte) => byte !== 0)) throw new CompressionError('a zstd frame that needs a dictionary');
  const windowBytes = isSingleSegment ? sizeOf(contentSize) : windowSize(windowDescriptor[0]!);
  if (windowBytes > MAX_ZSTD_WINDOW_BYTES) {
    throw new CompressionError(`a zstd window of ${windowBytes} bytes, more than ${MAX_ZSTD_WINDOW_BYTES}: compress without --long`);
  }

  const decoded: Uint8Array[] = [];
  const decoder = new Decompress((bytes) => decoded.push(bytes.slice()));
  let pending = [magic, descriptor, windowDescriptor, dictionary, contentSize];
  for (let isLast = false; !isLast;) {
    const header = await source.read(3);
    const bits = header.readUIntLE(0, 3);
    isLast = (bits & 1) === 1;
    const sizeBytes = bits >>> 3;
    if (sizeBytes > MAX_BLOCK_BYTES) throw new CompressionError('a damaged zstd block');
    pending.push(header, await source.read(((bits >>> 1) & 3) === RLE_BLOCK ? 1 : sizeBytes));
    if (isLast && (flags & 4) !== 0) pending.push(await source.read(4));
    try {
      decoder.push(Buffer.concat(pending), isLast);
    } catch {
      throw new CompressionError('damaged zstd data');
    }
    pending = [];
    yield* decoded.splice(0);
  }
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3));
  return base + (base / 8) * (descriptor & 7);
}

function sizeOf(field: Buffer): number {
  if (field.length === 8) return Number(field.readBigUInt64LE());
  return field.length === 2 ? field.readUInt16LE() + 256 : field.readUIntLE(0, field.length);
}

/** Bytes of a stream, so many at a time. */
class ByteSource {
  private readonly iterator: AsyncIterator<Buffer>;
  private rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.iterator = chunks[Symbol.asyncIterator]();
  }

  async isAtEnd(): Promise<boolean> {
    return this.rest.length === 0 && !(await this.fill());
  }

  async read(count: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let missing = count; missing > 0;) {
      if (await this.isAtEnd()) throw new CompressionError('the end of the file in the middle of a zstd frame');
      const part = this.rest.subarray(0, missing);
      this.rest = this.rest.subarray(part.length);
      missing -= part.length;
      parts.push(part);
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  async skip(count: number): Promise<void> {
    for (let missing = count; missing > 0;) missing -= (await this.read(Math.min(missing, 64 * 1024))).length;
  }

  private async fill(): Promise<boolean> {
    for (;;) {
      const { done, value } = await this.iterator.next();
      if (done) return false;
      if (value.length === 0) continue;
      this.rest = value;
      return true;
    }
  }
}
