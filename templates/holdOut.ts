/** Decides which examples of all parts are held back, and writes the set's index and the file of those held back. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { splitByHash } from './split.js';

export type HoldOutRequest = {
  /** In the order of the dataset. */
  parts: { partPath: string; indexPath: string; examples: number }[];
  /** Share of the examples to hold back; 0: none; 1: all, in the order of the dataset. */
  evaluationSplit: number;
  indexPath: string;
  evalPath: string;
};

/** Size and hash of a finished file. */
export type WrittenFile = { sha256: string; sizeBytes: number };

export type HoldOutResult = {
  evalExamples: number;
  /** The length in bytes of each example, then the places of those held back among all: numbers of 32 bits, little-endian. */
  index: WrittenFile;
  eval: WrittenFile;
  /** All examples are equal, and some had to be held back all the same. */
  overlaps: boolean;
};

const BUFFER_BYTES = 1 << 20;
const REPORT_EVERY_MS = 100;

/** The evaluation examples are copied in the split's order. `report` is told of signs of life. */
export async function holdOut(request: HoldOutRequest, report: () => void): Promise<HoldOutResult> {
  const { hashes, lengths } = readIndex(request.parts);
  const { evaluation, overlaps } =
    request.evaluationSplit === 1
      ? { evaluation: Uint32Array.from(hashes, (_hash, index) => index), overlaps: false }
      : splitByHash(hashes, request.evaluationSplit);
  const index = new OutputFile(request.indexPath);
  index.write(lengths);
  index.write(evaluation);
  // Where each example begins in its part's file, and which part that is.
  const offsets = new Float64Array(hashes.length);
  const partOf = new Uint16Array(hashes.length);
  let first = 0;
  for (const [part, { examples }] of request.parts.entries()) {
    partOf.fill(part, first, first + examples);
    for (let at = first, offset = 0; at < first + examples; offset += lengths[at++]!) offsets[at] = offset;
    first += examples;
  }
  const files = request.parts.map(({ partPath }) => openSync(partPath, 'r'));
  const held = new OutputFile(request.evalPath);
  let reportedAt = 0;
  try {
    for (const each of evaluation) {
      held.copyFrom(files[partOf[each]!]!, offsets[each]!, offsets[each]! + lengths[each]!);
      if (Date.now() - reportedAt < REPORT_EVERY_MS) continue;
      reportedAt = Date.now();
      report();
      await setImmediate();
    }
    return { evalExamples: evaluation.length, index: index.close(), eval: held.close(), overlaps };
  } finally {
    for (const file of files) closeSync(file);
  }
}

function readIndex(parts: HoldOutRequest['parts']): { hashes: BigUint64Array; lengths: Uint32Array } {
  const count = parts.reduce((sum, { examples }) => sum + examples, 0);
  const [hashes, lengths] = [new BigUint64Array(count), new Uint32Array(count)];
  let at = 0;
  for (const { indexPath, examples } of parts) {
    const file = openSync(indexPath, 'r');
    readFully(file, hashes.subarray(at, at + examples), 0);
    readFully(file, lengths.subarray(at, at + examples), examples * hashes.BYTES_PER_ELEMENT);
    closeSync(file);
    at += examples;
  }
  return { hashes, lengths };
}

function readFully(file: number, into: BigUint64Array | Uint32Array, position: number): void {
  for (let done = 0; done < into.byteLength;) {
    const count = readSync(file, into, done, into.byteLength - done, position + done);
    if (count === 0) throw new Error('an index file is shorter than its number of examples says');
    done += count;
  }
}

/** A file written in large pieces, hashed on the way. */
class OutputFile {
  private readonly file: number;
  private readonly hash: Hash = createHash('sha256');
  private readonly buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  private filled = 0;
  private size = 0;

  constructor(path: string) {
    this.file = openSync(path, 'w');
  }

  write({ buffer, byteOffset, byteLength }: Uint32Array): void {
    this.flush();
    const bytes = Buffer.from(buffer, byteOffset, byteLength);
    this.hash.update(bytes);
    this.size += byteLength;
    writeFully(this.file, bytes);
  }

  /** Bytes `start` up to `end` of an open file. */
  copyFrom(source: number, start: number, end: number): void {
    for (let at = start; at < end;) {
      if (this.filled === this.buffer.length) this.flush();
      const count = readSync(source, this.buffer, this.filled, Math.min(this.buffer.length - this.filled, end - at), at);
      if (count === 0) throw new Error('a file of examples is shorter than its index says');
      this.filled += count;
      at += count;
    }
  }

  close(): WrittenFile {
    this.flush();
    closeSync(this.file);
    return { sha256: this.hash.digest('hex'), sizeBytes: this.size };
  }

  private flush(): void {
    const bytes = this.buffer.subarray(0, this.filled);
    this.hash.update(bytes);
    this.size += this.filled;
    writeFully(this.file, bytes);
    this.filled = 0;
  }
}

function writeFully(file: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done, bytes.length - done);
}
