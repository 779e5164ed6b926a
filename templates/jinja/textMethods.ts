/**
 * The methods of Python's `str`, by name, but for `format`, which reaches into objects (access.ts).
 * Each takes the string, the positional and the keyword arguments.
 */
import { bindEncoding, encode } from './bytes.js';
import { fail } from './errors.js';
import { WHITESPACE, isSpace } from './lexer.js';
import { isPrintable } from './printing.js';
import {
  SafeText,
  Tuple,
  checkListLength,
  checkText,
  checkTextLength,
  hasSurrogates,
  itemsOf,
  lengthOf,
  plain,
  requireIndex,
  requireText,
  spend,
  typeName,
  type Keywords,
  type Run,
  type Value,
} from './values.js';

export type TextMethod = {
  name: string;
  maxArguments: number;
  call: (text: string, args: Value[], keywords: Keywords, run: Run) => Value;
};

const SPACES = new RegExp(`[${WHITESPACE}]+`, 'g');

/** Name, most positional arguments, and what it does. */
const METHODS: [name: string, maxArguments: number, call: TextMethod['call']][] = [
  ['strip', 1, (text, [chars]) => strip(text, chars, true, true)],
  ['lstrip', 1, (text, [chars]) => strip(text, chars, true, false)],
  ['rstrip', 1, (text, [chars]) => strip(text, chars, false, true)],
  ['upper', 0, (text) => text.toUpperCase()],
  ['lower', 0, (text) => text.toLowerCase()],
  ['casefold', 0, (text) => text.toLowerCase().replaceAll('ß', 'ss')],
  ['capitalize', 0, (text) => capitalize(text)],
  ['title', 0, (text) => text.replace(/\p{L}+/gu, capitalize)],
  ['swapcase', 0, (text) => text.replace(/./gsu, (c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase()))],
  ['startswith', 3, (text, args) => testEnd(text, args, 'startswith', (part, affix) => part.startsWith(affix))],
  ['endswith', 3, (text, args) => testEnd(text, args, 'endswith', (part, affix) => part.endsWith(affix))],
  ['removeprefix', 1, (text, [prefix]) => (text.startsWith(need(prefix, 'removeprefix')) ? text.slice((prefix as string).length) : text)],
  [
    'removesuffix',
    1,
    (text, [suffix]) =>
      need(suffix, 'removesuffix') !== '' && text.endsWith(suffix as string) ? text.slice(0, -(suffix as string).length) : text,
  ],
  ['split', 2, (text, args, keywords, run) => split(run, text, ...splitArguments(args, keywords))],
  ['rsplit', 2, (text, args, keywords, run) => splitRight(run, text, ...splitArguments(args, keywords))],
  ['splitlines', 1, (text, [keepEnds], keywords, run) => splitLines(run, text, (keepEnds ?? keywords.get('keepends') ?? false) === true)],
  ['partition', 1, (text, [separator]) => partition(text, need(separator, 'partition'), false)],
  ['rpartition', 1, (text, [separator]) => partition(text, need(separator, 'rpartition'), true)],
  ['join', 1, (text, [items], _, run) => joinTexts(run, text, itemsOf(run, items))],
  ['replace', 3, (text, [old, next, count], _, run) => replace(run, text, need(old, 'replace'), need(next, 'replace'), count)],
  ['find', 3, (text, args) => find(text, args, false)],
  ['rfind', 3, (text, args) => find(text, args, true)],
  ['index', 3, (text, args) => found(find(text, args, false))],
  ['rindex', 3, (text, args) => found(find(text, args, true))],
  ['count', 3, (text, args) => count(text, args)],
  ['isdigit', 0, (text) => /^[\p{Nd}²³¹⁰⁴-⁹₀-₉]+$/u.test(text)],
  ['isdecimal', 0, (text) => /^\p{Nd}+$/u.test(text)],
  ['isnumeric', 0, (text) => /^\p{N}+$/u.test(text)],
  ['isalpha', 0, (text) => /^\p{L}+$/u.test(text)],
  ['isalnum', 0, (text) => /^[\p{L}\p{N}]+$/u.test(text)],
  ['isspace', 0, (text) => text !== '' && strip(text, undefined, true, true) === ''],
  ['isupper', 0, (text) => isCased(text) && !/[\p{Ll}\p{Lt}]/u.test(text)],
  ['islower', 0, (text) => isCased(text) && !/[\p{Lu}\p{Lt}]/u.test(text)],
  ['istitle', 0, (text) => isCased(text) && text === text.replace(/\p{L}+/gu, capitalize)],
  ['isascii', 0, (text) => /^[\x00-\x7f]*$/.test(text)],
  ['isprintable', 0, (text) => isPrintable(text)],
  ['isidentifier', 0, (text) => /^[\p{ID_Start}_]\p{ID_Continue}*$/u.test(text)],
  ['encode', 2, (text, args, keywords, run) => encode(run, text, ...bindEncoding('encode', args, keywords))],
  ['zfill', 1, (text, [width], _, run) => zeroFill(run, text, requireIndex(width))],
  ['ljust', 2, (text, [width, fill], _, run) => justify(run, text, width, fill, 0)],
  ['rjust', 2, (text, [width, fill], _, run) => justify(run, text, width, fill, 1)],
  ['center', 2, (text, [width, fill], _, run) => justify(run, text, width, fill, 0.5)],
  ['expandtabs', 1, (text, [size], keywords, run) => expandTabs(run, text, requireIndex(size ?? keywords.get('tabsize') ?? 8))],
];

