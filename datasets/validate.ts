/**
 * Validates a dataset file of any size: every line, on worker threads, in bounded memory, while the caller's thread stays
 * free to heartbeat. The file is cut into byte ranges; threads read them in any order, and their tallies are added up in
 * file order, so the report is the same whatever the number of threads. What the ranges so far gave can be saved, and a
 * later call goes on from there.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { compiledEntry } from '../processes/compiled.js';
import { MAX_EXAMPLES } from '../schemas/limits.js';
import type { ValidationReport } from '../schemas/validationReport.js';
import { checkFormat, FORMAT_HEAD_BYTES } from './checkFormat.js';
import { hashFile } from './hashFile.js';
import type { RangeTally } from './rangeTally.js';
import { finishReport, refuseFile } from './report.js';
import { RangeQueue, type ValidatedPart, type ValidateProgress } from './rangeQueue.js';
import type { Unpacked } from './unpack.js';

export interface ValidateOptions {
  /** Called whenever work was done, several times a second: `bytes` are those validated, of `totalBytes`. */
  onProgress?(progress: ValidateProgress): void;
  /** Aborting ends the threads and rejects with the signal's reason. */
  signal?: AbortSignal;
  maxExamples?: number;
  /** At most this many ranges at once. Default: one a core, at most 4. */
  threads?: number;
  /** The file's hash where the caller knows it, which saves reading the file twice. */
  sha256?: string;
  /** Called with each stretch of the file that is done; validation ends when all are saved. */
  onPart?(part: ValidatedPart): Promise<void>;
  /** The parts that an earlier call saved, in order; what they cover is not read again. The file must be the same. */
  parts?: readonly Buffer[];
}

const DEFAULT_MAX_THREADS = 4;
/** A row leaves nothing behind, so a small nursery does; what a line of the largest size takes is far below the other limit. */
const THREAD_LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 1024 };
/** A file this small is read at once on the caller's thread: threads take longer to start. */
const MAX_INLINE_BYTES = 256 * 1024;

/** The report of what `unpackFile` gave. Rejects as `validateFile` does. */
export async function validateUnpacked(unpacked: Unpacked, options: ValidateOptions = {}): Promise<ValidationReport> {
  const { compression, problem } = unpacked;
  if (compression === undefined) return validateFile(unpacked.path, options);
  if (problem !== undefined) return { ...refuseFile(problem, 0), compression };
  return { ...(await validateFile(unpacked.path, { ...options, sha256: unpacked.sha256 })), compression };
}

/** Rejects only when the file cannot be read or the signal aborts: what is wrong with the data is in the report. */
export async function validateFile(path: string, options: ValidateOptions = {}): Promise<ValidationReport> {
  const { signal } = options;
  signal?.throwIfAborted();
  const { head, sizeBytes } = await readHead(path);
  const problem = options.parts?.length ? undefined : checkFormat(head);
  if (problem !== undefined) return refuseFile(problem, sizeBytes);

  const queue = new RangeQueue(path, sizeBytes, { ...options, maxExamples: options.maxExamples ?? MAX_EXAMPLES });
  if (sizeBytes <= MAX_INLINE_BYTES) return validateInline(path, queue, options);
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal?.reason);
  signal?.addEventListener('abort', onAbort);
  try {
    const hashing = options.sha256 ?? hashFile(path, stop.signal);
    await Promise.race([readRanges(queue, options, stop.signal), rejectionOf(hashing)]);
    return finishReport(queue.file, { sizeBytes, sha256: queue.isCutShort ? undefined : await hashing });
  } finally {
    stop.abort();
    signal?.removeEventListener('abort', onAbort);
  }
}

async function validateInline(path: string, queue: RangeQueue, { sha256, onProgress }: ValidateOptions): Promise<ValidationReport> {
  // Loaded here alone: of a large file the threads read the rows, and need not wait until this thread has the same modules.
  const { tallyRange } = await import('./tally.js');
  for (let task = queue.next(); task !== undefined; task = queue.next()) {
    queue.add(tallyRange(task.path, task.range, { ...task, withoutDistinct: new Set(task.withoutDistinct) }));
  }
  onProgress?.(queue.progress());
  const { sizeBytes } = queue;
  return finishReport(queue.file, {
    sizeBytes,
    sha256: queue.isCutShort ? undefined : (sha256 ?? createHash('sha256').update(readFileSync(path)).digest('hex')),
  });
}

/** Gives the queue's ranges to threads until it is done. */
async function readRanges(queue: RangeQueue, options: ValidateOptions, signal: AbortSignal): Promise<void> {
  if (queue.isDone) return options.onProgress?.(queue.progress());
  const threads = Math.max(1, Math.min(options.threads ?? Math.min(availableParallelism(), DEFAULT_MAX_THREADS), queue.ranges));
  const workers = Array.from(
    { length: threads },
    () => new Worker(compiledEntry(new URL('./validateThread.ts', import.meta.url)), { resourceLimits: THREAD_LIMITS, execArgv: [] }),
  );
  let saved = Promise.resolve();
  try {
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
      const giveRange = (worker: Worker) => {
        const task = queue.next();
        if (task !== undefined) worker.postMessage(task);
        else if (queue.isDone) resolve();
      };
      for (const worker of workers) {
        worker.on('error', reject);
        worker.on('message', (tally: RangeTally) => {
          try {
            for (const part of queue.add(tally)) {
              saved = saved.then(() => options.onPart?.(part));
              saved.catch(reject);
            }
            options.onProgress?.(queue.progress());
            giveRange(worker);
          } catch (error) {
            reject(error as Error);
          }
        });
      }
      // Two each, so that a thread has something to read while this one adds up what it read before; the first of all before any second.
      for (const worker of [...workers, ...workers]) giveRange(worker);
    });
    await saved;
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

/** Settles only if the promise is rejected, and then the same way. */
function rejectionOf(promise: Promise<unknown> | string): Promise<never> {
  return new Promise((_, reject) => void Promise.resolve(promise).catch(reject));
}

async function readHead(path: string): Promise<{ head: Buffer; sizeBytes: number }> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(FORMAT_HEAD_BYTES), position: 0 });
    return { head: buffer.subarray(0, bytesRead), sizeBytes: size };
  } finally {
    await file.close();
  }
}
