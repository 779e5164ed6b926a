/** What validation found in a dataset file: plain JSON, stored beside the dataset, read by the API, the CLI and job creation. */
import { Type, type Static } from 'typebox';

const Count = Type.Integer({ minimum: 0 });
const Line = Type.Integer({ minimum: 1 });

/** One occurrence of a problem. `line` is the physical line of the file, from 1. */
export const ProblemPlace = Type.Object({
  line: Line,
  /** From the file's first byte. Absent for what concerns a field over many rows. */
  byteOffset: Type.Optional(Count),
  /** Where in the row: `messages[2].role`. */
  field: Type.Optional(Type.String()),
  /** At most 80 characters of the file's own text. */
  found: Type.String(),
  expected: Type.String(),
  /** What to do. */
  fix: Type.String(),
});
export type ProblemPlace = Static<typeof ProblemPlace>;

/** A kind of problem (codes: `datasets/problems.ts`), how often it occurs, and its first 20 places. */
export const ReportedProblem = Type.Object({
  code: Type.String(),
  message: Type.String(),
  count: Count,
  places: Type.Array(ProblemPlace),
});
export type ReportedProblem = Static<typeof ReportedProblem>;

export const JsonType = Type.Union([
  Type.Literal('string'),
  Type.Literal('integer'),
  Type.Literal('number'),
  Type.Literal('boolean'),
  Type.Literal('null'),
  Type.Literal('array'),
  Type.Literal('object'),
]);
/** JSON Schema's names; `number` is one that is not an integer. */
export type JsonType = Static<typeof JsonType>;

/** A top-level field of the rows. Fields are listed in the order they first appear. */
export const FieldReport = Type.Object({
  name: Type.String(),
  /** Rows that have it. */
  count: Count,
  /** Share of all rows in which it is there, not null and not the empty string: 0 to 1. Older reports have none. */
  fillRate: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
  /** Rows by the type of the value. */
  types: Type.Partial(Type.Record(JsonType, Count)),
  /** First line of each type. */
  firstLines: Type.Partial(Type.Record(JsonType, Line)),
  /** First row without the field; absent when all rows have it. */
  firstMissingLine: Type.Optional(Line),
  firstNonStringLine: Type.Optional(Line),
  /** Rows where it is the empty string, and the first of them. */
  emptyCount: Count,
  firstEmptyLine: Type.Optional(Line),
  /**
   * The different values, most frequent first, when all are short strings or integers (as their digits) and there are few
   * enough to be labels. Absent otherwise.
   */
  distinct: Type.Optional(Type.Array(Type.Object({ value: Type.String(), count: Count }))),
});
export type FieldReport = Static<typeof FieldReport>;

export const DatasetFormat = Type.Union([Type.Literal('CHAT'), Type.Literal('COMPLETION'), Type.Literal('FORMAT_UNSPECIFIED')]);
/** `CHAT`: rows have `messages`. `COMPLETION`: rows have `prompt` and `completion`. Otherwise the job's templates name the fields. */
export type DatasetFormat = Static<typeof DatasetFormat>;

/** Tokens of the rows' text, without what a template adds. `EXACT`: of every row. `SAMPLED`: of rows spread evenly, chosen by `seed`. */
export const TokenLengths = Type.Object({
  tokenCounts: Type.Union([Type.Literal('EXACT'), Type.Literal('SAMPLED')]),
  /** Rows that were counted. */
  rows: Count,
  seed: Type.Optional(Count),
  min: Count,
  mean: Type.Number(),
  p50: Count,
  p95: Count,
  max: Count,
  /** Of the whole file; an estimate when sampled. */
  total: Count,
});
export type TokenLengths = Static<typeof TokenLengths>;

/** With the tokenizer of which base model, and its counts or why there are none. */
export const TokenReport = Type.Object({
  baseModel: Type.String(),
  counts: Type.Union([TokenLengths, Type.Object({ tokenCounts: Type.Literal('UNAVAILABLE'), reason: Type.String() })]),
});
export type TokenReport = Static<typeof TokenReport>;

export const Compression = Type.Object({
  format: Type.Union([Type.Literal('gzip'), Type.Literal('zstd')]),
  sizeBytes: Count,
});
export type Compression = Static<typeof Compression>;

export const ValidationReport = Type.Object({
  version: Type.Literal(1),
  /** No errors; warnings do not count. */
  valid: Type.Boolean(),
  format: DatasetFormat,
  /** Of the JSONL. */
  sizeBytes: Count,
  /** What the file was before it was decompressed, if it was compressed. */
  compression: Type.Optional(Compression),
  /** Of the whole JSONL, in hex. Absent when reading stopped early: not JSONL at all, or too many rows. */
  sha256: Type.Optional(Type.String()),
  /** Physical lines; a last line without a newline counts. */
  lines: Count,
  /** Rows that are JSON objects. */
  examples: Count,
  fields: Type.Array(FieldReport),
  /** Present when the format is `CHAT`. A turn is an assistant's reply. */
  conversations: Type.Optional(
    Type.Object({
      averageTurnCount: Type.Number(),
      maxTurnCount: Count,
      /** Messages by role. */
      roles: Type.Record(Type.String(), Count),
      /** Rows that use `tools`, `tool_calls` or tool messages: only a template that renders them can train on them. */
      rowsWithTools: Count,
      /** Rows in which some message has a `weight`. */
      rowsWithWeights: Count,
    }),
  ),
  /** Characters (UTF-16 code units) of a row's text: its messages' content, or else its top-level strings. The percentiles are within 3 %; older reports have none. */
  lengths: Type.Optional(
    Type.Object({ min: Count, mean: Type.Number(), p50: Type.Optional(Count), p95: Type.Optional(Count), max: Count, longestLine: Line }),
  ),
  tokens: Type.Optional(TokenReport),
  /** Rows that repeat an earlier row byte for byte. */
  duplicates: Count,
  errors: Type.Array(ReportedProblem),
  warnings: Type.Array(ReportedProblem),
});
export type ValidationReport = Static<typeof ValidationReport>;
