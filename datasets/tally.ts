/**
 * Reads one byte range of a file: counts, fields, problems and their first places. Ranges are read independently, on any
 * thread, and added up in file order by `report.ts`; so lines here count from the range's start.
 *
 * A row of a common shape goes the fast way (`scanRow.ts`), every other one the exact way, which alone knows what is wrong.
 * The tally is the same by either.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import type { JsonType, ProblemPlace } from '../schemas/validationReport.js';
import type { BlockMemory } from './blockMemory.js';
import { MAX_LINE_BYTES, readBlocks, type Block, type ByteRange } from './blocks.js';
import { checkJson, type JsonRow } from './checkJson.js';
import { checkConversation, contentLength } from './checkRow.js';
import { checkUtf8 } from './checkUtf8.js';
import { lengthBucket } from './lengths.js';
import { addProblem, excerpt, MAX_PLACES, type Finding } from './problems.js';
import {
  emptyField,
  emptyTally,
  MAX_DISTINCT,
  MAX_DISTINCT_LENGTH,
  MAX_FIELDS,
  WORDS_PER_HASH,
  type FieldTally,
  type RangeTally,
  type RowShape,
} from './rangeTally.js';
import type { Message } from './rowSchemas.js';
import {
  emptyScannedRow,
  INTEGER,
  knownField,
  scannedBlock,
  scanRow,
  STRING,
  type KnownField,
  type ScannedRow,
  type ScanRow,
} from './scanRow.js';
import { findSpecialToken, TokenMarks } from './specialTokens.js';

export interface TallyOptions {
  /** Rows to read before stopping. */
  maxRows: number;
  /** Fields whose values are known not to be labels. */
  withoutDistinct: ReadonlySet<string>;
}

/** A range while it is read. */
interface Reading {
  tally: RangeTally;
  /** The tally's fields by index, with what the scanner needs to know of them. */
  fields: FieldTally[];
  known: (KnownField | undefined)[];
  withoutDistinct: ReadonlySet<string>;
}

/** Reads the lines that begin in `range`. Synchronous: for a worker thread. `scan` is the fast way; without one, all go the exact way. */
export function tallyRange(path: string, range: ByteRange, options: TallyOptions, scan: ScanRow | undefined = scanRow): RangeTally {
  const tally = emptyTally(range);
  const reading: Reading = { tally, fields: [], known: [], withoutDistinct: options.withoutDistinct };
  const scanned = emptyScannedRow();
  tally.hashes = new Uint32Array(1024 * WORDS_PER_HASH);
  for (const block of readBlocks(path, range)) {
    if (block.tooLongBytes !== undefined) {
      tally.lines++;
      tally.rows++;
      addFinding(tally, block.byteOffset, lineTooLong(block, block.tooLongBytes));
      continue;
    }
    const { bytes, memory, byteOffset } = block;
    if (range.start === 0 && tally.lines === 0 && byteOffset > 0) addProblem(tally.problems, 'W_BOM', 1, [BOM_PLACE]);
    const text: BlockText = { bytes, isAscii: isAscii(bytes), isUtf8: isUtf8(bytes), marks: new TokenMarks(bytes) };
    const padded = scannedBlock(block);
    for (let from = 0, next = 0; from < bytes.length; from = next) {
      tally.lines++;
      const isScanned = text.isUtf8 && scan?.(padded, from, reading.known, scanned) === true;
      const newline = isScanned ? -1 : bytes.indexOf(NEWLINE, from);
      const lineEnd = newline < 0 ? bytes.length : newline;
      const end = isScanned ? scanned.end : bytes[lineEnd - 1] === RETURN && lineEnd > from ? lineEnd - 1 : lineEnd;
      next = isScanned ? scanned.next : lineEnd + 1;
      if (bytes[from] !== BRACE && isBlank(bytes, from, end)) {
        addFinding(tally, byteOffset + from, BLANK_LINE);
        continue;
      }
      if (tally.rows === options.maxRows) {
        tally.rowOverLimit = { line: tally.lines, byteOffset: byteOffset + from };
        return cutHashes(tally);
      }
      tally.rows++;
      if (isScanned) {
        addHash(tally, memory, from, end, byteOffset - range.start);
        tallyScannedRow(reading, scanned, bytes, byteOffset + from);
        if (text.marks.isIn(from, end)) addSpecialToken(tally, byteOffset + from, bytes.toString('utf8', from, end));
        continue;
      }
      const row = readRow(tally, text, from, end, byteOffset, next > bytes.length);
      if (row === undefined) continue;
      addHash(tally, memory, from, end, byteOffset - range.start);
      tallyParsedRow(reading, row, byteOffset + from);
    }
  }
  return cutHashes(tally);
}

const NEWLINE = 10;
const RETURN = 13;
const BRACE = 123;

/** Counts the example in. `rangeOffset`: where in the range the block begins. */
function addHash(tally: RangeTally, memory: BlockMemory, from: number, to: number, rangeOffset: number): void {
  const at = tally.examples * WORDS_PER_HASH;
  if (at === tally.hashes.length) {
    const larger = new Uint32Array(at * 2);
    larger.set(tally.hashes);
    tally.hashes = larger;
  }
  memory.hash(from, to);
  tally.hashes[at] = memory.hashed[0]!;
  tally.hashes[at + 1] = memory.hashed[1]!;
  tally.hashes[at + 2] = tally.lines;
  tally.hashes[at + 3] = rangeOffset + from;
  tally.examples++;
}

