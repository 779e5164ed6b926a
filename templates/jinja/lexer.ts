/**
 * Splits a template into tokens as Jinja does with `trim_blocks` and `lstrip_blocks` on, the settings of `transformers`.
 *
 * The whitespace rules, where most engines differ by a newline:
 * - line ends become `\n`, and one newline at the very end is dropped;
 * - `-` inside a tag strips all whitespace on that side; `+` keeps it;
 * - without a sign, the newline after a block or comment goes (not after `{{ }}`, not after `{% raw %}`), and so do spaces between
 *   the start of a line and a block or comment (again not before `{{`).
 */
import { escapeCharacter } from './bytes.js';
import { TemplateError, placeError } from './errors.js';

export type TokenType =
  'text' | 'blockBegin' | 'blockEnd' | 'printBegin' | 'printEnd' | 'name' | 'string' | 'integer' | 'float' | 'operator' | 'end';

/** `value` is the decoded string, the digits of a number, or the operator's or name's own characters. */
export type Token = { type: TokenType; value: string; at: number };

/** Python's whitespace: what `\s` and `str.strip` mean there. JavaScript's differs: it has U+FEFF and lacks U+001C..1F and U+0085. */
export const WHITESPACE = '\\t\\n\\v\\f\\r\\x1c-\\x1f \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const SPACES = new RegExp(`[${WHITESPACE}]*`, 'y');

const FLOAT = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{L}\p{M}\p{N}_]+/uy;
const IDENTIFIER = /^[\p{ID_Start}_][\p{ID_Continue}]*$/u;
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[+\-/*%~[\](){}><=.:|,;]/y;
const CLOSERS: Record<string, string> = { '(': ')', '[': ']', '{': '}' };
const ENDRAW = new RegExp(`\\{%([-+]?)[${WHITESPACE}]*endraw[${WHITESPACE}]*(\\+%\\}|-%\\}[${WHITESPACE}]*|%\\}\\n?)`, 'g');
const RAW = new RegExp(`\\{%[-+]?[${WHITESPACE}]*raw[${WHITESPACE}]*(?:-%\\}[${WHITESPACE}]*|%\\})`, 'y');

const SPACE_CODES = new Set([...Array(0x3001).keys()].filter((code) => new RegExp(`[${WHITESPACE}]`).test(String.fromCharCode(code))));

/** Whether a UTF-16 unit is one of WHITESPACE. */
export function isSpace(code: number): boolean {
  return (code <= 0x20 || code >= 0x85) && SPACE_CODES.has(code);
}

/** Line ends as Jinja reads them. Offsets in tokens count in the result. */
export function normaliseSource(source: string): string {
  const text = source.replace(/\r\n|\r/g, '\n');
  return text.endsWith('\n') ? text.slice(0, -1) : text;
}

/** Tokens of a normalised source, ending with one of type `end`. Throws TemplateError with the place. */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  /** Whether what was consumed last ended a line, so that spaces from here on stand at a line's start. */
  let lineStarts = true;
  while (at < source.length) {
    const tag = findTag(source, at);
    const sign = tag < source.length ? source[tag + 2] : undefined;
    pushText(tokens, stripBefore(source, at, tag, sign, lineStarts), at);
    if (tag >= source.length) break;
    const kind = source[tag + 1];
    if (kind === '#') at = skipComment(source, tag);
    else if (kind === '%' && match(RAW, source, tag)) at = readRaw(source, tag, tokens);
    else at = readTag(source, tag, kind === '{', tokens);
    lineStarts = source[at - 1] === '\n';
  }
  tokens.push({ type: 'end', value: '', at: source.length });
  return tokens;
}

/** Offset of the next `{{`, `{%` or `{#`, or the source's length. */
function findTag(source: string, from: number): number {
  for (let at = source.indexOf('{', from); at >= 0; at = source.indexOf('{', at + 1)) {
    const next = source[at + 1];
    if (next === '{' || next === '%' || next === '#') return at;
  }
  return source.length;
}

function stripBefore(source: string, from: number, tag: number, sign: string | undefined, lineStarts: boolean): string {
  const text = source.slice(from, tag);
  if (sign === undefined) return text;
  if (sign === '-') return stripRight(text);
  if (sign === '+' || source[tag + 1] === '{') return text;
  const lineStart = text.lastIndexOf('\n') + 1;
  if (lineStart === 0 && !lineStarts) return text;
  return stripRight(text.slice(lineStart)) === '' ? text.slice(0, lineStart) : text;
}

