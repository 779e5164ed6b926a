/** The filter `pprint`: Python's `pprint.pformat` with its 80 columns, dicts sorted by key. */
import { bytesRepr } from './bytes.js';
import { WHITESPACE } from './lexer.js';
import { compare } from './ordering.js';
import { toRepr } from './printing.js';
import { TEXT_METHODS } from './textMethods.js';
import {
  Bytes,
  Group,
  NO_KEYWORDS,
  Tuple,
  checkText,
  dictEntries,
  isDict,
  isNumber,
  lengthOf,
  spend,
  typeName,
  type Dict,
  type Run,
  type Value,
} from './values.js';

const WIDTH = 80;

/** The text of a value that begins in column `indent`; `allowance` is what must still fit behind it, `level` how deep it is. */
export function prettyPrint(run: Run, value: Value, indent = 0, allowance = 0, level = 1): string {
  const flat = flatText(run, value);
  if (lengthOf(flat) <= WIDTH - indent - allowance) return flat;
  if (typeof value === 'string') return wrapText(run, value, indent, allowance, level);
  if (value instanceof Bytes) return wrapBytes(value, indent, allowance, level) ?? flat;
  if (value instanceof Group) return flat;
  if (value instanceof Tuple) {
    const end = value.length === 1 ? ',)' : ')';
    return checkText(run, `(${stacked(run, value, indent + 1, allowance + end.length, level)}${end}`);
  }
  if (Array.isArray(value)) return checkText(run, `[${stacked(run, value, indent + 1, allowance + 1, level)}]`);
  if (!isDict(value)) return flat;
  const entries = sortedEntries(run, value);
  const lines = entries.map(([key, item], index) => {
    const name = `${flatText(run, key)}: `;
    const room = index === entries.length - 1 ? allowance + 1 : 1;
    return name + prettyPrint(run, item, indent + 1 + lengthOf(name), room, level + 1);
  });
  return checkText(run, `{${lines.join(`,\n${' '.repeat(indent + 1)}`)}}`);
}

/** Items one a line. */
function stacked(run: Run, items: Value[], indent: number, allowance: number, level: number): string {
  const lines = items.map((item, index) => prettyPrint(run, item, indent, index === items.length - 1 ? allowance : 1, level + 1));
  return lines.join(`,\n${' '.repeat(indent)}`);
}

/** The value on one line. */
function flatText(run: Run, value: Value): string {
  spend(run, 1);
  if (value instanceof Group) return toRepr(run, value);
  if (Array.isArray(value)) {
    const items = checkText(run, value.map((item) => flatText(run, item)).join(', '));
    if (!(value instanceof Tuple)) return `[${items}]`;
    return `(${items}${value.length === 1 ? ',' : ''})`;
  }
  if (!isDict(value)) return toRepr(run, value);
  return checkText(
    run,
    `{${sortedEntries(run, value)
      .map(([key, item]) => `${flatText(run, key)}: ${flatText(run, item)}`)
      .join(', ')}}`,
  );
}

/** By key; keys that have no order go by the names of their types. */
function sortedEntries(run: Run, dict: Dict): [Value, Value][] {
  const isLess = (a: Value, b: Value): boolean => {
    if ((isNumber(a) && isNumber(b)) || (typeName(a) === typeName(b) && typeof a === 'string')) return compare(run, '<', a, b);
    if (a instanceof Tuple && b instanceof Tuple) return compare(run, '<', a, b);
    return typeName(a) < typeName(b);
  };
  return dictEntries(dict).sort(([a], [b]) => (isLess(a, b) ? -1 : isLess(b, a) ? 1 : 0));
}

const splitLines = (run: Run, text: string): string[] => TEXT_METHODS.get('splitlines')!.call(text, [true], NO_KEYWORDS, run) as string[];
/** Words with the spaces after them. */
const PARTS = new RegExp(`[^${WHITESPACE}]*[${WHITESPACE}]*`, 'g');

/** A string in pieces that Python puts together again, one a line; in parentheses where nothing else is around it. */
function wrapText(run: Run, text: string, indent: number, allowance: number, level: number): string {
  const isAlone = level === 1;
  const column = isAlone ? indent + 1 : indent;
  const behind = isAlone ? allowance + 1 : allowance;
  const lines = splitLines(run, text);
  const chunks: string[] = [];
  lines.forEach((line, index) => {
    const isLastLine = index === lines.length - 1;
    const whole = toRepr(run, line);
    if (lengthOf(whole) <= WIDTH - column - (isLastLine ? behind : 0)) {
      chunks.push(whole);
      return;
    }
    const parts = (line.match(PARTS) ?? []).filter((part) => part !== '');
    let current = '';
    parts.forEach((part, at) => {
      const room = WIDTH - column - (isLastLine && at === parts.length - 1 ? behind : 0);
      const candidate = current + part;
      spend(run, 1);
      if (lengthOf(toRepr(run, candidate)) > room) {
        if (current !== '') chunks.push(toRepr(run, current));
        current = part;
      } else current = candidate;
    });
    if (current !== '') chunks.push(toRepr(run, current));
  });
  if (chunks.length === 1) return chunks[0]!;
  const body = checkText(run, chunks.join(`\n${' '.repeat(column)}`));
  return isAlone ? `(${body})` : body;
}

/** Undefined where bytes are too short to break. */
function wrapBytes({ data }: Bytes, indent: number, allowance: number, level: number): string | undefined {
  if (data.length <= 4) return undefined;
  const isAlone = level === 1;
  const column = isAlone ? indent + 1 : indent;
  const lines: string[] = [];
  const last = (data.length >> 2) << 2;
  let current = new Bytes(new Uint8Array());
  let width = WIDTH - column;
  for (let at = 0; at < data.length; at += 4) {
    const candidate = new Bytes(Uint8Array.from([...current.data, ...data.slice(at, at + 4)]));
    if (at === last) width -= isAlone ? allowance + 1 : allowance;
    if (bytesRepr(candidate).length > width) {
      if (current.data.length > 0) lines.push(bytesRepr(current));
      current = new Bytes(data.slice(at, at + 4));
    } else current = candidate;
  }
  if (current.data.length > 0) lines.push(bytesRepr(current));
  const body = lines.join(`\n${' '.repeat(column)}`);
  return isAlone ? `(${body})` : body;
}
