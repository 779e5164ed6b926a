/**
 * Everything validation learns from one byte range of a file: counts, fields, problems and their first places. Ranges are
 * read independently, on any thread, and added up in file order by `report.ts`; so lines here count from the range's start.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import type { JsonType, ProblemPlace } from '../schemas/validationReport.js';
import { MAX_LINE_BYTES, readBlocks, type Block, type ByteRange } from './blocks.js';
import { checkJson, type JsonRow } from './checkJson.js';
import { checkConversation, contentLength } from './checkRow.js';
import { checkUtf8 } from './checkUtf8.js';
import { hashBytes } from './hashBytes.js';
import { addProblem, excerpt, MAX_PLACES, type Finding, type ProblemCode, type ProblemTally } from './problems.js';
import type { Message } from './rowSchemas.js';

/** Different fields that are told apart; a dataset with more is not made of rows. */
export const MAX_FIELDS = 100;
/** Labels are short and few; beyond either limit a field's values are not kept. */
export const MAX_DISTINCT = 10_000;
export const MAX_DISTINCT_LENGTH = 256;

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
  /** Two words of 32 bits for each example. */
  hashes: Uint32Array;
  problems: ProblemTally;
  /** The row after `maxRows`, at which reading stopped. */
  rowOverLimit?: { line: number; byteOffset: number };
}

export interface TallyOptions {
  /** Rows to read before stopping. */
  maxRows: number;
  /** Fields whose values are known not to be labels. */
  withoutDistinct: ReadonlySet<string>;
}

/** Reads the lines that begin in `range`. Synchronous: for a worker thread. */
export function tallyRange(path: string, range: ByteRange, options: TallyOptions): RangeTally {
  const tally = emptyTally(range);
  let hashes = new Uint32Array(4096);
  for (const block of readBlocks(path, range)) {
    if (block.tooLongBytes !== undefined) {
      tally.lines++;
      tally.rows++;
      addFinding(tally, block.byteOffset, lineTooLong(block, block.tooLongBytes));
      continue;
    }
    const { bytes, byteOffset } = block;
    const text = describeText(bytes);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let from = 0, to = 0; from < bytes.length; from = to + 1) {
      to = bytes.indexOf(NEWLINE, from);
      if (to < 0) to = bytes.length;
      tally.lines++;
      const end = bytes[to - 1] === RETURN && to > from ? to - 1 : to;
      if (bytes[from] !== BRACE && isBlank(bytes, from, end)) {
        addFinding(tally, byteOffset + from, BLANK_LINE);
        continue;
      }
      if (tally.rows === options.maxRows) {
        tally.rowOverLimit = { line: tally.lines, byteOffset: byteOffset + from };
        tally.hashes = hashes.slice(0, tally.examples * 2);
        return tally;
      }
      tally.rows++;
      const row = readRow(tally, bytes, from, end, byteOffset, text, to === bytes.length);
      if (row === undefined) continue;
      if (tally.examples * 2 === hashes.length) {
        const larger = new Uint32Array(hashes.length * 2);
        larger.set(hashes);
        hashes = larger;
      }
      hashBytes(view, from, end, hashes, tally.examples * 2);
      tally.examples++;
      tallyRow(tally, row, byteOffset + from, options.withoutDistinct);
    }
  }
  tally.hashes = hashes.slice(0, tally.examples * 2);
  return tally;
}

const NEWLINE = 10;
const RETURN = 13;
const BRACE = 123;

/** What is known of all lines of a block at once, so that it need not be found out line by line. */
interface TextKind {
  isAscii: boolean;
  isUtf8: boolean;
  hasSpecialTokens: boolean;
}