function cutHashes(tally: RangeTally): RangeTally {
  tally.hashes = tally.hashes.slice(0, tally.examples * WORDS_PER_HASH);
  return tally;
}

/** A block, and what is known of all its lines at once, so that it need not be found out line by line. */
interface BlockText {
  bytes: Buffer;
  isAscii: boolean;
  isUtf8: boolean;
  marks: TokenMarks;
}

/** The exact way from a line to a row; undefined when there is none, and the tally has the reason. */
function readRow(
  tally: RangeTally,
  { bytes, marks, ...kind }: BlockText,
  from: number,
  end: number,
  blockOffset: number,
  isUnterminated: boolean,
): JsonRow | undefined {
  const byteOffset = blockOffset + from;
  if (!kind.isUtf8) {
    const problem = checkUtf8(bytes.subarray(from, end));
    if (problem !== undefined) {
      addFinding(tally, byteOffset, problem);
      return undefined;
    }
  }
  const text = kind.isAscii ? bytes.toString('latin1', from, end) : bytes.toString('utf8', from, end);
  const { row, problem } = checkJson(text);
  if (problem !== undefined) {
    const isCutOff = isUnterminated && problem.atEnd === true && problem.code === 'E_JSON';
    addFinding(tally, byteOffset, isCutOff ? { ...problem, code: 'E_TRUNCATED', fix: 'upload the whole file again' } : problem);
    return undefined;
  }
  if (marks.isIn(from, end)) addSpecialToken(tally, byteOffset, text);
  return row;
}

function addSpecialToken(tally: RangeTally, byteOffset: number, text: string): void {
  const finding = findSpecialToken(text);
  if (finding !== undefined) addFinding(tally, byteOffset, finding);
}

function tallyScannedRow(reading: Reading, row: ScannedRow, bytes: Buffer, byteOffset: number): void {
  const { tally, fields } = reading;
  const line = tally.lines;
  let characters = 0;
  for (let at = 0; at < row.fields; at++) {
    const field = fields[row.field[at]!]!;
    const kind = row.kind[at];
    const type = kind === STRING ? 'string' : kind === INTEGER ? 'integer' : 'array';
    countType(field, type, line);
    const length = kind === STRING ? row.characters[at]! : 0;
    if (kind === STRING && length === 0) countEmpty(field, line);
    characters += length;
    if (field.distinct === undefined) continue;
    if (kind !== STRING && kind !== INTEGER) field.distinct = undefined;
    else countLabel(field, length > MAX_DISTINCT_LENGTH ? undefined : scannedText(row, at, bytes));
  }
  if (row.fields < fields.length) {
    for (const [index, field] of fields.entries()) {
      if (field.firstMissingLine === 0 && !row.field.subarray(0, row.fields).includes(index)) field.firstMissingLine = line;
    }
  }
  countShape(tally, row.shape, byteOffset);
  if (row.shape === 'chat') {
    characters = row.contentCharacters;
    if (row.systems > 0) countRole(tally, 'system', row.systems);
    countRole(tally, 'user', row.users);
    countRole(tally, 'assistant', row.assistants);
    countTurns(tally, row.assistants);
  }
  countCharacters(tally, characters);
}

/** The value of a field as a label. */
function scannedText(row: ScannedRow, at: number, bytes: Buffer): string {
  const from = row.from[at]!;
  const to = row.to[at]!;
  // Of as many characters as bytes, it has neither escapes nor anything but ASCII.
  if (row.kind[at] === INTEGER || to - from === row.characters[at]) return bytes.toString('latin1', from, to);
  return JSON.parse(bytes.toString('utf8', from - 1, to + 1)) as string;
}

function tallyParsedRow(reading: Reading, row: JsonRow, byteOffset: number): void {
  const { tally } = reading;
  let characters = tallyFields(reading, row);
  const shape = row.messages !== undefined ? 'chat' : row.prompt !== undefined && row.completion !== undefined ? 'completion' : 'other';
  countShape(tally, shape, byteOffset);
  if (shape === 'chat') {
    const findings = checkConversation(row);
    for (const finding of findings) addFinding(tally, byteOffset, finding);
    if (findings.every(({ code }) => code.startsWith('W_'))) characters = tallyMessages(tally, row.messages as Message[], row.tools);
  }
  countCharacters(tally, characters);
}

/** Returns the characters of the row's strings. */
function tallyFields(reading: Reading, row: JsonRow): number {
  const { tally } = reading;
  const line = tally.lines;
  let characters = 0;
  let present = 0;
  for (const name in row) {
    const field = tally.fields.get(name) ?? addField(reading, name);
    if (field === undefined) continue;
    present++;
    const value = row[name];
    const type = jsonType(value);
    countType(field, type, line);
    if (typeof value === 'string') {
      characters += value.length;
      if (value === '') countEmpty(field, line);
    }
    if (field.distinct !== undefined)
      countLabel(field, type === 'integer' ? String(value) : type === 'string' ? (value as string) : undefined);
  }
  if (present < tally.fields.size) {
    for (const [name, field] of tally.fields) if (field.firstMissingLine === 0 && !Object.hasOwn(row, name)) field.firstMissingLine = line;
  }
  return characters;
}

