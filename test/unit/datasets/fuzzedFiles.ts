/**
 * Random dataset files, and what an independent, slow reader makes of them: split at `\n`, decode, `JSON.parse`. Shared by the
 * short run of the tests and the long one of `bench/fuzz.ts`.
 */
import fc from 'fast-check';
import type { ValidationReport } from '../../../schemas/validationReport.js';

/** Rows as they are in real files (CLINC150, CC BY 3.0; the demo sets of LLaMA-Factory, Apache-2.0), and rows that stress a reader. */
const ROWS = [
  '{"text": "what expression would i use to say i love you if i were an italian", "intent": "translate"}',
  '{"text": "please set a 4 minute timer", "intent": "timer"}',
  '{"instruction": "Invent a new word by combining two existing words.", "input": "", "output": "\\"Chillax\\" - a combination of the words \\"chill\\" and \\"relax\\"."}',
  '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello! I am {{name}}, an AI assistant developed by {{author}}. How can I assist you today?"}]}',
  '{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Größe? 漢字 😀"},{"role":"assistant","content":"\\u4f60\\ud83d\\ude00\\n"}]}',
  '{"messages":[{"content":"first","role":"user"},{"content":"second","role":"assistant"}],"id":12}',
  '{"prompt":"p","completion":"c","score":-1.5e3,"tags":[true,false,null,{"deep":[[]]}]}',
  '{}',
  '',
];

/** Bytes that matter to a reader. */
const BYTES = [0, 9, 10, 13, 32, 34, 44, 45, 48, 58, 91, 92, 93, 110, 117, 123, 125, 0x7f, 0x80, 0xc2, 0xe3, 0xed, 0xef, 0xf0, 0xff];

interface Change {
  kind: 'replace' | 'insert' | 'delete' | 'repeat';
  at: number;
  length: number;
  byte: number;
}

const change: fc.Arbitrary<Change> = fc.record({
  kind: fc.constantFrom('replace', 'insert', 'delete', 'repeat'),
  at: fc.nat(),
  length: fc.integer({ min: 1, max: 12 }),
  byte: fc.oneof(fc.constantFrom(...BYTES), fc.nat(255)),
});

function applyChange(bytes: Buffer, { kind, at, length, byte }: Change): Buffer {
  const from = bytes.length === 0 ? 0 : at % bytes.length;
  const [before, cut, after] = [bytes.subarray(0, from), bytes.subarray(from, from + length), bytes.subarray(from + length)];
  const one = Buffer.from([byte]);
  if (kind === 'replace') return Buffer.concat([before, one, bytes.subarray(from + 1)]);
  if (kind === 'insert') return Buffer.concat([before, one, bytes.subarray(from)]);
  return kind === 'delete' ? Buffer.concat([before, after]) : Buffer.concat([before, cut, cut, after]);
}

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
  fc.constantFrom('', ' ', '\u3000', '<|eot_id|>', 'constructor'),
);
const message = fc.record({
  role: fc.constantFrom('system', 'user', 'assistant', 'User'),
  content: fc.oneof({ weight: 9, arbitrary: text }, fc.constant(null)),
});
const randomRow = fc.oneof(
  fc.record({ messages: fc.array(message, { maxLength: 5 }) }),
  fc.record({ text, label: fc.oneof(text, fc.integer(), fc.double()) }, { requiredKeys: [] }),
  fc.dictionary(fc.oneof(fc.constantFrom('text', 'messages', '__proto__'), fc.string()), fc.jsonValue({ maxDepth: 3 })),
  fc.jsonValue(),
);
const line = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...ROWS) },
  { weight: 3, arbitrary: randomRow.map((row) => JSON.stringify(row)) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
);
// A row several times over: the second one has known fields, and may go the fast way.
const someLines = fc.oneof(
  line.map((one) => [one]),
  fc
    .tuple(fc.constantFrom(...ROWS.slice(0, -2)), fc.integer({ min: 2, max: 5 }))
    .map(([row, count]) => Array.from({ length: count }, () => row)),
);
const lines = fc
  .tuple(fc.array(someLines, { maxLength: 6 }), fc.constantFrom('\n', '\n', '\r\n'), fc.boolean())
  .map(([all, ending, isEnded]) => Buffer.from(all.flat().join(ending) + (isEnded ? ending : '')));

/** A file, and the size of the ranges it is read in. */
export const fuzzedFile: fc.Arbitrary<{ content: Buffer; rangeBytes: number }> = fc.record({
  content: fc.oneof(
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    {
      weight: 6,
      arbitrary: fc.tuple(lines, fc.array(change, { maxLength: 6 })).map(([bytes, changes]) => changes.reduce(applyChange, bytes)),
    },
  ),
  rangeBytes: fc.oneof(fc.constant(1e9), fc.integer({ min: 1, max: 300 })),
});

/** Codes that concern a line as such, before anything is known of the row. */
const LINE_CODES = [
  'E_TRUNCATED',
  'E_UTF8',
  'E_ENCODING',
  'E_JSON',
  'E_TOP_LEVEL',
  'E_DEPTH',
  'E_TOO_MANY_VALUES',
  'E_DUP_KEY',
  'E_NUMBER',
  'E_SURROGATE',
  'E_NUL',
];

export interface Facts {
  lines: number;
  examples: number;
  duplicates: number;
  badLines: number[];
  blankLines: number[];
  /** Lines of conversations of the plainest form that break its rules, of those whose form is plain. */
  badConversations: number[];
  fields: Record<string, { count: number; emptyCount: number; types: Record<string, number> }>;
}

