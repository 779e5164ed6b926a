/**
 * Every kind of problem a dataset can have, once. `E_` makes the dataset unusable, `W_` is a warning.
 *
 * Accepted without a word: CRLF line endings, a missing last newline, U+2028 and the like inside strings, fields named
 * `__proto__` or `constructor`.
 */
import type { ProblemPlace } from '../schemas/validationReport.js';

export const PROBLEMS = {
  // The file
  E_EMPTY: 'The file has no rows',
  E_TOO_MANY_ROWS: 'The file has too many rows',
  E_FORMAT: 'The file is not JSONL',
  E_COMPRESSION: 'The compressed file is damaged or not whole',
  E_TOO_LARGE: 'The file is too large once decompressed',
  E_ENCODING: 'The text is not encoded as UTF-8',
  // The line
  E_TRUNCATED: 'The file ends in the middle of a row',
  E_LINE_TOO_LONG: 'A line is too long',
  E_UTF8: 'A line is not valid UTF-8',
  E_JSON: 'A line is not valid JSON',
  E_TOP_LEVEL: 'A line is not a JSON object',
  E_DEPTH: 'A row is nested too deeply',
  E_TOO_MANY_VALUES: 'A row has too many values',
  E_DUP_KEY: 'A key appears twice in one object',
  E_NUMBER: 'A number is too large',
  E_SURROGATE: 'An escape is half of a surrogate pair, which is no character',
  E_NUL: 'A string has the character NUL',
  // Conversations
  E_MIXED_FORMATS: 'Rows are of different formats',
  E_MESSAGES: '`messages` is missing or is not a list of messages',
  E_ROLE: 'A message has no known role',
  E_CONTENT_TYPE: "A message's content is neither text nor a list of text parts",
  E_UNKNOWN_KEY: 'A message has a key that has no meaning here',
  E_WEIGHT: 'A weight is not 0 or 1 on an assistant message',
  E_TOOLS: 'Tools or tool calls are malformed',
  E_SYSTEM_POSITION: 'A system message is not the first message',
  E_ALTERNATION: 'User and assistant messages do not take turns from user',
  E_NO_FINAL_ASSISTANT: 'A conversation does not end with an assistant message',
  E_EMPTY_REPLY: 'An assistant message is empty',
  E_NO_TRAINABLE_TOKENS: 'A conversation has nothing to train on',
  // Accepted, but look at it
  W_BOM: 'The file begins with a byte order mark, which was left out',
  W_BLANK: 'Blank lines were skipped',
  W_DUPLICATES: 'Rows repeat an earlier row byte for byte',
  W_EMPTY_CONTENT: 'A message is empty',
  W_SPECIAL_TOKEN: "A row's text looks like control tokens of a chat template; it is trained on as plain text",
  W_EXTRA_FIELD: 'Conversations have fields that are not used',
  W_MISSING_FIELD: 'A field is missing in some rows',
  W_MIXED_TYPES: 'A field has values of different types',
  W_MANY_FIELDS: 'Rows have very many different fields; the report does not list them all',
} as const;
export type ProblemCode = keyof typeof PROBLEMS;

/** Places kept of each kind of problem. */
export const MAX_PLACES = 20;
/** Characters of the user's own text in one place of a report. */
export const MAX_FOUND_LENGTH = 80;

/** What advice about missing or malformed messages shows. */
export const MESSAGES_EXAMPLE = '[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]';

/** A problem of one line, before it is known where in the file the line is. */
export interface Finding {
  code: ProblemCode;
  /** Bytes from the start of the line; the line's start when absent. */
  byteInLine?: number;
  field?: string;
  found: string;
  expected: string;
  fix: string;
  /** The text ended too early: on the file's last line that means a cut-off file. */
  atEnd?: boolean;
}

/** The places of each problem, in order, counted beyond the ones that are kept. */
export type ProblemTally = Map<ProblemCode, { count: number; places: ProblemPlace[] }>;

export function addProblem(problems: ProblemTally, code: ProblemCode, count: number, places: ProblemPlace[]): void {
  const tally = problems.get(code);
  if (tally === undefined) {
    problems.set(code, { count, places: places.slice(0, MAX_PLACES) });
    return;
  }
  tally.count += count;
  if (tally.places.length < MAX_PLACES) tally.places.push(...places.slice(0, MAX_PLACES - tally.places.length));
}

/** The user's text on one line: control characters escaped, cut to what a report may hold. */
export function excerpt(text: string): string {
  const head = Array.from(text.slice(0, MAX_FOUND_LENGTH * 2), printable).join('');
  if (head.length <= MAX_FOUND_LENGTH && text.length <= MAX_FOUND_LENGTH * 2) return head;
  const cut = head.slice(0, MAX_FOUND_LENGTH - 1);
  return (/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut) + '…';
}

function printable(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  // Control characters, bidirectional overrides and unpaired surrogates must not reach a terminal or a log as they are.
  const isHidden = code < 32 || (code >= 127 && code < 160) || (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e);
  const isUnsafe = isHidden || (code >= 0x2066 && code <= 0x2069) || (code >= 0xd800 && code <= 0xdfff) || code === 0xfeff;
  return isUnsafe ? `\\u${code.toString(16).padStart(4, '0')}` : character;
}

/** What a parsed value is, shown as JSON. */
export function excerptValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return excerpt(JSON.stringify(value.slice(0, MAX_FOUND_LENGTH * 2)));
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null)
    return excerpt(`an object with ${Object.keys(value).slice(0, 8).join(', ') || 'no keys'}`);
  return String(value);
}
