/**
 * Numbers of a row as Python reads them from JSON, where JSON.parse forgets how they were written: `1.0` and `1e20` are floats, an integer
 * has all its digits, `-0` is 0. Only tools and calls of them hold numbers that a template prints, so only rows that have them pay for it.
 */
import { randomBytes } from 'node:crypto';
import { toFloat } from './jinja/values.js';

type Row = Record<string, unknown>;

/** `text` is the row's JSON. Returns the row itself where nothing of it would change. */
export function withExactNumbers(row: Row, text: string): Row {
  const messages = Array.isArray(row['messages']) ? (row['messages'] as (Row | null)[]) : [];
  const hasPayload = row['tools'] != null || messages.some((message) => message?.['tool_calls'] != null);
  if (!hasPayload || !FORGOTTEN.test(text)) return row;
  const exact = parseExactly(text) as { tools?: unknown; messages?: Row[] };
  const withCalls = (message: Row | null, index: number): Row | null =>
    message?.['tool_calls'] == null ? message : { ...message, tool_calls: exact.messages![index]!['tool_calls'] };
  return { ...row, tools: exact.tools, ...(messages.length > 0 && { messages: messages.map(withCalls) }) };
}

/** A number that may lose something, or text that looks like one. */
const FORGOTTEN = /\d\.\d|\d[eE][-+\d]|\d{16}|-0/;
const STRING_OR_NUMBER = /"(?:[^"\\]+|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;
const KEPT = /^(?:0|-?[1-9]\d{0,14})$/;
/** Python reads no longer integers. */
const MAX_DIGITS = 4300;
/** Stands for a number until the text is parsed: a key that no row can know. */
const NUMBER = `number ${randomBytes(12).toString('hex')}`;

/** JSON.parse with the engine's numbers: `number`, `bigint` and `Float`. */
export function parseExactly(text: string): unknown {
  const marked = text.replace(STRING_OR_NUMBER, (token) =>
    token.startsWith('"') || KEPT.test(token) ? token : `{"${NUMBER}":"${token}"}`,
  );
  return JSON.parse(marked, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && Object.hasOwn(value, NUMBER)
      ? readNumber((value as Record<string, string>)[NUMBER]!)
      : value,
  );
}

function readNumber(token: string): unknown {
  const number = Number(token);
  if (/[.eE]/.test(token)) return toFloat(number);
  return Number.isSafeInteger(number) || token.length > MAX_DIGITS ? number + 0 : BigInt(token);
}
