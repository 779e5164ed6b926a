/**
 * AIP-160 filters, by recursive descent, to parameterised SQL over declared fields: `state = "READY" AND (createTime >
 * "2026-01-01T00:00:00Z" OR NOT displayName: nightly)`. As in the standard, OR binds tighter than AND, and neighbours are joined by AND.
 *
 * `*` in the text of `=` and `!=` stands for any characters; `:` means "contains" for text, and `field:*` "is not empty".
 */
import { sql, type RawBuilder } from 'kysely';
import { fieldError } from '../schemas/errors.js';
import { MAX_FILTER_LENGTH } from '../schemas/limits.js';
import { toCamelCase } from './body.js';
import type { ListField, ListFields } from './listFields.js';
import { didYouMean } from '../schemas/suggest.js';

const MAX_DEPTH = 10;
const MAX_COMPARISONS = 50;

type Condition = RawBuilder<boolean>;
type Token = { kind: 'word' | 'text' | 'sign' | 'end'; value: string; at: number };

/** The condition, or undefined for an empty filter. @throws TemperError INVALID_FILTER with the place and what was expected */
export function parseFilter(filter: string, fields: ListFields): Condition | undefined {
  if (filter.length > MAX_FILTER_LENGTH) throw filterError(`it is longer than ${MAX_FILTER_LENGTH} characters`);
  if (filter.trim() === '') return undefined;
  return new FilterParser(tokenize(filter), fields).parse();
}

class FilterParser {
  private index = 0;
  private comparisons = 0;

  constructor(
    private readonly tokens: Token[],
    private readonly fields: ListFields,
  ) {}

  parse(): Condition {
    const condition = this.expression(0);
    if (this.peek().kind !== 'end') throw this.unexpected('AND, OR or the end');
    return condition;
  }

  /** factor [AND] factor … */
  private expression(depth: number): Condition {
    if (depth > MAX_DEPTH) throw filterError(`parentheses and NOT may be nested ${MAX_DEPTH} deep`);
    const factors = [this.factor(depth)];
    for (;;) {
      if (this.takeWord('AND')) factors.push(this.factor(depth));
      else if (this.peek().kind === 'end' || this.isSign(')')) break;
      else factors.push(this.factor(depth));
    }
    return factors.length === 1 ? factors[0]! : sql<boolean>`(${sql.join(factors, sql` and `)})`;
  }

  /** term OR term … */
  private factor(depth: number): Condition {
    const terms = [this.term(depth)];
    while (this.takeWord('OR')) terms.push(this.term(depth));
    return terms.length === 1 ? terms[0]! : sql<boolean>`(${sql.join(terms, sql` or `)})`;
  }

  private term(depth: number): Condition {
    const negated = this.takeWord('NOT') || this.takeSign('-');
    const condition = this.takeSign('(') ? this.group(depth) : this.comparison();
    // A row without a value compares as null, and NOT null is null: it would be in neither half.
    return negated ? sql<boolean>`(not coalesce(${condition}, false))` : condition;
  }

  private group(depth: number): Condition {
    const condition = this.expression(depth + 1);
    if (!this.takeSign(')')) throw this.unexpected('a closing parenthesis');
    return condition;
  }

  private comparison(): Condition {
    const start = this.peek();
    if (start.kind !== 'word' || RESERVED.has(start.value)) throw this.unexpected('a field');
    if (++this.comparisons > MAX_COMPARISONS) throw filterError(`it has more than ${MAX_COMPARISONS} comparisons`);
    this.index += 1;
    if (this.isSign('('))
      throw filterError(`functions such as ${start.value.slice(0, 40)}(…) are not supported; compare a field with a value`);
    const field = this.findField(start.value);
    const operator = this.peek();
    if (operator.kind !== 'sign' || !OPERATORS.has(operator.value))
      throw this.unexpected(`${[...OPERATORS].join(' ')} after ${start.value}`);
    this.index += 1;
    const minus = this.takeSign('-') ? '-' : '';
    const value = this.peek();
    if (value.kind !== 'word' && value.kind !== 'text') throw this.unexpected(`a value for ${start.value}`);
    this.index += 1;
    return compare(start.value, field, operator.value, minus + value.value, value.kind === 'text');
  }

  private findField(written: string): ListField {
    const name = written.split('.').map(toCamelCase).join('.');
    if (Object.hasOwn(this.fields, name)) return this.fields[name]!;
    const names = Object.keys(this.fields);
    throw filterError(
      `there is no field ${written.slice(0, 60)} to filter by${didYouMean(name, names)}; the fields are ${names.join(', ')}`,
    );
  }

  private peek(): Token {
    return this.tokens[this.index]!;
  }

  private isSign(value: string): boolean {
    return this.peek().kind === 'sign' && this.peek().value === value;
  }

  private takeSign(value: string): boolean {
    return this.isSign(value) && ++this.index > 0;
  }

  private takeWord(value: string): boolean {
    return this.peek().kind === 'word' && this.peek().value === value && ++this.index > 0;
  }

  private unexpected(expected: string) {
    const { kind, value, at } = this.peek();
    return filterError(`expected ${expected} at character ${at + 1}, found ${kind === 'end' ? 'the end' : value.slice(0, 40)}`);
  }
}

const OPERATORS = new Set(['=', '!=', '<', '<=', '>', '>=', ':']);
const RESERVED = new Set(['AND', 'OR', 'NOT']);