function stripRight(text: string): string {
  let end = text.length;
  while (end > 0 && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(0, end);
}

function skipSpaces(source: string, at: number): number {
  SPACES.lastIndex = at;
  return at + SPACES.exec(source)![0].length;
}

function skipComment(source: string, begin: number): number {
  const end = source.indexOf('#}', begin + 2);
  if (end < 0) throw mistake(source, begin, "this comment is never closed; it needs '#}'");
  const start = source[begin + 2] === '-' || source[begin + 2] === '+' ? begin + 3 : begin + 2;
  return endTag(source, end, end > start ? source[end - 1] : undefined);
}

/** The offset after a tag's two closing characters at `end` and after the whitespace that its sign says to drop. */
function endTag(source: string, end: number, sign: string | undefined): number {
  const after = end + 2;
  if (sign === '-') return skipSpaces(source, after);
  return sign !== '+' && source[after] === '\n' ? after + 1 : after;
}

function readRaw(source: string, begin: number, tokens: Token[]): number {
  const start = begin + match(RAW, source, begin)!.length;
  ENDRAW.lastIndex = start;
  const end = ENDRAW.exec(source);
  if (!end) throw mistake(source, begin, "this raw block is never closed; it needs '{% endraw %}'");
  pushText(tokens, stripBefore(source, start, end.index, end[1] || '', source[start - 1] === '\n'), start);
  return end.index + end[0].length;
}

/** Tokens of one `{{ ... }}` or `{% ... %}`; returns the offset after it. */
function readTag(source: string, begin: number, isPrint: boolean, tokens: Token[]): number {
  const close = isPrint ? '}}' : '%}';
  const open: { closer: string; at: number }[] = [];
  tokens.push({ type: isPrint ? 'printBegin' : 'blockBegin', value: source.slice(begin, begin + 2), at: begin });
  let at = begin + 2;
  if (source[at] === '-' || source[at] === '+') at++;
  for (;;) {
    at = skipSpaces(source, at);
    if (at >= source.length) throw mistake(source, begin, `this tag is never closed; it needs '${close}'`);
    if (open.length === 0) {
      const signed = source[at] === '-' || (source[at] === '+' && !isPrint) ? 1 : 0;
      if (source.startsWith(close, at + signed)) {
        tokens.push({ type: isPrint ? 'printEnd' : 'blockEnd', value: close, at });
        if (isPrint) return signed ? skipSpaces(source, at + 3) : at + 2;
        return endTag(source, at + signed, signed ? source[at] : undefined);
      }
    }
    at = readToken(source, at, tokens, open);
  }
}

function readToken(source: string, at: number, tokens: Token[], open: { closer: string; at: number }[]): number {
  const float = match(FLOAT, source, at);
  if (float) return push(tokens, 'float', float.replaceAll('_', ''), at, float.length);
  const integer = match(INTEGER, source, at);
  if (integer) return push(tokens, 'integer', integer.replaceAll('_', ''), at, integer.length);
  const name = match(NAME, source, at);
  if (name) {
    if (!IDENTIFIER.test(name)) throw mistake(source, at, `'${name}' is not a name`);
    return push(tokens, 'name', name, at, name.length);
  }
  const quote = source[at];
  if (quote === "'" || quote === '"') return readString(source, at, quote, tokens);
  const operator = match(OPERATOR, source, at);
  if (!operator) throw mistake(source, at, `unexpected character '${String.fromCodePoint(source.codePointAt(at)!)}'`);
  if (operator in CLOSERS) open.push({ closer: CLOSERS[operator]!, at });
  else if (operator === ')' || operator === ']' || operator === '}') {
    const expected = open.pop();
    if (!expected) throw mistake(source, at, `unexpected '${operator}'`);
    if (expected.closer !== operator) throw mistake(source, at, `unexpected '${operator}', expected '${expected.closer}'`);
  }
  return push(tokens, 'operator', operator, at, operator.length);
}

function readString(source: string, begin: number, quote: string, tokens: Token[]): number {
  let at = begin + 1;
  while (at < source.length && source[at] !== quote) at += source[at] === '\\' ? 2 : 1;
  if (at >= source.length) throw mistake(source, begin, `this string is never closed; it needs ${quote}`);
  const value = decodeEscapes(source.slice(begin + 1, at), (message) => mistake(source, begin, message));
  return push(tokens, 'string', value, begin, at + 1 - begin);
}

const SIMPLE_ESCAPES: Record<string, string> = {
  n: '\n',
  t: '\t',
  r: '\r',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '\n': '',
};

/** Python's escapes; an unknown one keeps its backslash. */
function decodeEscapes(text: string, mistakeAt: (message: string) => TemplateError): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\(?:([0-7]{1,3})|([xuU])([0-9a-fA-F]*)|(N)|([^]))/gu, (whole, octal, kind, digits, named, single) => {
    if (octal !== undefined) return String.fromCharCode(parseInt(octal, 8));
    if (named !== undefined) throw mistakeAt('\\N{...} escapes are not supported; write the character itself');
    if (kind !== undefined) {
      const length = kind === 'x' ? 2 : kind === 'u' ? 4 : 8;
      const code = parseInt(digits.slice(0, length), 16);
      if (digits.length < length || code > 0x10ffff) throw mistakeAt(`\\${kind} needs ${length} hexadecimal digits of a character`);
      return String.fromCodePoint(code) + digits.slice(length);
    }
    // Python reads what is not ASCII by its escape, whose backslash the one here makes an ordinary character.
    return SIMPLE_ESCAPES[single] ?? (single > '\x7f' ? escapeCharacter(single) : whole);
  });
}

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

function push(tokens: Token[], type: TokenType, value: string, at: number, length: number): number {
  tokens.push({ type, value, at });
  return at + length;
}

function pushText(tokens: Token[], text: string, at: number): void {
  if (text !== '') tokens.push({ type: 'text', value: text, at });
}

function mistake(source: string, at: number, message: string): TemplateError {
  return placeError(new TemplateError('TEMPLATE_SYNTAX', message), source, at);
}