/** Control tokens of public chat templates, and the bytes one of which every such token begins with. */
const SPECIAL_TOKEN = /<\|[^|<>\s"]{1,40}\|>|<\/?s>|\[\/?INST\]|<(?:start_of_turn|end_of_turn|bos|eos|unk|pad)>/;
const SPECIAL_TOKEN_STARTS = ['<|', '<s>', '</s>', 'INST]', '_of_turn>', '<bos>', '<eos>', '<unk>', '<pad>'];

function describeText(bytes: Buffer): TextKind {
  return { isAscii: isAscii(bytes), isUtf8: isUtf8(bytes), hasSpecialTokens: SPECIAL_TOKEN_STARTS.some((start) => bytes.includes(start)) };
}

function readRow(
  tally: RangeTally,
  bytes: Buffer,
  from: number,
  end: number,
  blockOffset: number,
  kind: TextKind,
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
  if (kind.hasSpecialTokens) {
    const token = SPECIAL_TOKEN.exec(text);
    if (token !== null) addFinding(tally, byteOffset, specialToken(text, token));
  }
  return row;
}

function tallyRow(tally: RangeTally, row: JsonRow, byteOffset: number, withoutDistinct: ReadonlySet<string>): void {
  const line = tally.lines;
  if (tally.examples === 1) tally.firstExampleLine = line;
  let characters = tallyFields(tally, row, line, withoutDistinct);
  const shape = row.messages !== undefined ? 'chat' : row.prompt !== undefined && row.completion !== undefined ? 'completion' : 'other';
  tally.firstShape ??= shape;
  const seen = tally.shapes[shape];
  seen.count++;
  if (seen.places.length < MAX_PLACES) seen.places.push({ line, byteOffset });
  if (shape === 'chat') {
    const findings = checkConversation(row);
    for (const finding of findings) addFinding(tally, byteOffset, finding);
    if (findings.every(({ code }) => code.startsWith('W_'))) characters = tallyMessages(tally, row.messages as Message[], row.tools);
  }
  tally.characters += characters;
  if (characters < tally.minCharacters) tally.minCharacters = characters;
  if (characters > tally.maxCharacters || tally.longestLine === 0) {
    tally.maxCharacters = characters;
    tally.longestLine = line;
  }
}

/** Returns the characters of the row's strings. */
function tallyFields(tally: RangeTally, row: JsonRow, line: number, withoutDistinct: ReadonlySet<string>): number {
  let characters = 0;
  let present = 0;
  for (const name in row) {
    let field = tally.fields.get(name);
    if (field === undefined) {
      if (tally.fields.size === MAX_FIELDS) {
        tally.hasMoreFields = true;
        continue;
      }
      field = emptyField(line, tally.examples > 1 ? tally.firstExampleLine : 0, withoutDistinct.has(name));
      tally.fields.set(name, field);
    }
    present++;
    field.count++;
    const value = row[name];
    const type = jsonType(value);
    const seen = field.types[type];
    if (seen === undefined) field.firstLines[type] = line;
    field.types[type] = (seen ?? 0) + 1;
    if (typeof value === 'string') {
      characters += value.length;
      if (value === '') {
        if (field.emptyCount === 0) field.firstEmptyLine = line;
        field.emptyCount++;
      }
    }
    if (field.distinct !== undefined) tallyDistinct(field, value, type);
  }
  if (present < tally.fields.size) {
    for (const [name, field] of tally.fields) if (field.firstMissingLine === 0 && !Object.hasOwn(row, name)) field.firstMissingLine = line;
  }
  return characters;
}

function tallyDistinct(field: FieldTally, value: unknown, type: JsonType): void {
  const label = type === 'integer' ? String(value) : type === 'string' ? (value as string) : undefined;
  const seen = label === undefined || label.length > MAX_DISTINCT_LENGTH ? undefined : (field.distinct?.get(label) ?? 0);
  if (label === undefined || seen === undefined || (seen === 0 && field.distinct?.size === MAX_DISTINCT)) field.distinct = undefined;
  else field.distinct?.set(label, seen + 1);
}

/** Returns the characters of all contents. */
function tallyMessages(tally: RangeTally, messages: Message[], tools: unknown): number {
  let characters = 0;
  let turns = 0;
  let hasTools = tools != null;
  let hasWeights = false;
  for (const { role, content, weight, tool_calls: calls } of messages) {
    characters += contentLength(content);
    tally.roles[role] = (tally.roles[role] ?? 0) + 1;
    if (role === 'assistant') turns++;
    if (role === 'tool' || calls != null) hasTools = true;
    if (weight != null) hasWeights = true;
  }
  tally.turns += turns;
  if (turns > tally.maxTurns) tally.maxTurns = turns;
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

function specialToken(text: string, token: RegExpExecArray): Finding {
  const byteInLine = Buffer.byteLength(text.slice(0, token.index));
  return {
    code: 'W_SPECIAL_TOKEN',
    byteInLine,
    found: excerpt(token[0]),
    expected: 'text',
    fix: 'remove it if it came from a rendered conversation',
  };
}

function emptyTally(range: ByteRange): RangeTally {
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
    hashes: new Uint32Array(0),
    problems: new Map<ProblemCode, never>() as ProblemTally,
  };
}

function emptyField(firstLine: number, firstMissingLine: number, isWithoutDistinct: boolean): FieldTally {
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
