/** The ranges of a file: handed out, taken back as tallies in any order, added up in file order, saved in parts. */
import { deserialize, serialize } from 'node:v8';
import type { RangeTally } from './rangeTally.js';
import { addRange, startFileTally, type FileTally } from './report.js';
import type { RangeTask } from './validateThread.js';

/** Bytes a thread reads before it reports: small enough for steady progress, large enough that adding up costs nothing. */
const RANGE_BYTES = 8 * 1024 * 1024;
/** Bytes of the file in a part. */
const PART_BYTES = 16 * 1024 * 1024;
/** Of the saved parts. Another version reads the file again. */
const PART_VERSION = 2;

export interface ValidateProgress {
  bytes: number;
  totalBytes: number;
  examples: number;
  /** Of `bytes`, those that parts of an earlier call covered. */
  savedBytes: number;
}

/** What validation learned from the bytes `start` to `end`, for a later call. */
export interface ValidatedPart {
  start: number;
  end: number;
  content: Buffer;
}

interface SavedPart {
  version: number;
  tallies: RangeTally[];
}

interface QueueOptions {
  maxExamples: number;
  parts?: readonly Buffer[];
  /** Present when parts are to be saved. */
  onPart?: unknown;
}

export class RangeQueue {
  readonly file: FileTally = startFileTally();
  /** Stopped at the first row too many. */
  isCutShort = false;
  private readonly maxExamples: number;
  private nextStart = 0;
  private mergedEnd = 0;
  private readonly waiting = new Map<number, RangeTally>();
  private repeat: RangeTask | undefined;
  /** Tallies since the last part, as they were before they were added up. */
  private unsaved: RangeTally[] = [];
  private savedEnd = 0;
  private readonly foundSavedBytes: number;
  private readonly isSaving: boolean;

  constructor(
    private readonly path: string,
    readonly sizeBytes: number,
    { maxExamples, parts = [], onPart }: QueueOptions,
  ) {
    this.maxExamples = maxExamples;
    this.isSaving = onPart !== undefined;
    for (const part of parts) if (!this.addSaved(part)) break;
    this.nextStart = this.mergedEnd;
    this.foundSavedBytes = this.mergedEnd;
  }

  get ranges(): number {
    return Math.ceil((this.sizeBytes - this.nextStart) / RANGE_BYTES);
  }

  get isDone(): boolean {
    return this.isCutShort || this.mergedEnd >= this.sizeBytes;
  }

  next(): RangeTask | undefined {
    const { repeat } = this;
    this.repeat = undefined;
    if (repeat !== undefined) return repeat;
    if (this.isCutShort || this.nextStart >= this.sizeBytes) return undefined;
    const start = this.nextStart;
    this.nextStart = Math.min(start + RANGE_BYTES, this.sizeBytes);
    return this.task(start, this.nextStart);
  }

  /** Takes a range's tally; returns what is to be saved, when that has become enough. */
  add(tally: RangeTally): ValidatedPart[] {
    const parts: ValidatedPart[] = [];
    this.waiting.set(tally.range.start, tally);
    for (;;) {
      const next = this.waiting.get(this.mergedEnd);
      if (next === undefined || this.isCutShort) break;
      this.waiting.delete(this.mergedEnd);
      // The range was handed out before the ones in front of it were counted: if it goes over the limit, read it once more to
      // learn at which line.
      if (next.rowOverLimit === undefined && this.file.total.rows + next.rows > this.maxExamples) {
        this.repeat = this.task(next.range.start, next.range.end);
        break;
      }
      if (this.isSaving) this.unsaved.push(structuredClone(next));
      this.merge(next);
      if (this.isSaving && this.mergedEnd - this.savedEnd >= PART_BYTES && !this.isDone) parts.push(this.cutPart());
    }
    return parts;
  }

  progress(): ValidateProgress {
    return { bytes: this.mergedEnd, totalBytes: this.sizeBytes, examples: this.file.total.examples, savedBytes: this.foundSavedBytes };
  }

  private task(start: number, end: number): RangeTask {
    const withoutDistinct = [...this.file.total.fields].flatMap(([name, field]) => (field.distinct === undefined ? [name] : []));
    return { path: this.path, range: { start, end }, maxRows: this.maxExamples - this.file.total.rows, withoutDistinct };
  }

  private merge(tally: RangeTally): void {
    addRange(this.file, tally);
    this.mergedEnd = tally.range.end;
    this.isCutShort = tally.rowOverLimit !== undefined;
  }

  private cutPart(): ValidatedPart {
    const saved: SavedPart = { version: PART_VERSION, tallies: this.unsaved };
    const part = { start: this.savedEnd, end: this.mergedEnd, content: serialize(saved) };
    this.unsaved = [];
    this.savedEnd = this.mergedEnd;
    return part;
  }

  /** False when the part does not follow: then it and what comes after it is read again. */
  private addSaved(content: Buffer): boolean {
    let saved: SavedPart;
    try {
      saved = deserialize(content) as SavedPart;
    } catch {
      return false; // cut short, or written by another version of Node
    }
    if (saved.version !== PART_VERSION || saved.tallies[0]?.range.start !== this.mergedEnd) return false;
    for (const tally of saved.tallies) this.merge(tally);
    this.savedEnd = this.mergedEnd;
    return true;
  }
}
