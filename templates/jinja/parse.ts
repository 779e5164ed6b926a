/** Jinja's statements: the tags of a chat template, and the expressions between them. */
import { isSpace, normaliseSource, tokenize } from './lexer.js';
import { MAX_TEMPLATE_LENGTH } from './limits.js';
import { exceed } from './errors.js';
import { endsTuple, parseBlockFilters, parseExpression, parsePrimary, parseTuple } from './parseExpression.js';
import type { Expression, Parameter, Statement, Target } from './syntax.js';
import { TokenStream } from './tokenStream.js';

/** `source` is the normalised text that the nodes' offsets count in. */
export type ParsedTemplate = { source: string; body: Statement[] };

/** Throws TemplateError with line and column. */
export function parseTemplate(template: string): ParsedTemplate {
  if (template.length > MAX_TEMPLATE_LENGTH) {
    exceed(`the template has ${template.length} characters; at most ${MAX_TEMPLATE_LENGTH} are allowed`);
  }
  const source = normaliseSource(template);
  const parser: Parser = { stream: new TokenStream(tokenize(source), source), loops: 0 };
  const body = parseUntil(parser, []);
  return { source, body };
}

/** `loops`: how many loops the current statement stands in, within its macro or block. */
type Parser = { stream: TokenStream; loops: number };

/** Statements up to one of the named tags, which is left with its name as the current token; with no names, up to the end. */
function parseUntil(parser: Parser, endNames: string[]): Statement[] {
  const { stream } = parser;
  const body: Statement[] = [];
  for (;;) {
    const { type, value, at } = stream.current;
    if (type === 'end') {
      if (endNames.length > 0) stream.fail(`the template ends where {% ${endNames.join(' %} or {% ')} %} was expected`);
      return body;
    }
    stream.take();
    if (type === 'text') body.push({ type: 'text', at, text: value });
    else if (type === 'printBegin') {
      body.push({ type: 'print', at, value: parseTuple(stream) });
      stream.expect('printEnd');
    } else {
      if (stream.current.type === 'name' && endNames.includes(stream.current.value)) return body;
      body.push(...stream.nest(() => parseStatement(parser, endNames)));
      stream.expect('blockEnd');
    }
  }
}

/** The body of a tag that has just been read up to its end, and its closing tag's name. */
function parseBody(parser: Parser, endNames: string[]): { body: Statement[]; end: string } {
  parser.stream.skip('operator', ':');
  parser.stream.expect('blockEnd');
  const body = parseUntil(parser, endNames);
  return { body, end: parser.stream.take().value };
}

/** A body that is a function of its own in Jinja, out of reach for `break` and `continue` of the loops around it. */
function parseOwnBody(parser: Parser, endName: string): Statement[] {
  return parseBody({ stream: parser.stream, loops: 0 }, [endName]).body;
}

function parseStatement(parser: Parser, endNames: string[]): Statement[] {
  const { stream } = parser;
  const { value: tag, at } = stream.expect('name');
  switch (tag) {
    case 'if':
      return [parseIf(parser, at)];
    case 'for':
      return [parseFor(parser, at)];
    case 'set':
      return [parseSet(parser, at)];
    case 'macro': {
      const name = parseName(stream);
      const parameters = parseParameters(stream);
      return [{ type: 'macro', at, name, parameters, body: parseOwnBody(parser, 'endmacro') }];
    }
    case 'call': {
      const parameters = stream.is('operator', '(') ? parseParameters(stream) : [];
      const call = parseExpression(stream);
      if (call.type !== 'call') return stream.fail("expected a call after '{% call'", at);
      return [{ type: 'callBlock', at, parameters, call, body: parseOwnBody(parser, 'endcall') }];
    }
    case 'generation':
      return [{ type: 'generation', at, body: parseOwnBody(parser, 'endgeneration') }];
    case 'filter': {
      const filters = parseBlockFilters(stream, true);
      return [{ type: 'filterBlock', at, filters, body: parseBody(parser, ['endfilter']).body }];
    }
    case 'with':
      return [parseWith(parser, at)];
    case 'print': {
      const prints: Statement[] = [];
      while (!stream.is('blockEnd')) {
        if (prints.length > 0) stream.expect('operator', ',');
        prints.push({ type: 'print', at, value: parseExpression(stream) });
      }
      return prints;
    }
    case 'break':
    case 'continue':
      if (parser.loops === 0) stream.fail(`'${tag}' stands outside of a loop`, at);
      return [{ type: tag, at }];
    case 'autoescape': {
      const value = parseExpression(stream);
      return [{ type: 'autoescape', at, value, body: parseBody(parser, ['endautoescape']).body }];
    }
    case 'block':
      return [parseBlock(parser, at)];
    case 'extends':
      return [{ type: 'extends', at, template: parseExpression(stream) }];
    case 'include': {
      const template = parseExpression(stream);
      const ignoreMissing = skipWords(stream, ['ignore'], 'missing');
      skipWords(stream, ['with', 'without'], 'context');
      return [{ type: 'include', at, template, ignoreMissing }];
    }
    case 'import': {
      const template = parseExpression(stream);
      stream.expect('name', 'as');
      const names = [parseName(stream)];
      skipWords(stream, ['with', 'without'], 'context');
      return [{ type: 'import', at, template, names }];
    }
    case 'from': {
      const template = parseExpression(stream);
      stream.expect('name', 'import');
      return [{ type: 'import', at, template, names: parseImportedNames(stream) }];
    }
    default:
      if (endNames.length === 0) return stream.fail(`unknown tag '${tag}'`, at);
      return stream.fail(`unknown tag '${tag}' where {% ${endNames.join(' %} or {% ')} %} was expected`, at);
  }
}

