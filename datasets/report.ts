/** Adds up the tallies of a file's ranges, in file order, and draws the conclusions that need the whole file. */
import type { DatasetFormat, FieldReport, JsonType, ProblemPlace, ReportedProblem, ValidationReport } from '../schemas/validationReport.js';
import { HashSet } from './hashSet.js';
import { LENGTH_BUCKETS, lengthPercentile } from './lengths.js';
import { addProblem, excerpt, MAX_PLACES, PROBLEMS, type Finding, type ProblemCode, type ProblemTally } from './problems.js';
import { emptyTally, MAX_DISTINCT, MAX_FIELDS, WORDS_PER_HASH, type FieldTally, type RangeTally, type RowShape } from './rangeTally.js';

/** What the ranges so far add up to; lines count from the start of the file. */
export interface FileTally {
  total: RangeTally;
  hashes: HashSet;
  duplicates: number;
  /** The first of them. */
  duplicatePlaces: { line: number; byteOffset: number }[];
}

export function startFileTally(): FileTally {
  return { total: emptyTally({ start: 0, end: 0 }), hashes: new HashSet(), duplicates: 0, duplicatePlaces: [] };
}

/** Adds the range that follows; its tally is used up. */
export function addRange(file: FileTally, range: RangeTally): void {
  const { total } = file;
  const before = total.lines;
  addHashes(file, range, before);
  mergeFields(total, range);
  for (const [code, { count, places }] of range.problems) addProblem(total.problems, code, count, places.map(moveBy(before)));
  for (const shape of SHAPES) {
    const { count, places } = range.shapes[shape];
    total.shapes[shape].count += count;
    const known = total.shapes[shape].places;
    known.push(...places.slice(0, MAX_PLACES - known.length).map(moveBy(before)));
  }
  for (const [role, count] of Object.entries(range.roles)) total.roles[role] = (total.roles[role] ?? 0) + count;
  if (total.examples === 0 && range.examples > 0) total.firstExampleLine = before + range.firstExampleLine;
  total.firstShape ??= range.firstShape;
  if (range.longestLine > 0 && (total.longestLine === 0 || range.maxCharacters > total.maxCharacters)) {
    total.maxCharacters = range.maxCharacters;
    total.longestLine = before + range.longestLine;
  }
  total.minCharacters = Math.min(total.minCharacters, range.minCharacters);
  total.maxTurns = Math.max(total.maxTurns, range.maxTurns);
  for (const sum of SUMS) total[sum] += range[sum];
  for (let bucket = 0; bucket < LENGTH_BUCKETS; bucket++) total.lengthBuckets[bucket]! += range.lengthBuckets[bucket]!;
  total.hasMoreFields ||= range.hasMoreFields;
  if (range.rowOverLimit !== undefined) total.rowOverLimit = moveBy(before)(range.rowOverLimit);
}

function addHashes(file: FileTally, { hashes, range }: RangeTally, linesBefore: number): void {
  const repeated = file.hashes.addAll(hashes, WORDS_PER_HASH);
  file.duplicates += repeated.length;
  for (const at of repeated.slice(0, MAX_PLACES - file.duplicatePlaces.length)) {
    file.duplicatePlaces.push({ line: linesBefore + hashes[at + 2]!, byteOffset: range.start + hashes[at + 3]! });
  }
}

const SHAPES: RowShape[] = ['chat', 'completion', 'other'];
const SUMS = ['lines', 'rows', 'examples', 'turns', 'rowsWithTools', 'rowsWithWeights', 'characters'] as const;

function moveBy(lines: number) {
  return <P extends { line: number }>(place: P): P => ({ ...place, line: place.line + lines });
}

