/** What validation learns from one byte range of a file, as plain data: it crosses threads, and is stored so that a validation can go on. */
import type { JsonType } from '../schemas/validationReport.js';
import type { ByteRange } from './blocks.js';
import { LENGTH_BUCKETS } from './lengths.js';
import type { ProblemTally } from './problems.js';

/** Different fields that are told apart; a dataset with more is not made of rows. */
export const MAX_FIELDS = 100;
/** Labels are short and few; beyond either limit a field's values are not kept. */
export const MAX_DISTINCT = 10_000;
export const MAX_DISTINCT_LENGTH = 256;

export const WORDS_PER_HASH = 4;

/** What kind of example a row is by its keys. */
export type RowShape = 'chat' | 'completion' | 'other';

export interface FieldTally {
  count: number;
  types: Partial<Record<JsonType, number>>;
  firstLines: Partial<Record<JsonType, number>>;
  firstLine: number;
  /** First row without the field, 0 when all have it. */
  firstMissingLine: number;
  emptyCount: number;
  firstEmptyLine: number;
  /** Rows by value, or undefined once the values cannot be labels. */
  distinct: Map<string, number> | undefined;
}

export interface RangeTally {
  range: ByteRange;
  lines: number;
  /** Lines that are not blank. */
  rows: number;
  /** Rows that are JSON objects. */
  examples: number;
  firstExampleLine: number;
  fields: Map<string, FieldTally>;
  hasMoreFields: boolean;
  shapes: Record<RowShape, { count: number; places: { line: number; byteOffset: number }[] }>;
  firstShape: RowShape | undefined;
  turns: number;
  maxTurns: number;
  roles: Record<string, number>;
  rowsWithTools: number;
  rowsWithWeights: number;
  characters: number;
  minCharacters: number;
  maxCharacters: number;
  longestLine: number;
  /** Rows by their characters: see `lengths.ts`. */
  lengthBuckets: Uint32Array;
  /** For each example `WORDS_PER_HASH` words: its hash in two, its line, and where it begins, counted from the range's start. */
  hashes: Uint32Array;
  problems: ProblemTally;
  /** The row after `maxRows`, at which reading stopped. */
  rowOverLimit?: { line: number; byteOffset: number };
}

export function emptyTally(range: ByteRange): RangeTally {
  return {
    range,
    lines: 0,
    rows: 0,
    examples: 0,
    firstExampleLine: 0,
    fields: new Map(),
    hasMoreFields: false,
    shapes: { chat: { count: 0, places: [] }, completion: { count: 0, places: [] }, other: { count: 0, places: [] } },
    firstShape: undefined,
    turns: 0,
    maxTurns: 0,
    roles: {},
    rowsWithTools: 0,
    rowsWithWeights: 0,
    characters: 0,
    minCharacters: Infinity,
    maxCharacters: 0,
    longestLine: 0,
    lengthBuckets: new Uint32Array(LENGTH_BUCKETS),
    hashes: new Uint32Array(0),
    problems: new Map(),
  };
}

export function emptyField(firstLine: number, firstMissingLine: number, isWithoutDistinct: boolean): FieldTally {
  return {
    count: 0,
    types: {},
    firstLines: {},
    firstLine,
    firstMissingLine,
    emptyCount: 0,
    firstEmptyLine: 0,
    distinct: isWithoutDistinct ? undefined : new Map(),
  };
}
