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
import { FunctionScope, Scope, assignedNames, blocksIn, bodiesOf, namesSetFirst, usedNames } from './scopes.js';
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
      hasGeneration: hasStatement(body, 'generation'),
      code,
      render: (context, now) => {
        const run: Run = { callDepth: 0, fuel: MAX_FUEL, at: 0, spans: [], hasLostSpan: false, autoescape: false, now };
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
  const counter = { next: 0 };
  const blocks = new Map(blocksIn(body).map((block) => [block, `b${counter.next++}`]));
  const blockIds = new Map<string, string>();
  for (const [{ name, at }, id] of blocks) {
    if (blockIds.has(name)) throw new CompileError(`block '${name}' defined twice`, at);
    blockIds.set(name, id);
  }
  const escapes = hasStatement(body, 'autoescape') ? 'no' : 'never';
  /** The function's variables, what they begin with, and the statements. */
  const writeFunction = (statements: Statement[], out: { id: string; base: string }, isTop: boolean): string[] => {
    const fn = new FunctionScope(counter);
    const scope = new Scope(fn);
    for (const name of assignedNames(statements)) scope.declare(name);
    const lines = writeBody(statements, { scope, soft: false, constants, escapes, out, canBreak: false, isTop, blocks: blockIds });
    const unset = namesSetFirst(statements);
    const initial = [...scope.variables].map(([name, { id }]) => {
      if (unset.has(name) || (name === 'super' && !isTop)) return `${id} = undefined;`;
      const key = JSON.stringify(name);
      if (name === 'self') {
        const prints = [...blockIds].map(([block, print]) => `[${JSON.stringify(block)}, (run) => ${print}(run, vars, -1)]`);
        return `${id} = blocksOf([${prints.join(', ')}]);`;
      }
      const given = `hasOwn(context, ${key}) ? context[${key}] : ${GLOBALS.has(name) ? constants.add(GLOBALS.get(name)) : 'undefined'}`;
      return `${id} = ${isTop ? given : `vars.has(${key}) ? vars.get(${key}) : ${given}`};`;
    });
    return [...writeDeclarations(fn), `let ${out.id} = "";`, ...initial, ...lines];
  };
  const lines = writeFunction(body, { id: 'out', base: '0' }, true);
  const blockLines = [...blocks].flatMap(([block, id]) => [
    `const ${id} = (run, vars, base) => {`,
    ...['enterCall(run);', ...writeFunction(block.body, { id: 'text', base: 'base' }, false), 'run.callDepth--;', 'return text;'].map(
      (line) => `  ${line}`,
    ),
    '};',
  ]);
  if (blocks.size > 0) blockLines.unshift('const vars = new Map();');
  const names = constants.values.map((_, index) => `k${index}`);
  const code = [
    '"use strict";',
    `const { ${Object.keys(OPERATIONS).join(', ')} } = operations;`,
    ...(names.length > 0 ? [`const [${names.join(', ')}] = constants;`] : []),
    'return (context, run) => {',
    ...[...blockLines, ...lines, 'stop(run, out);', 'return out;'].map((line) => `  ${line}`),
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

/** Whether a statement of that type is anywhere inside, however deep. */
function hasStatement(statements: Statement[], type: Statement['type']): boolean {
  return statements.some((statement) => statement.type === type || bodiesOf(statement).some((body) => hasStatement(body, type)));
}

/** The stack and the longest string are JavaScript's own limits; anything else that is no TemplateError is a bug of ours. */
function toTemplateError(error: unknown): TemplateError {
  if (error instanceof TemplateError) return error;
  if (error instanceof RangeError) return new TemplateError('TEMPLATE_LIMIT', 'the template is nested too deeply or makes too much text');
  return new TemplateError('TEMPLATE_FAILED', `the template cannot be rendered: ${error instanceof Error ? error.message : String(error)}`);
}