function mergeFields(total: RangeTally, range: RangeTally): void {
  const before = total.lines;
  const moved = (line: number) => (line === 0 ? 0 : line + before);
  for (const [name, field] of range.fields) {
    const known = total.fields.get(name);
    if (known === undefined) {
      if (total.fields.size === MAX_FIELDS) {
        total.hasMoreFields = true;
        continue;
      }
      total.fields.set(name, {
        ...field,
        firstLine: moved(field.firstLine),
        firstMissingLine: total.examples > 0 ? total.firstExampleLine : moved(field.firstMissingLine),
        firstEmptyLine: moved(field.firstEmptyLine),
        firstLines: Object.fromEntries(Object.entries(field.firstLines).map(([type, line]) => [type, moved(line)])),
      });
      continue;
    }
    known.count += field.count;
    known.firstMissingLine ||= moved(field.firstMissingLine);
    known.emptyCount += field.emptyCount;
    known.firstEmptyLine ||= moved(field.firstEmptyLine);
    for (const [type, count] of Object.entries(field.types) as [JsonType, number][]) {
      known.types[type] = (known.types[type] ?? 0) + count;
      known.firstLines[type] ??= moved(field.firstLines[type] ?? 0);
    }
    known.distinct = mergeDistinct(known.distinct, field.distinct);
  }
  if (range.examples === 0) return;
  for (const [name, known] of total.fields) if (!range.fields.has(name)) known.firstMissingLine ||= moved(range.firstExampleLine);
}

function mergeDistinct(known: Map<string, number> | undefined, added: Map<string, number> | undefined): Map<string, number> | undefined {
  if (known === undefined || added === undefined) return undefined;
  for (const [value, count] of added) known.set(value, (known.get(value) ?? 0) + count);
  return known.size > MAX_DISTINCT ? undefined : known;
}

/** What only the reader of the file knows. `sha256` is absent when reading stopped at too many rows. */
export interface FileFacts {
  sizeBytes: number;
  sha256: string | undefined;
}

export function finishReport(file: FileTally, { sizeBytes, sha256 }: FileFacts): ValidationReport {
  const { total } = file;
  const format = datasetFormat(total);
  addFileProblems(file, format);
  const errors = reportProblems(total.problems, 'E_');
  const report: ValidationReport = {
    version: 1,
    valid: errors.length === 0,
    format,
    sizeBytes,
    sha256,
    lines: total.lines,
    examples: total.examples,
    fields: [...total.fields].map(([name, field]) => reportField(name, field, total.examples)),
    duplicates: file.duplicates,
    errors,
    warnings: reportProblems(total.problems, 'W_'),
  };
  if (format === 'CHAT') {
    report.conversations = {
      averageTurnCount: total.turns / Math.max(1, total.shapes.chat.count),
      maxTurnCount: total.maxTurns,
      roles: total.roles,
      rowsWithTools: total.rowsWithTools,
      rowsWithWeights: total.rowsWithWeights,
    };
  }
  if (total.examples > 0) {
    const { examples, minCharacters: min, maxCharacters: max } = total;
    const percentile = (share: number) => Math.min(max, Math.max(min, lengthPercentile(total.lengthBuckets, examples, share)));
    const mean = total.characters / examples;
    report.lengths = { min, mean, p50: percentile(0.5), p95: percentile(0.95), max, longestLine: total.longestLine };
  }
  return report;
}

/** The report of a file that is not JSONL at all. */
export function refuseFile(problem: Finding, sizeBytes: number): ValidationReport {
  const problems: ProblemTally = new Map();
  const { code, found, expected, fix } = problem;
  addProblem(problems, code, 1, [{ line: 1, byteOffset: 0, found, expected, fix }]);
  const errors = reportProblems(problems, 'E_');
  const counts = { lines: 0, examples: 0, fields: [], duplicates: 0 };
  return { version: 1, valid: false, format: 'FORMAT_UNSPECIFIED', sizeBytes, ...counts, errors, warnings: [] };
}

/** The first row decides what the file is; rows of another kind are problems, not a vote. */
function datasetFormat(total: RangeTally): DatasetFormat {
  if (total.firstShape === 'chat') return 'CHAT';
  if (total.examples > 0 && total.shapes.completion.count === total.examples) return 'COMPLETION';
  return 'FORMAT_UNSPECIFIED';
}

