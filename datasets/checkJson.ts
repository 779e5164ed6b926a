/**
 * One line of text to a row, strictly, at nearly the speed of `JSON.parse`: the native parser does the work, and cheap tests
 * find what it is too kind about. A line that fails any of them goes to the slow, exact reader in `explainJson.ts`, which has
 * the last word.
 */
import { explainJson, MAX_DEPTH, MAX_VALUES } from './explainJson.js';
import type { Finding } from './problems.js';

export type JsonRow = Record<string, unknown>;

/** The row, or what is wrong with the line. The text was decoded from valid UTF-8 and is not blank. */
export function checkJson(text: string): { row: JsonRow; problem?: undefined } | { row?: undefined; problem: Finding } {
  const keysInText = countKeysInText(text);
  if (keysInText >= 0 && !hasSuspectEscape(text)) {
    const row = parseObject(text);
    // Fewer keys in the object than in the text: one was there twice. A negative count: a number overflowed to infinity.
    if (row !== undefined && countKeys(row) === keysInText) return { row };
  }
  const problem = explainJson(text);
  if (problem !== undefined) return { problem };
  return { row: JSON.parse(text) as JsonRow };
}

/** True for every text with an escaped NUL or an unpaired surrogate, and for some without. */
function hasSuspectEscape(text: string): boolean {
  if (!text.includes('\\u')) return false;
  // After an escaped backslash, what looks like half of a pair may be plain text.
  return SUSPECT_ESCAPE.test(text) || (text.includes('\\\\u') && SURROGATE.test(text));
}

const SURROGATE = /\\u[dD][89a-fA-F]/;
/** NUL, a high surrogate with no low one after it, or a low one with no high one before it. */
const SUSPECT_ESCAPE = /\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F])/;

const QUOTE = 34;
const BACKSLASH = 92;

/** Keys as the text has them (colons outside strings), or -1 when it nests too deeply, has too many values or ends inside a string. */
function countKeysInText(text: string): number {
  let keys = 0;
  let depth = 0;
  let values = 1; // at most: the first, one after each comma, and one in each object or list
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === QUOTE) {
      index = text.indexOf('"', index + 1);
      while (index > 0 && text.charCodeAt(index - 1) === BACKSLASH && isEscaped(text, index)) index = text.indexOf('"', index + 1);
      if (index < 0) return -1;
    } else if (code === 58) {
      keys++;
    } else if (code === 44) {
      values++;
    } else if (code === 123 || code === 91) {
      values++;
      if (++depth > MAX_DEPTH) return -1;
    } else if (code === 125 || code === 93) {
      depth--;
    }
  }
  return values > MAX_VALUES ? -1 : keys;
}

function isEscaped(text: string, index: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(index - 1 - backslashes) === BACKSLASH) backslashes++;
  return backslashes % 2 === 1;
}

function parseObject(text: string): JsonRow | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonRow) : undefined;
  } catch {
    return undefined;
  }
}

/** Keys of all objects inside the value, or a negative number when a number in it is not finite. */
function countKeys(value: object): number {
  let keys = 0;
  if (Array.isArray(value)) {
    for (const item of value as unknown[]) keys += countValue(item);
    return keys;
  }
  for (const key in value) keys += 1 + countValue((value as JsonRow)[key]);
  return keys;
}

function countValue(value: unknown): number {
  if (typeof value === 'object') return value === null ? 0 : countKeys(value);
  return typeof value === 'number' && !Number.isFinite(value) ? -Infinity : 0;
}