export const TEXT_METHODS: ReadonlyMap<string, TextMethod> = new Map(
  METHODS.map(([name, maxArguments, call]) => [name, { name, maxArguments, call }]),
);

export function callTextMethod(method: TextMethod, text: string, args: Value[], keywords: Keywords, run: Run): Value {
  if (args.length > method.maxArguments) fail(`${method.name}() takes at most ${method.maxArguments} arguments (${args.length} given)`);
  if (keywords.size > 0) checkKeywords(method.name, keywords);
  // An undefined value is no string, number or None. It has no items, either, which is what `join` wants to know.
  if (method.name !== 'join' && args.includes(undefined)) fail(`${method.name}() got an undefined value as an argument`);
  return method.call(text, args, keywords, run);
}

/** The few that take arguments by name; Python 3.13 has more. */
const KEYWORDS = new Map([
  ['split', ['sep', 'maxsplit']],
  ['rsplit', ['sep', 'maxsplit']],
  ['splitlines', ['keepends']],
  ['expandtabs', ['tabsize']],
  ['encode', ['encoding', 'errors']],
]);

function checkKeywords(name: string, keywords: Keywords): void {
  const unknown = [...keywords.keys()].find((keyword) => !KEYWORDS.get(name)?.includes(keyword));
  if (unknown !== undefined) fail(`${name}() got an unexpected keyword argument '${unknown}'`);
  if ([...keywords.values()].includes(undefined)) fail(`${name}() got an undefined value as an argument`);
}