function addFileProblems(file: FileTally, format: DatasetFormat): void {
  const { total } = file;
  const add = (code: ProblemCode, count: number, place: ProblemPlace) => addProblem(total.problems, code, count, [place]);
  const firstLine = { line: 1 };
  if (total.rowOverLimit !== undefined) {
    const { rows } = total;
    add('E_TOO_MANY_ROWS', 1, {
      ...total.rowOverLimit,
      found: `more than ${rows} rows`,
      expected: `at most ${rows} rows`,
      fix: 'split the file into several datasets',
    });
  }
  if (total.rows === 0) {
    add('E_EMPTY', 1, { ...firstLine, found: 'no rows', expected: 'at least one JSON object', fix: 'write one JSON object on each line' });
  }
  addShapeProblems(total, format);
  for (const [name, field] of total.fields) {
    const missing = total.examples - field.count;
    const isConversationField = format === 'CHAT' && (name === 'messages' || name === 'tools');
    const shown = excerpt(name);
    if (format === 'CHAT' && !isConversationField) {
      const place = {
        line: field.firstLine,
        field: shown,
        found: `${shown} in ${field.count} of ${total.examples} rows`,
        expected: 'messages and tools',
        fix: 'nothing to do if it is only there for you',
      };
      add('W_EXTRA_FIELD', field.count, place);
    } else if (missing > 0 && !isConversationField) {
      const place = {
        line: field.firstMissingLine,
        field: shown,
        found: `${missing} of ${total.examples} rows without it`,
        expected: 'the field in every row',
        fix: 'a job that uses this field will refuse the dataset: add it, with "" if it is empty',
      };
      add('W_MISSING_FIELD', missing, place);
    }
    const types = Object.entries(field.types);
    if (types.length > 1 && !isConversationField) {
      const [, rarest] = types.reduce((least, next) => (next[1] < least[1] ? next : least));
      const [, line = field.firstLine] = Object.values(field.firstLines).sort((a, b) => a - b);
      const found = types.map(([type, count]) => `${type} ×${count}`).join(', ');
      add('W_MIXED_TYPES', rarest, { line, field: shown, found, expected: 'one type', fix: 'write the value as a string in every row' });
    }
  }
  if (total.hasMoreFields) {
    const found = `more than ${MAX_FIELDS} different fields`;
    add('W_MANY_FIELDS', 1, { ...firstLine, found, expected: 'the same few fields in every row', fix: 'move names that vary into values' });
  }
  if (file.duplicates > 0) {
    const found = `${file.duplicates} of ${total.examples} rows repeat an earlier one`;
    const fix = 'remove repeated rows, unless they should count more than others';
    const places = file.duplicatePlaces.map((place) => ({ ...place, found, expected: 'different rows', fix }));
    addProblem(total.problems, 'W_DUPLICATES', file.duplicates, places);
  }
}

function addShapeProblems(total: RangeTally, format: DatasetFormat): void {
  const { chat, completion, other } = total.shapes;
  const first = format === 'CHAT' ? 'conversations with `messages`' : 'rows without `messages`';
  const fix = 'keep rows of one kind, and upload the others as a dataset of their own';
  const add = (code: ProblemCode, shape: typeof chat, found: string) => {
    const places = shape.places.map((place) => ({ ...place, field: 'messages', found, expected: `${first}, as in the first row`, fix }));
    if (shape.count > 0) addProblem(total.problems, code, shape.count, places);
  };
  if (format !== 'CHAT') return add('E_MIXED_FORMATS', chat, 'a row with `messages`');
  add('E_MIXED_FORMATS', completion, 'a row with `prompt` and `completion`');
  add('E_MESSAGES', other, 'a row without `messages`');
}

/** In the order of the catalogue. */
function reportProblems(problems: ProblemTally, prefix: 'E_' | 'W_'): ReportedProblem[] {
  const codes = (Object.keys(PROBLEMS) as ProblemCode[]).filter((code) => code.startsWith(prefix));
  return codes.flatMap((code) => {
    const tally = problems.get(code);
    return tally === undefined ? [] : [{ code, message: PROBLEMS[code], count: tally.count, places: tally.places }];
  });
}

function reportField(name: string, field: FieldTally, examples: number): FieldReport {
  const nonString = Object.entries(field.firstLines).flatMap(([type, line]) => (type === 'string' ? [] : [line]));
  return {
    name,
    count: field.count,
    fillRate: (field.count - field.emptyCount - (field.types.null ?? 0)) / examples,
    types: field.types,
    firstLines: field.firstLines,
    firstMissingLine: field.count < examples ? field.firstMissingLine : undefined,
    firstNonStringLine: nonString.length > 0 ? Math.min(...nonString) : undefined,
    emptyCount: field.emptyCount,
    firstEmptyLine: field.emptyCount > 0 ? field.firstEmptyLine : undefined,
    distinct: field.distinct && [...field.distinct].sort((a, b) => b[1] - a[1]).map(([value, count]) => ({ value, count })),
  };
}
