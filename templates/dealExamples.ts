/** Deals the examples of all parts out to the training set and the evaluation set. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { splitByHash } from './split.js';

export type DealRequest = {
  /** In the order of the dataset. */
  parts: { partPath: string; indexPath: string; examples: number }[];
  /** Share of the examples to hold back; 0: none. */
  evaluationSplit: number;
  trainPath: string;
  evalPath: string;
};

/** Size and hash of a finished file. */
export type WrittenFile = { sha256: string; sizeBytes: number };

export type DealResult = {
  trainExamples: number;
  evalExamples: number;
  train: WrittenFile;
  eval: WrittenFile;
  /** All examples are equal, and some had to be held back all the same. */
  overlaps: boolean;
};

const BUFFER_BYTES = 1 << 20;
const REPORT_EVERY_MS = 100;

/** The training examples in the dataset's order, the evaluation examples in the split's. `report` is told of signs of life. */
export async function dealExamples(request: DealRequest, report: () => void): Promise<DealResult> {
  const { hashes, lengths } = readIndex(request.parts);
  const { evaluation, overlaps } = splitByHash(hashes, request.evaluationSplit);
  const isHeld = new Uint8Array(hashes.length);
  for (const index of evaluation) isHeld[index] = 1;
  // Where each example begins in its part's file, and which part that is.
  const offsets = new Float64Array(hashes.length);
  const partOf = new Uint16Array(hashes.length);
  const files = request.parts.map(({ partPath }) => openSync(partPath, 'r'));
  const train = new OutputFile(request.trainPath);
  const held = new OutputFile(request.evalPath);
  let reportedAt = 0;
  const breathe = async (): Promise<void> => {
    if (Date.now() - reportedAt < REPORT_EVERY_MS) return;
    reportedAt = Date.now();
    report();
    await setImmediate();
  };
  try {
    let index = 0;
    for (const [part, { examples }] of request.parts.entries()) {
      let offset = 0;
      // Neighbours that are trained on are copied together.
      let runStart = 0;
      for (const end = index + examples; index < end; index++) {
        offsets[index] = offset;
        partOf[index] = part;
        if (isHeld[index] === 1) {
          train.copyFrom(files[part]!, runStart, offset);
          runStart = offset + lengths[index]!;
          await breathe();
        }
        offset += lengths[index]!;
      }
      for (; runStart < offset; runStart += BUFFER_BYTES) {
        train.copyFrom(files[part]!, runStart, Math.min(runStart + BUFFER_BYTES, offset));
        await breathe();
      }
    }
    for (const each of evaluation) {
      held.copyFrom(files[partOf[each]!]!, offsets[each]!, offsets[each]! + lengths[each]!);
      await breathe();
    }
    const trainExamples = hashes.length - evaluation.length;
    return { trainExamples, evalExamples: evaluation.length, train: train.close(), eval: held.close(), overlaps };
  } finally {
    for (const file of files) closeSync(file);
  }
}

function readIndex(parts: DealRequest['parts']): { hashes: BigUint64Array; lengths: Uint32Array } {
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
    this.hash.update(this.buffer.subarray(0, this.filled));
    this.size += this.filled;
    for (let done = 0; done < this.filled;) done += writeSync(this.file, this.buffer, done, this.filled - done);
    this.filled = 0;
  }
}
