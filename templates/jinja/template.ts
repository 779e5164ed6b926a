/**
 * Chat templates: Jinja with the meaning it has in `transformers` (immutable sandbox, trim_blocks, lstrip_blocks, loop controls,
 * `{% generation %}`, `raise_exception`, `strftime_now`, JSON as Python writes it), within limits of work and size.
 *
 * A template is parsed, checked and written as one JavaScript function, which renders any number of rows. Templates come from strangers:
 * the function is written from the parsed tree alone, a template's own text enters it only as JSON strings, and no value ever leads to
 * anything of JavaScript's own. Checking a template compiles nothing; only rendering does. Whatever goes wrong comes out as a
 * TemplateError. Render in a process that may die all the same: the limits bound work, not every byte.
 */
import { compileFunction } from 'node:vm';
import { TemplateError, placeError } from './errors.js';
import { CompileError, Constants } from './generateExpression.js';
import { writeBody, writeDeclarations } from './generateStatement.js';
import { GLOBALS } from './globals.js';
import { MAX_FUEL } from './limits.js';
import { OPERATIONS, type Operations } from './operations.js';
import { parseTemplate } from './parse.js';
import { FunctionScope, Scope, assignedNames, namesSetFirst, usedNames } from './scopes.js';
import type { Statement } from './syntax.js';
import type { Run, Value } from './values.js';

export type Rendering = {
  text: string;
  /** What `{% generation %}` blocks printed, as offsets in UTF-16 units, in the order they ended. */
  spans: [start: number, end: number][];
  /** A `{% generation %}` stood inside a macro or a captured block, so `spans` lacks it. */
  hasLostSpan: boolean;
};

export type Template = {
  /** Every name the template reads, its own included. */
  names: ReadonlySet<string>;
  hasGeneration: boolean;
  /** The JavaScript that renders it, to read. */
  code: string;
  /** `now` is what `strftime_now` says. Throws TemplateError. */
  render(context: Record<string, Value>, now: Date): Rendering;
};

type Render = (context: Record<string, Value>, run: Run) => string;

/** Throws TemplateError with line and column. `operations`: what the template's code calls, the usual ones or those of watch.ts. */
export function compileTemplate(template: string, operations: Operations = OPERATIONS): Template {
  try {
    const { source, body } = parseTemplate(template);
    const { code, constants } = placingErrors(source, () => writeTemplate(body));
    let compiled: Render | undefined;
    return {
      names: usedNames(body),
      hasGeneration: hasGeneration(body),
      code,
      render: (context, now) => {
        const run: Run = { callDepth: 0, fuel: MAX_FUEL, at: 0, spans: [], hasLostSpan: false, now };
        try {
          compiled ??= compile(code, constants, operations);
          return { text: compiled(context, run), spans: run.spans, hasLostSpan: run.hasLostSpan };
        } catch (error) {
          throw placeError(toTemplateError(error), source, run.at);
        }
      },
    };
  } catch (error) {
    throw toTemplateError(error);
  }
}

/** The body of a function of `operations` and `constants` that gives the function which renders. */
function writeTemplate(body: Statement[]): { code: string; constants: unknown[] } {
  const constants = new Constants();
  const fn = new FunctionScope({ next: 0 });
  const scope = new Scope(fn);
  for (const name of assignedNames(body)) scope.declare(name);
  const out = { id: 'out', base: '0' };
  const lines = writeBody(body, { scope, soft: false, constants, out, canBreak: false });
  const unset = namesSetFirst(body);
  const initial = [...scope.variables].map(([name, { id }]) => {
    if (unset.has(name)) return `${id} = undefined;`;
    const key = JSON.stringify(name);
    return `${id} = hasOwn(context, ${key}) ? context[${key}] : ${GLOBALS.has(name) ? constants.add(GLOBALS.get(name)) : 'undefined'};`;
  });
  const names = constants.values.map((_, index) => `k${index}`);
  const code = [
    '"use strict";',
    `const { ${Object.keys(OPERATIONS).join(', ')} } = operations;`,
    ...(names.length > 0 ? [`const [${names.join(', ')}] = constants;`] : []),
    'return (context, run) => {',
    ...[...writeDeclarations(fn), 'let out = "";', ...initial, ...lines, 'stop(run, out);', 'return out;'].map((line) => `  ${line}`),
    '};',
  ];
  return { code: code.join('\n'), constants: constants.values };
}

/**
 * The one place where code is made. `compileFunction` works where `eval` and `new Function` are off, as they are in the process that
 * renders: what a template or a row might reach there makes no code.
 */
function compile(code: string, constants: unknown[], operations: Operations): Render {
  const make = compileFunction(code, ['operations', 'constants'], { filename: 'chat-template.js' });
  return make(operations, constants) as Render;
}

function placingErrors<T>(source: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof CompileError) placeError(error, source, error.offset);
    throw error;
  }
}

function hasGeneration(statements: Statement[]): boolean {
  return statements.some((statement) => {
    if (statement.type === 'generation') return true;
    if (statement.type === 'if') return statement.branches.some(({ body }) => hasGeneration(body)) || hasGeneration(statement.otherwise);
    if (statement.type === 'for') return hasGeneration(statement.body) || hasGeneration(statement.otherwise);
    return 'body' in statement && hasGeneration(statement.body);
  });
}

/** The stack and the longest string are JavaScript's own limits; anything else that is no TemplateError is a bug of ours. */
function toTemplateError(error: unknown): TemplateError {
  if (error instanceof TemplateError) return error;
  if (error instanceof RangeError) return new TemplateError('TEMPLATE_LIMIT', 'the template is nested too deeply or makes too much text');
  return new TemplateError('TEMPLATE_FAILED', `the template cannot be rendered: ${error instanceof Error ? error.message : String(error)}`);
}
