/**
 * Jinja's expression grammar, from the loosest binding to the tightest:
 * `a if b else c`, `or`, `and`, `not`, comparisons (chained as in Python), `+ -`, `~`, `* / // %`, `**` (left-associative), unary signs,
 * then what follows a value: `.name`, `[key]`, `(call)`, `|filter`, `is test`.
 */
import type { Arguments, BinaryOperator, BlockFilter, CompareOperator, Expression } from './syntax.js';
import type { TokenStream } from './tokenStream.js';
import { toFloat } from './values.js';

/** `withCondition: false` leaves an `if` alone, for the places where it belongs to a statement. */
export function parseExpression(stream: TokenStream, withCondition = true): Expression {
  return stream.nest(() => (withCondition ? parseCondition(stream) : parseOr(stream)));
}

/** An expression, or several with commas: a tuple. `endName` is a keyword that ends it. */
export function parseTuple(
  stream: TokenStream,
  { withCondition = true, endName, inParentheses = false }: { withCondition?: boolean; endName?: string; inParentheses?: boolean } = {},
): Expression {
  const at = stream.current.at;
  const items: Expression[] = [];
  let isTuple = false;
  for (;;) {
    if (items.length > 0) stream.expect('operator', ',');
    if (endsTuple(stream, endName)) break;
    items.push(parseExpression(stream, withCondition));
    if (!stream.is('operator', ',')) break;
    isTuple = true;
  }
  if (!isTuple) {
    if (items[0]) return items[0];
    if (!inParentheses) stream.fail('expected an expression');
  }
  return { type: 'tuple', at, items };
}

export function endsTuple(stream: TokenStream, endName?: string): boolean {
  return (
    stream.is('printEnd') || stream.is('blockEnd') || stream.is('operator', ')') || (endName !== undefined && stream.is('name', endName))
  );
}

/** `|a|b(1)` after a block's name. With `first`, the first filter comes without a bar. */
export function parseBlockFilters(stream: TokenStream, first: boolean): BlockFilter[] {
  const filters: BlockFilter[] = [];
  while (first || stream.skip('operator', '|')) {
    first = false;
    const at = stream.current.at;
    const name = parseDottedName(stream);
    filters.push({ at, name, args: stream.is('operator', '(') ? parseArguments(stream) : NO_ARGUMENTS });
  }
  return filters;
}

const NO_ARGUMENTS: Arguments = { positional: [], keywords: [] };

function parseCondition(stream: TokenStream): Expression {
  let expression = parseOr(stream);
  while (stream.is('name', 'if')) {
    const at = stream.take().at;
    const test = parseOr(stream);
    const otherwise = stream.skip('name', 'else') ? stream.nest(() => parseCondition(stream)) : undefined;
    expression = { type: 'condition', at, test, then: expression, otherwise };
  }
  return expression;
}

function parseOr(stream: TokenStream): Expression {
  let left = parseAnd(stream);
  while (stream.is('name', 'or')) left = { type: 'or', at: stream.take().at, left, right: parseAnd(stream) };
  return left;
}

function parseAnd(stream: TokenStream): Expression {
  let left = parseNot(stream);
  while (stream.is('name', 'and')) left = { type: 'and', at: stream.take().at, left, right: parseNot(stream) };
  return left;
}

function parseNot(stream: TokenStream): Expression {
  if (!stream.is('name', 'not')) return parseCompare(stream);
  const at = stream.take().at;
  return { type: 'unary', at, operator: 'not', operand: stream.nest(() => parseNot(stream)) };
}

const COMPARISONS = new Set(['==', '!=', '<', '<=', '>', '>=']);

function parseCompare(stream: TokenStream): Expression {
  const at = stream.current.at;
  const first = parseSum(stream);
  const rest: { operator: CompareOperator; operand: Expression }[] = [];
  for (;;) {
    let operator: CompareOperator;
    if (stream.current.type === 'operator' && COMPARISONS.has(stream.current.value)) operator = stream.take().value as CompareOperator;
    else if (stream.skip('name', 'in')) operator = 'in';
    else if (stream.is('name', 'not') && stream.following.type === 'name' && stream.following.value === 'in') {
      stream.take();
      stream.take();
      operator = 'not in';
    } else break;
    rest.push({ operator, operand: parseSum(stream) });
  }
  return rest.length === 0 ? first : { type: 'compare', at, first, rest };
}