const SIGN = /<=|>=|!=|[=<>:(),-]/y;
/** Field names, bare values and RFC 3339 times: anything up to a space, quote, sign or comma; a hyphen or colon inside stays. */
const WORD = /[^\s"'()<>=!:,-][^\s"'()<>=!:,]*/y;
const TIME_WORD = /[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?/y;

function tokenize(filter: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < filter.length;) {
    const character = filter[at]!;
    if (/\s/.test(character)) {
      at += 1;
      continue;
    }
    if (character === '"' || character === "'") {
      const { value, end } = readQuoted(filter, at);
      tokens.push({ kind: 'text', value, at });
      at = end;
      continue;
    }
    const [kind, value] = match(TIME_WORD, filter, at, 'word') ?? match(SIGN, filter, at, 'sign') ?? match(WORD, filter, at, 'word') ?? [];
    if (!kind || !value) throw filterError(`character ${at + 1} (${character}) has no meaning here`);
    tokens.push({ kind, value, at });
    at += value.length;
  }
  tokens.push({ kind: 'end', value: '', at: filter.length });
  return tokens;
}

function match(expression: RegExp, filter: string, at: number, kind: 'word' | 'sign'): ['word' | 'sign', string] | null {
  expression.lastIndex = at;
  const found = expression.exec(filter);
  return found ? [kind, found[0]] : null;
}

/** A backslash keeps the next character as it is; before `*` it stays, so that the comparison knows a literal star. */
function readQuoted(filter: string, start: number): { value: string; end: number } {
  const quote = filter[start];
  let value = '';
  for (let at = start + 1; at < filter.length; at++) {
    const character = filter[at]!;
    if (character === quote) return { value, end: at + 1 };
    if (character === '\\' && at + 1 < filter.length) {
      const next = filter[++at]!;
      value += next === '*' || next === '\\' ? `\\${next}` : next;
    } else value += character;
  }
  throw filterError(`the text that begins at character ${start + 1} has no closing quote`);
}

function compare(name: string, field: ListField, operator: string, value: string, quoted: boolean): Condition {
  if (value.includes('\0')) throw filterError('NUL has no meaning here');
  if (operator === ':' && value === '*')
    return field.type === 'text' ? sql<boolean>`${field.expression} <> ''` : sql<boolean>`${field.expression} is not null`;
  switch (field.type) {
    case 'text':
      return compareText(name, field, operator, value, quoted);
    case 'number':
      return compareBy(field, operator, sql`${parseNumber(name, value)}::float8`);
    case 'time':
      return compareBy(field, operator, sql`${parseTime(name, value)}::timestamptz`);
    case 'boolean': {
      if (!/^(true|false)$/.test(value)) throw filterError(`${name} is true or false, not ${value.slice(0, 40)}`);
      if (!['=', '!=', ':'].includes(operator)) throw filterError(`${name} can be compared with = and != only`);
      return compareBy(field, operator, sql`${value === 'true'}::boolean`);
    }
  }
}

function compareText(name: string, field: ListField, operator: string, value: string, quoted: boolean): Condition {
  const literal = quoted ? unescape(value) : value;
  if (operator === ':') return sql<boolean>`position(lower(${literal}) in lower(${field.expression})) > 0`;
  const isEquality = operator === '=' || operator === '!=';
  const pattern = isEquality ? likePattern(value) : null;
  if (pattern !== null)
    return operator === '=' ? sql<boolean>`${field.expression} like ${pattern}` : sql<boolean>`${field.expression} not like ${pattern}`;
  if (field.values && isEquality && !field.values.includes(literal)) {
    const hint = didYouMean(literal, field.values);
    throw filterError(`${name} is never ${literal.slice(0, 60)}${hint}; its values are ${field.values.join(', ')}`);
  }
  if (operator === '=' && field.equals) return field.equals(literal);
  if (operator === '!=' && field.differs) return field.differs(literal);
  return compareBy(field, operator, sql`${literal}::text`);
}

/** SQL's LIKE pattern for text with an unescaped `*`, null when it has none. */
function likePattern(value: string): string | null {
  let pattern = '';
  let stars = 0;
  for (let at = 0; at < value.length; at++) {
    const character = value[at]!;
    if (character === '\\' && at + 1 < value.length) pattern += likeLiteral(value[++at]!);
    else if (character === '*') {
      stars += 1;
      pattern += '%';
    } else pattern += likeLiteral(character);
  }
  return stars > 0 ? pattern : null;
}

function likeLiteral(character: string): string {
  return '%_\\'.includes(character) ? `\\${character}` : character;
}

function unescape(value: string): string {
  return value.replace(/\\(.)/gs, '$1');
}

function compareBy(field: ListField, operator: string, value: RawBuilder<unknown>): Condition {
  return sql<boolean>`${field.expression} ${sql.raw(operator === ':' ? '=' : operator === '!=' ? '<>' : operator)} ${value}`;
}

function parseNumber(name: string, value: string): number {
  const number = Number(value);
  if (!/^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(value) || !Number.isFinite(number))
    throw filterError(`${name} is a number, not ${value.slice(0, 40)}`);
  return number;
}

function parseTime(name: string, value: string): string {
  const isTime = /^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$/.test(value);
  if (!isTime || Number.isNaN(Date.parse(value)))
    throw filterError(`${name} is a time such as "2026-01-31T12:00:00Z", not ${value.slice(0, 40)}`);
  return value.length === 10 ? `${value}T00:00:00Z` : value;
}

function filterError(problem: string) {
  return fieldError('INVALID_FILTER', 'filter', `filter: ${problem}.`);
}