function addField(reading: Reading, name: string): FieldTally | undefined {
  const { tally } = reading;
  if (tally.fields.size === MAX_FIELDS) {
    tally.hasMoreFields = true;
    return undefined;
  }
  const field = emptyField(tally.lines, tally.examples > 1 ? tally.firstExampleLine : 0, reading.withoutDistinct.has(name));
  tally.fields.set(name, field);
  reading.fields.push(field);
  reading.known.push(knownField(name));
  return field;
}

function countType(field: FieldTally, type: JsonType, line: number): void {
  field.count++;
  const seen = field.types[type];
  if (seen === undefined) field.firstLines[type] = line;
  field.types[type] = (seen ?? 0) + 1;
}

function countEmpty(field: FieldTally, line: number): void {
  if (field.emptyCount === 0) field.firstEmptyLine = line;
  field.emptyCount++;
}

/** A field keeps its values only while all can be labels: undefined is a value that cannot. */
function countLabel(field: FieldTally, label: string | undefined): void {
  const seen = label === undefined || label.length > MAX_DISTINCT_LENGTH ? undefined : (field.distinct?.get(label) ?? 0);
  if (label === undefined || seen === undefined || (seen === 0 && field.distinct?.size === MAX_DISTINCT)) field.distinct = undefined;
  else field.distinct?.set(label, seen + 1);
}

function countShape(tally: RangeTally, shape: RowShape, byteOffset: number): void {
  if (tally.examples === 1) tally.firstExampleLine = tally.lines;
  tally.firstShape ??= shape;
  const seen = tally.shapes[shape];
  seen.count++;
  if (seen.places.length < MAX_PLACES) seen.places.push({ line: tally.lines, byteOffset });
}

function countRole(tally: RangeTally, role: string, count: number): void {
  tally.roles[role] = (tally.roles[role] ?? 0) + count;
}

function countTurns(tally: RangeTally, turns: number): void {
  tally.turns += turns;
  if (turns > tally.maxTurns) tally.maxTurns = turns;
}

function countCharacters(tally: RangeTally, characters: number): void {
  tally.characters += characters;
  tally.lengthBuckets[lengthBucket(characters)]!++;
  if (characters < tally.minCharacters) tally.minCharacters = characters;
  if (characters > tally.maxCharacters || tally.longestLine === 0) {
    tally.maxCharacters = characters;
    tally.longestLine = tally.lines;
  }
}

/** Returns the characters of all contents. */
function tallyMessages(tally: RangeTally, messages: Message[], tools: unknown): number {
  let characters = 0;
  let turns = 0;
  let hasTools = tools != null;
  let hasWeights = false;
  for (const { role, content, weight, tool_calls: calls } of messages) {
    characters += contentLength(content);
    countRole(tally, role, 1);
    if (role === 'assistant') turns++;
    if (role === 'tool' || calls != null) hasTools = true;
    if (weight != null) hasWeights = true;
  }
  countTurns(tally, turns);
  if (hasTools) tally.rowsWithTools++;
  if (hasWeights) tally.rowsWithWeights++;
  return characters;
}

function jsonType(value: unknown): JsonType {
  if (typeof value === 'string') return 'string';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  if (typeof value === 'boolean') return 'boolean';
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : 'object';
}

function isBlank(bytes: Buffer, from: number, to: number): boolean {
  for (let index = from; index < to; index++) {
    const byte = bytes[index];
    if (byte !== 32 && byte !== 9 && byte !== RETURN) return false;
  }
  return true;
}

function addFinding(tally: RangeTally, lineOffset: number, finding: Omit<Finding, 'atEnd'>): void {
  const place: ProblemPlace = {
    line: tally.lines,
    byteOffset: lineOffset + (finding.byteInLine ?? 0),
    field: finding.field,
    found: finding.found,
    expected: finding.expected,
    fix: finding.fix,
  };
  addProblem(tally.problems, finding.code, 1, [place]);
}

const BOM_PLACE: ProblemPlace = {
  line: 1,
  byteOffset: 0,
  found: 'bytes ef bb bf',
  expected: 'the first row',
  fix: 'nothing to do; UTF-8 needs no mark',
};

const BLANK_LINE: Finding = {
  code: 'W_BLANK',
  found: 'a blank line',
  expected: 'a JSON object',
  fix: 'nothing to do; remove it if a row should be here',
};

function lineTooLong(block: Block, sizeBytes: number): Finding {
  const found = `${sizeBytes} bytes, beginning with ${excerpt(block.bytes.toString('utf8', 0, 40))}`;
  return {
    code: 'E_LINE_TOO_LONG',
    found,
    expected: `at most ${MAX_LINE_BYTES} bytes`,
    fix: 'split the row, or check for missing line breaks',
  };
}