function parseSum(stream: TokenStream): Expression {
  let left = parseConcat(stream);
  while (stream.is('operator', '+') || stream.is('operator', '-')) {
    const { at, value } = stream.take();
    left = { type: 'binary', at, operator: value as BinaryOperator, left, right: parseConcat(stream) };
  }
  return left;
}

function parseConcat(stream: TokenStream): Expression {
  const at = stream.current.at;
  const parts = [parseProduct(stream)];
  while (stream.skip('operator', '~')) parts.push(parseProduct(stream));
  return parts.length === 1 ? parts[0]! : { type: 'concat', at, parts };
}

function parseProduct(stream: TokenStream): Expression {
  let left = parsePower(stream);
  while (stream.current.type === 'operator' && ['*', '/', '//', '%'].includes(stream.current.value)) {
    const { at, value } = stream.take();
    left = { type: 'binary', at, operator: value as BinaryOperator, left, right: parsePower(stream) };
  }
  return left;
}

function parsePower(stream: TokenStream): Expression {
  let left = parseUnary(stream, true);
  while (stream.is('operator', '**')) {
    left = { type: 'binary', at: stream.take().at, operator: '**', left, right: parseUnary(stream, true) };
  }
  return left;
}

function parseUnary(stream: TokenStream, withFilters: boolean): Expression {
  let expression: Expression;
  if (stream.is('operator', '-') || stream.is('operator', '+')) {
    const { at, value } = stream.take();
    expression = { type: 'unary', at, operator: value as '+' | '-', operand: stream.nest(() => parseUnary(stream, false)) };
  } else {
    expression = parsePrimary(stream);
  }
  expression = parsePostfix(stream, expression);
  return withFilters ? parseFilters(stream, expression) : expression;
}

const CONSTANTS = new Map<string, unknown>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);

export function parsePrimary(stream: TokenStream): Expression {
  const { type, value, at } = stream.current;
  switch (type) {
    case 'name':
      stream.take();
      return CONSTANTS.has(value) ? { type: 'constant', at, value: CONSTANTS.get(value) } : { type: 'name', at, name: value };
    case 'string': {
      let text = '';
      while (stream.is('string')) text += stream.take().value;
      return { type: 'constant', at, value: text };
    }
    case 'integer':
      stream.take();
      return { type: 'constant', at, value: readInteger(value) };
    case 'float':
      stream.take();
      return { type: 'constant', at, value: toFloat(Number(value)) };
    case 'operator':
      if (stream.skip('operator', '(')) {
        const expression = stream.nest(() => parseTuple(stream, { inParentheses: true }));
        stream.expect('operator', ')');
        return expression;
      }
      if (stream.skip('operator', '[')) return { type: 'list', at, items: parseItems(stream, ']', () => parseExpression(stream)) };
      if (stream.skip('operator', '{')) {
        const pairs = parseItems(stream, '}', (): [Expression, Expression] => {
          const key = parseExpression(stream);
          stream.expect('operator', ':');
          return [key, parseExpression(stream)];
        });
        return { type: 'dict', at, pairs };
      }
      break;
    default:
  }
  return stream.unexpected();
}

