/**
 * Validates a dataset file of any size: every line, on worker threads, in bounded memory, while the caller's thread stays
 * free to heartbeat. The file is cut into byte ranges; threads read them in any order, and their tallies are added up in
 * file order, so the report is the same whatever the number of threads.
 */
import { open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { MAX_EXAMPLES } from '../schemas/limits.js';
import type { ValidationReport } from '../schemas/validationReport.js';
import type { ByteRange } from './blocks.js';
import { checkFormat, FORMAT_HEAD_BYTES } from './checkFormat.js';
import { addRange, finishReport, refuseFile, startFileTally, type FileTally } from './report.js';
import type { RangeTally } from './rangeTally.js';

export interface ValidateOptions {
  /** Called whenever work was done, several times a second: `bytes` are those validated, of `totalBytes`. */
  onProgress?(progress: { bytes: number; totalBytes: number; examples: number }): void;
  /** Aborting ends the threads and rejects with the signal's reason. */
  signal?: AbortSignal;
  maxExamples?: number;
  /** At most this many ranges at once. Default: one a core, at most 4. */
  threads?: number;
  /** The file's hash where the caller knows it, which saves reading the file twice. */
  sha256?: string;
}

/** Bytes a thread reads before it reports: small enough for steady progress, large enough that adding up costs nothing. */
const RANGE_BYTES = 8 * 1024 * 1024;
const DEFAULT_MAX_THREADS = 4;

/** A thread's piece of work, and its answer. */
export type ThreadTask =
  { kind: 'tally'; path: string; range: ByteRange; maxRows: number; withoutDistinct: string[] } | { kind: 'hash'; path: string };
export type ThreadReply = { kind: 'tally'; tally: RangeTally } | { kind: 'hash'; sha256: string } | { kind: 'hashing' };

/** Rejects only when the file cannot be read or the signal aborts: what is wrong with the data is in the report. */
export async function validateFile(path: string, options: ValidateOptions = {}): Promise<ValidationReport> {
  const { signal } = options;
  signal?.throwIfAborted();
  const { head, sizeBytes } = await readHead(path);
  const problem = checkFormat(head);
  if (problem !== undefined) return refuseFile(problem, sizeBytes);

  const ranges = Math.max(1, Math.ceil(sizeBytes / RANGE_BYTES));
  const threads = Math.max(1, Math.min(options.threads ?? Math.min(availableParallelism(), DEFAULT_MAX_THREADS), ranges));
  const reading = new Reading(path, sizeBytes, ranges, options);
  const workers = Array.from({ length: threads }, startThread);
  let onAbort: (() => void) | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      onAbort = () => reject(signal?.reason as Error);
      signal?.addEventListener('abort', onAbort);
      const giveTask = (worker: Worker) => {
        const task = reading.nextTask();
        if (task !== undefined) worker.postMessage(task);
        else if (reading.isDone()) resolve();
      };
      for (const worker of workers) {
        worker.on('error', reject);
        worker.on('message', (reply: ThreadReply) => {
          try {
            reading.take(reply);
            if (reply.kind !== 'hashing') giveTask(worker);
          } catch (error) {
            reject(error as Error);
          }
        });
        giveTask(worker);
      }
    });
  } finally {
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  return reading.report(head);
}

/** Hands out the ranges and the hash, and adds up what comes back. */
class Reading {
  private file: FileTally | undefined;
  private nextRange = 0;
  private merged = 0;
  private readonly waiting = new Map<number, RangeTally>();
  private hash: 'todo' | 'running' | { sha256: string };
  private isStopped = false;
  private repeat: ThreadTask | undefined;

  constructor(
    private readonly path: string,
    private readonly sizeBytes: number,
    private readonly ranges: number,
    private readonly options: ValidateOptions,
  ) {
    this.hash = options.sha256 === undefined ? 'todo' : { sha256: options.sha256 };
  }

  private get maxExamples(): number {
    return this.options.maxExamples ?? MAX_EXAMPLES;
  }

  nextTask(): ThreadTask | undefined {
    if (this.repeat !== undefined) {
      const task = this.repeat;
      this.repeat = undefined;
      return task;
    }
    if (this.isStopped) return undefined;
    if (this.nextRange < this.ranges) return this.rangeTask(this.nextRange++);
    if (this.hash !== 'todo') return undefined;
    this.hash = 'running';
    return { kind: 'hash', path: this.path };
  }

  take(reply: ThreadReply): void {
    if (reply.kind === 'hash') this.hash = { sha256: reply.sha256 };
    if (reply.kind === 'tally') {
      this.waiting.set(reply.tally.range.start, reply.tally);
      this.mergeWaiting();
    }
    const bytes = Math.min(this.merged * RANGE_BYTES, this.sizeBytes);
    this.options.onProgress?.({ bytes, totalBytes: this.sizeBytes, examples: this.file?.total.examples ?? 0 });
  }

  isDone(): boolean {
    return this.file !== undefined && (this.isStopped || (this.merged === this.ranges && typeof this.hash === 'object'));
  }

  report(head: Buffer): ValidationReport {
    if (this.file === undefined) throw new Error('no range was read');
    const hasBom = head.subarray(0, 3).equals(Buffer.from([0xef, 0xbb, 0xbf]));
    return finishReport(this.file, {
      sizeBytes: this.sizeBytes,
      sha256: typeof this.hash === 'object' ? this.hash.sha256 : undefined,
      hasBom,
    });
  }

  private rangeTask(index: number): ThreadTask {
    const start = index * RANGE_BYTES;
    const fields = this.file?.total.fields ?? new Map<string, { distinct?: unknown }>();
    const withoutDistinct = [...fields].flatMap(([name, field]) => (field.distinct === undefined ? [name] : []));
    const maxRows = this.maxExamples - (this.file?.total.rows ?? 0);
    return {
      kind: 'tally',
      path: this.path,
      range: { start, end: Math.min(start + RANGE_BYTES, this.sizeBytes) },
      maxRows,
      withoutDistinct,
    };
  }

  private mergeWaiting(): void {
    for (;;) {
      const start = this.merged * RANGE_BYTES;
      const tally = this.waiting.get(start);
      if (tally === undefined || this.isStopped) return;
      this.waiting.delete(start);
      // The range was handed out before the ones in front of it were counted: if it goes over the limit, read it once more to
      // learn at which line.
      if (tally.rowOverLimit === undefined && (this.file?.total.rows ?? 0) + tally.rows > this.maxExamples) {
        this.repeat = this.rangeTask(this.merged);
        return;
      }
      if (this.file === undefined) this.file = startFileTally(tally);
      else addRange(this.file, tally);
      this.merged++;
      this.isStopped = tally.rowOverLimit !== undefined;
    }
  }
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

function startThread(): Worker {
  return new Worker(new URL('./startThread.js', import.meta.url));
}