function parseBlock(parser: Parser, at: number): Statement {
  const { stream } = parser;
  const name = stream.expect('name').value;
  const scoped = stream.skip('name', 'scoped');
  const required = stream.skip('name', 'required');
  const body = parseOwnBody(parser, 'endblock');
  const isBlank = (statement: Statement): boolean =>
    statement.type === 'text' && [...statement.text].every((c) => isSpace(c.charCodeAt(0)));
  if (required && !body.every(isBlank)) stream.fail('a required block can only contain comments or whitespace', at);
  stream.skip('name', name);
  return { type: 'block', at, name, scoped, required, body };
}

/** `a, b as c`: the names to assign to. */
function parseImportedNames(stream: TokenStream): string[] {
  const names: string[] = [];
  for (;;) {
    if (names.length > 0) stream.expect('operator', ',');
    if (skipWords(stream, ['with', 'without'], 'context')) return names;
    const { at } = stream.current;
    const name = parseName(stream);
    if (name.startsWith('_')) stream.fail('names that begin with an underscore cannot be imported', at);
    names.push(stream.skip('name', 'as') ? parseName(stream) : name);
    if (skipWords(stream, ['with', 'without'], 'context') || !stream.is('operator', ',')) return names;
  }
}

/** One of `first` with `second` after it. */
function skipWords(stream: TokenStream, first: string[], second: string): boolean {
  const { current, following } = stream;
  if (current.type !== 'name' || !first.includes(current.value) || following.type !== 'name' || following.value !== second) return false;
  stream.take();
  stream.take();
  return true;
}

function parseIf(parser: Parser, at: number): Statement {
  const { stream } = parser;
  const branches: { test: Expression; body: Statement[] }[] = [];
  for (;;) {
    const test = parseTuple(stream, { withCondition: false });
    const { body, end } = parseBody(parser, ['elif', 'else', 'endif']);
    branches.push({ test, body });
    if (end === 'elif') continue;
    return { type: 'if', at, branches, otherwise: end === 'else' ? parseBody(parser, ['endif']).body : [] };
  }
}

function parseFor(parser: Parser, at: number): Statement {
  const { stream } = parser;
  const target = parseTarget(stream, 'in');
  stream.expect('name', 'in');
  const iterable = parseTuple(stream, { withCondition: false, endName: 'recursive' });
  const test = stream.skip('name', 'if') ? parseExpression(stream) : undefined;
  const recursive = stream.skip('name', 'recursive');
  const { body, end } = parseBody({ stream, loops: parser.loops + 1 }, ['endfor', 'else']);
  const otherwise = end === 'else' ? parseBody(parser, ['endfor']).body : [];
  return { type: 'for', at, target, iterable, test, recursive, body, otherwise };
}

function parseSet(parser: Parser, at: number): Statement {
  const { stream } = parser;
  const target = parseTarget(stream);
  if (stream.skip('operator', '=')) return { type: 'set', at, target, value: parseTuple(stream) };
  const filters = parseBlockFilters(stream, false);
  return { type: 'setBlock', at, target, filters, body: parseBody(parser, ['endset']).body };
}

function parseWith(parser: Parser, at: number): Statement {
  const { stream } = parser;
  const targets: { target: Target; value: Expression }[] = [];
  while (!stream.is('blockEnd')) {
    if (targets.length > 0) stream.expect('operator', ',');
    const target = toTarget(stream, parsePrimary(stream));
    stream.expect('operator', '=');
    targets.push({ target, value: parseExpression(stream) });
  }
  return { type: 'with', at, targets, body: parseBody(parser, ['endwith']).body };
}

/** `a`, `a, (b, c)`; without an end name `a.b` and `a.b, c` as well. */
function parseTarget(stream: TokenStream, endName?: string): Target {
  const at = stream.current.at;
  const items: Target[] = [];
  let isTuple = false;
  for (;;) {
    if (items.length > 0) stream.expect('operator', ',');
    if (endsTuple(stream, endName)) break;
    const isField = endName === undefined && stream.is('name') && stream.following.type === 'operator' && stream.following.value === '.';
    items.push(isField ? parseField(stream) : toTarget(stream, parsePrimary(stream)));
    if (!stream.is('operator', ',')) break;
    isTuple = true;
  }
  if (isTuple) return { type: 'tuple', at, items };
  return items[0] ?? stream.fail('expected a name to assign to', at);
}

function parseField(stream: TokenStream): Target {
  const { at, value: namespace } = stream.take();
  stream.take();
  return { type: 'field', at, namespace, name: stream.expect('name').value };
}

function toTarget(stream: TokenStream, expression: Expression): Target {
  if (expression.type === 'name') return { type: 'name', at: expression.at, name: expression.name };
  if (expression.type === 'tuple') {
    return { type: 'tuple', at: expression.at, items: expression.items.map((item) => toTarget(stream, item)) };
  }
  return stream.fail('this cannot be assigned to', expression.at);
}

function parseName(stream: TokenStream): string {
  if (!stream.is('name')) stream.fail('expected a name');
  const target = toTarget(stream, parsePrimary(stream));
  return target.type === 'name' ? target.name : stream.fail('expected a name', target.at);
}

function parseParameters(stream: TokenStream): Parameter[] {
  const parameters: Parameter[] = [];
  stream.expect('operator', '(');
  while (!stream.is('operator', ')')) {
    if (parameters.length > 0) stream.expect('operator', ',');
    const name = parseName(stream);
    if (stream.skip('operator', '=')) parameters.push({ name, value: parseExpression(stream) });
    else if (parameters.some((parameter) => parameter.value)) stream.fail('a parameter without a default follows one with a default');
    else parameters.push({ name });
  }
  stream.expect('operator', ')');
  return parameters;
}