function readInteger(digits: string): number | bigint {
  const value = BigInt(digits);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

function parseItems<T>(stream: TokenStream, closer: string, parseItem: () => T): T[] {
  const items: T[] = [];
  while (!stream.is('operator', closer)) {
    if (items.length > 0) {
      stream.expect('operator', ',');
      if (stream.is('operator', closer)) break;
    }
    items.push(parseItem());
  }
  stream.expect('operator', closer);
  return items;
}

function parsePostfix(stream: TokenStream, expression: Expression): Expression {
  for (;;) {
    const at = stream.current.at;
    if (stream.skip('operator', '.')) expression = parseDot(stream, expression, at);
    else if (stream.skip('operator', '[')) expression = parseSubscript(stream, expression, at);
    else if (stream.is('operator', '(')) expression = { type: 'call', at, callee: expression, args: parseArguments(stream) };
    else return expression;
  }
}

function parseFilters(stream: TokenStream, expression: Expression): Expression {
  for (;;) {
    const at = stream.current.at;
    if (stream.skip('operator', '|')) {
      const name = parseDottedName(stream);
      const args = stream.is('operator', '(') ? parseArguments(stream) : NO_ARGUMENTS;
      expression = { type: 'filter', at, operand: expression, name, args };
    } else if (stream.skip('name', 'is')) {
      expression = parseTest(stream, expression, at);
    } else if (stream.is('operator', '(')) {
      expression = { type: 'call', at, callee: expression, args: parseArguments(stream) };
    } else return expression;
  }
}

function parseDot(stream: TokenStream, object: Expression, at: number): Expression {
  const token = stream.take();
  if (token.type === 'name') return { type: 'attribute', at, object, name: token.value };
  if (token.type === 'integer') return { type: 'item', at, object, key: { type: 'constant', at: token.at, value: Number(token.value) } };
  return stream.fail("expected a name or a number after '.'", token.at);
}

function parseSubscript(stream: TokenStream, object: Expression, at: number): Expression {
  const subscripts: Expression[] = [];
  while (!stream.is('operator', ']')) {
    if (subscripts.length > 0) stream.expect('operator', ',');
    if (subscripts.length > 0 || !startsSlice(stream)) {
      const key = parseExpression(stream);
      if (subscripts.length === 0 && stream.is('operator', ':')) return parseSlice(stream, object, at, key);
      subscripts.push(key);
    } else return parseSlice(stream, object, at, undefined);
  }
  stream.expect('operator', ']');
  // Empty brackets are those of the empty tuple, in Jinja as here.
  const key: Expression = subscripts.length === 1 ? subscripts[0]! : { type: 'tuple', at, items: subscripts };
  return { type: 'item', at, object, key };
}

function startsSlice(stream: TokenStream): boolean {
  return stream.is('operator', ':');
}

function parseSlice(stream: TokenStream, object: Expression, at: number, start: Expression | undefined): Expression {
  const parseBound = (): Expression | undefined =>
    stream.is('operator', ':') || stream.is('operator', ']') ? undefined : parseExpression(stream);
  stream.expect('operator', ':');
  const stop = parseBound();
  const step = stream.skip('operator', ':') ? parseBound() : undefined;
  stream.expect('operator', ']');
  return { type: 'slice', at, object, start, stop, step };
}

function parseDottedName(stream: TokenStream): string {
  let name = stream.expect('name').value;
  while (stream.skip('operator', '.')) name += `.${stream.expect('name').value}`;
  return name;
}

/** `(a, *b, c=1, **d)` in the order Jinja allows. */
function parseArguments(stream: TokenStream): Arguments {
  const args: Arguments = { positional: [], keywords: [] };
  const check = (allowed: boolean): void => {
    if (!allowed) stream.fail('invalid order of arguments in this call');
  };
  stream.expect('operator', '(');
  let isFirst = true;
  while (!stream.is('operator', ')')) {
    if (!isFirst) {
      stream.expect('operator', ',');
      if (stream.is('operator', ')')) break;
    }
    isFirst = false;
    if (stream.skip('operator', '*')) {
      check(!args.spread && !args.keywordSpread);
      args.spread = parseExpression(stream);
    } else if (stream.skip('operator', '**')) {
      check(!args.keywordSpread);
      args.keywordSpread = parseExpression(stream);
    } else if (stream.is('name') && stream.following.type === 'operator' && stream.following.value === '=') {
      check(!args.keywordSpread);
      const name = stream.take().value;
      stream.take();
      args.keywords.push({ name, value: parseExpression(stream) });
    } else {
      check(!args.spread && !args.keywordSpread && args.keywords.length === 0);
      args.positional.push(parseExpression(stream));
    }
  }
  stream.expect('operator', ')');
  return args;
}

/** `is [not] name`, with arguments in parentheses or a single value after the name. */
function parseTest(stream: TokenStream, operand: Expression, at: number): Expression {
  const negated = stream.skip('name', 'not');
  const name = parseDottedName(stream);
  let args = NO_ARGUMENTS;
  if (stream.is('operator', '(')) args = parseArguments(stream);
  else if (startsTestArgument(stream)) {
    if (stream.is('name', 'is')) stream.fail("tests cannot be chained with 'is'");
    args = { positional: [parsePostfix(stream, parsePrimary(stream))], keywords: [] };
  }
  const test: Expression = { type: 'test', at, operand, name, args };
  return negated ? { type: 'unary', at, operator: 'not', operand: test } : test;
}

function startsTestArgument(stream: TokenStream): boolean {
  const { type, value } = stream.current;
  if (type === 'name') return value !== 'else' && value !== 'or' && value !== 'and';
  return type === 'string' || type === 'integer' || type === 'float' || (type === 'operator' && (value === '[' || value === '{'));
}