/** Whitespace, or any of the given characters, from either end. */
export function strip(text: string, chars: Value, left: boolean, right: boolean): string {
  if (chars !== undefined && chars !== null) {
    const set = new Set(requireText(chars, 'strip arg'));
    const units = hasSurrogates(text) ? [...text] : text;
    let start = 0;
    let end = units.length;
    if (left) while (start < end && set.has(units[start]!)) start++;
    if (right) while (end > start && set.has(units[end - 1]!)) end--;
    return typeof units === 'string' ? units.slice(start, end) : units.slice(start, end).join('');
  }
  let start = 0;
  let end = text.length;
  if (left) while (start < end && isSpace(text.charCodeAt(start))) start++;
  if (right) while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

export function capitalize(text: string): string {
  const first = text.codePointAt(0);
  if (first === undefined) return text;
  const head = String.fromCodePoint(first);
  return head.toUpperCase() + text.slice(head.length).toLowerCase();
}

export function replace(run: Run, text: string, old: string, next: string, count: Value = -1): string {
  const limit = requireIndex(count);
  if (old === '') {
    const gaps = [...text, ''];
    const replaced = limit < 0 ? gaps.length : Math.min(limit, gaps.length);
    checkTextLength(run, text.length + replaced * next.length);
    return gaps.map((character, index) => (index < replaced ? next : '') + character).join('');
  }
  const parts = text.split(old);
  const replaced = limit < 0 ? parts.length - 1 : Math.min(limit, parts.length - 1);
  checkTextLength(run, text.length + replaced * next.length);
  if (replaced === parts.length - 1) return parts.join(next);
  return (
    [...parts.slice(0, replaced + 1)].join(next) +
    parts
      .slice(replaced + 1)
      .map((part) => old + part)
      .join('')
  );
}

function need(value: Value, method: string): string {
  return requireText(value, `argument of ${method}()`);
}

function isCased(text: string): boolean {
  return /[\p{Lu}\p{Ll}\p{Lt}]/u.test(text);
}

/** The part of a string between two optional code point positions, and where it begins. There is none where it would end before that. */
function part(text: string, start: Value, stop: Value): { text: string; offset: number } | undefined {
  if ((start ?? null) === null && (stop ?? null) === null) return { text, offset: 0 };
  const units = [...text];
  const position = (value: Value, otherwise: number): number => {
    if ((value ?? null) === null) return otherwise;
    const index = requireIndex(value);
    return Math.max(index < 0 ? units.length + index : index, 0);
  };
  const offset = position(start, 0);
  const end = Math.min(position(stop, units.length), units.length);
  return offset > end ? undefined : { text: units.slice(offset, end).join(''), offset };
}

function testEnd(text: string, [affix, start, stop]: Value[], method: string, test: (part: string, affix: string) => boolean): boolean {
  const candidates = affix instanceof Tuple ? [...affix] : [affix];
  const range = part(text, start, stop);
  return candidates.some((candidate) => {
    const wanted = plain(candidate);
    if (typeof wanted !== 'string') fail(`${method} first arg must be str or a tuple of str, not ${typeName(candidate)}`);
    return range !== undefined && test(range.text, wanted);
  });
}

function splitArguments(args: Value[], keywords: Keywords): [separator: Value, limit: number] {
  return [args[0] ?? keywords.get('sep') ?? null, requireIndex(args[1] ?? keywords.get('maxsplit') ?? -1)];
}

export function split(run: Run, text: string, separator: Value, limit: number): string[] {
  if (separator !== null) {
    const parts = splitBy(run, text, separator);
    if (limit < 0 || parts.length <= limit + 1) return parts;
    return [...parts.slice(0, limit), parts.slice(limit).join(separator as string)];
  }
  const rest = strip(text, undefined, true, limit < 0);
  if (rest === '') return [];
  if (limit < 0) {
    const parts = rest.split(SPACES);
    checkListLength(run, parts.length);
    return parts;
  }
  const parts: string[] = [];
  let at = 0;
  for (const space of rest.matchAll(SPACES)) {
    if (parts.length >= limit) break;
    parts.push(rest.slice(at, space.index));
    at = space.index + space[0].length;
  }
  checkListLength(run, parts.length);
  // What is left after the last split keeps the spaces at its end.
  return at < rest.length ? [...parts, rest.slice(at)] : parts;
}

function splitRight(run: Run, text: string, separator: Value, limit: number): string[] {
  if (limit < 0) return split(run, text, separator, -1);
  if (separator !== null) {
    const parts = splitBy(run, text, separator);
    if (parts.length <= limit + 1) return parts;
    const kept = parts.length - limit;
    return [parts.slice(0, kept).join(separator as string), ...parts.slice(kept)];
  }
  // From the right is from the left of the mirrored text.
  const mirror = (value: string): string => [...value].reverse().join('');
  return split(run, mirror(text), null, limit).map(mirror).reverse();
}

function splitBy(run: Run, text: string, separator: Value): string[] {
  if (requireText(separator, 'separator') === '') fail('empty separator');
  const parts = text.split(separator as string);
  checkListLength(run, parts.length);
  return parts;
}

const LINE_END = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g;

function splitLines(run: Run, text: string, keepEnds: boolean): string[] {
  const lines: string[] = [];
  let at = 0;
  for (const end of text.matchAll(LINE_END)) {
    const next = end.index + end[0].length;
    lines.push(text.slice(at, keepEnds ? next : end.index));
    at = next;
  }
  if (at < text.length) lines.push(text.slice(at));
  checkListLength(run, lines.length);
  return lines;
}

function partition(text: string, separator: string, fromRight: boolean): Tuple {
  if (separator === '') fail('empty separator');
  const at = fromRight ? text.lastIndexOf(separator) : text.indexOf(separator);
  const parts = at < 0 ? (fromRight ? ['', '', text] : [text, '', '']) : [text.slice(0, at), separator, text.slice(at + separator.length)];
  return Tuple.from(parts) as Tuple;
}

export function joinTexts(run: Run, separator: string, items: Value[]): string {
  spend(run, items.length >>> 3);
  let length = separator.length * Math.max(0, items.length - 1);
  items.forEach((item, index) => {
    if (typeof item !== 'string' && !(item instanceof SafeText)) {
      fail(`sequence item ${index}: expected str instance, ${typeName(item)} found`);
    }
    length += toPlainText(item).length;
  });
  checkTextLength(run, length);
  return items.map(toPlainText).join(separator);
}

function toPlainText(item: Value): string {
  return plain(item) as string;
}

/** Position in code points, or -1. */
function find(text: string, [needle, start, stop]: Value[], fromRight: boolean): number {
  const range = part(text, start, stop);
  const wanted = need(needle, 'find');
  if (!range) return -1;
  const at = fromRight ? range.text.lastIndexOf(wanted) : range.text.indexOf(wanted);
  return at < 0 ? -1 : range.offset + lengthOf(range.text.slice(0, at));
}

function found(position: number): number {
  return position < 0 ? fail('substring not found') : position;
}

function count(text: string, [needle, start, stop]: Value[]): number {
  const range = part(text, start, stop);
  const wanted = need(needle, 'count');
  if (!range) return 0;
  return wanted === '' ? lengthOf(range.text) + 1 : range.text.split(wanted).length - 1;
}

function zeroFill(run: Run, text: string, width: number): string {
  const missing = width - lengthOf(text);
  if (missing <= 0) return text;
  checkTextLength(run, width);
  const sign = /^[-+]/.exec(text)?.[0] ?? '';
  return sign + '0'.repeat(missing) + text.slice(sign.length);
}

/** `share`: how much of the padding goes to the left. */
function justify(run: Run, text: string, width: Value, fill: Value, share: 0 | 0.5 | 1): string {
  const missing = requireIndex(width) - lengthOf(text);
  if (missing <= 0) return text;
  const character = fill === undefined ? ' ' : requireText(fill, 'the fill character');
  if (lengthOf(character) !== 1) fail('The fill character must be exactly one character long');
  checkTextLength(run, missing + text.length);
  // Python's center leans left when the width is even, right when it is odd.
  const left = share === 0.5 ? (missing >> 1) + (missing & requireIndex(width) & 1) : missing * share;
  return character.repeat(left) + text + character.repeat(missing - left);
}

function expandTabs(run: Run, text: string, size: number): string {
  checkTextLength(run, text.length * Math.max(1, size));
  let column = 0;
  let expanded = '';
  for (const character of text) {
    if (character === '\t') {
      const spaces = size > 0 ? size - (column % size) : 0;
      expanded += ' '.repeat(spaces);
      column += spaces;
    } else {
      expanded += character;
      column = character === '\n' || character === '\r' ? 0 : column + 1;
    }
  }
  return checkText(run, expanded);
}