/** The same facts as the report has them; of conversations, those on `plainLines`. */
export function factsOfReport(report: ValidationReport, plainLines: ReadonlySet<number>): Facts {
  const places = (codes: (code: string) => boolean) =>
    [...report.errors, ...report.warnings]
      .filter(({ code }) => codes(code))
      .flatMap((problem) => problem.places.map((place) => place.line));
  const sorted = (numbers: number[]) => [...new Set(numbers)].sort((a, b) => a - b);
  const isOfConversation = (code: string) =>
    code.startsWith('E_') && !LINE_CODES.includes(code) && code !== 'E_EMPTY' && code !== 'E_MIXED_FORMATS';
  const fields = report.fields.map(({ name, count, emptyCount, types }) => [name, { count, emptyCount, types }] as const);
  return {
    lines: report.lines,
    examples: report.examples,
    duplicates: report.duplicates,
    badLines: sorted(places((code) => LINE_CODES.includes(code))),
    blankLines: sorted(places((code) => code === 'W_BLANK')),
    badConversations: sorted(places(isOfConversation)).filter((line) => plainLines.has(line)),
    fields: Object.fromEntries(fields.filter(([name]) => name !== '__proto__')),
  };
}

/** What the file has, found the slow way; and which lines are conversations of the plainest form. */
export function readSlowly(content: Buffer): { facts: Facts; plainLines: Set<number> } {
  const facts: Facts = {
    lines: 0,
    examples: 0,
    duplicates: 0,
    badLines: [],
    blankLines: [],
    badConversations: [],
    fields: Object.create(null) as Facts['fields'],
  };
  const plainLines = new Set<number>();
  const seen = new Set<string>();
  const body = content.subarray(content.indexOf('\ufeff') === 0 ? 3 : 0).toString('latin1');
  const all = body.split('\n');
  if (all.at(-1) === '') all.pop();
  for (const whole of all) {
    facts.lines++;
    const latin1 = whole.replace(/\r$/, '');
    if (/^[ \t\r]*$/.test(latin1)) {
      facts.blankLines.push(facts.lines);
      continue;
    }
    const row = parseStrictly(Buffer.from(latin1, 'latin1'));
    if (row === undefined) {
      facts.badLines.push(facts.lines);
      continue;
    }
    facts.examples++;
    if (seen.has(latin1)) facts.duplicates++;
    seen.add(latin1);
    for (const [name, value] of Object.entries(row)) {
      if (name === '__proto__') continue;
      const field = (facts.fields[name] ??= { count: 0, emptyCount: 0, types: {} });
      field.count++;
      if (value === '') field.emptyCount++;
      const type = typeOf(value);
      field.types[type] = (field.types[type] ?? 0) + 1;
    }
    const isGood = isGoodConversation(row);
    if (isGood !== undefined) plainLines.add(facts.lines);
    if (isGood === false) facts.badConversations.push(facts.lines);
  }
  return { facts, plainLines };
}

function parseStrictly(bytes: Buffer): Record<string, unknown> | undefined {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  // In valid JSON, a string before a colon is a key: fewer in the value than in the text means one came twice.
  const strings = text.match(/"(?:[^"\\]|\\.)*"\s*:?/g) ?? [];
  const keysInText = strings.filter((string) => string.endsWith(':')).length;
  const { keys, depth, isFinite, strings: values } = measure(value);
  const hasBadText = values.some((string) => string.includes('\0') || /\p{Surrogate}/u.test(string));
  return keys === keysInText && depth <= 64 && isFinite && !hasBadText ? (value as Record<string, unknown>) : undefined;
}

function measure(value: unknown): { keys: number; depth: number; isFinite: boolean; strings: string[] } {
  if (typeof value === 'string') return { keys: 0, depth: 0, isFinite: true, strings: [value] };
  if (typeof value !== 'object' || value === null)
    return { keys: 0, depth: 0, isFinite: value !== Infinity && value !== -Infinity, strings: [] };
  const inner = Object.values(value).map(measure);
  const names = Array.isArray(value) ? [] : Object.keys(value);
  return {
    keys: inner.reduce((sum, { keys }) => sum + keys, names.length),
    depth: 1 + Math.max(0, ...inner.map(({ depth }) => depth)),
    isFinite: inner.every((part) => part.isFinite),
    strings: [...names, ...inner.flatMap(({ strings }) => strings)],
  };
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value === 'number' && Number.isInteger(value) ? 'integer' : typeof value;
}

/** Whether messages of only role and text follow the rules; undefined for other rows. */
function isGoodConversation(row: Record<string, unknown>): boolean | undefined {
  const { messages } = row;
  if (!Array.isArray(messages) || messages.length === 0 || Object.keys(row).length > 1) return undefined;
  const turns: string[] = [];
  for (const message of messages as Record<string, unknown>[]) {
    if (typeof message !== 'object' || message === null || Object.keys(message).sort().join() !== 'content,role') return undefined;
    const { role, content } = message;
    if (typeof role !== 'string' || typeof content !== 'string' || !['system', 'user', 'assistant'].includes(role)) return undefined;
    if (role === 'assistant' && content === '') return false;
    turns.push(role === 'user' ? 'u' : role === 'assistant' ? 'a' : 's');
  }
  return /^s?(?:ua)+$/.test(turns.join(''));
}
