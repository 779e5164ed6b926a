/**
 * Chat templates: Jinja with the meaning it has in `transformers` (immutable sandbox, trim_blocks, lstrip_blocks, loop controls,
 * `{% generation %}`, `raise_exception`, `strftime_now`, JSON as Python writes it), within limits of work and size.
 *
 * A template is parsed once into closures and rendered for any number of rows. Templates come from strangers: no code is generated, and
 * a value never leads to anything of JavaScript's own. Whatever goes wrong comes out as a TemplateError. Render in a process that may
 * die all the same: the limits bound work, not every byte.
 */
import { compileBody } from './compileStatement.js';
import { CompileError } from './compileExpression.js';
import { TemplateError, placeError } from './errors.js';
import { GLOBALS } from './globals.js';
import { MAX_FUEL } from './limits.js';
import { parseTemplate } from './parse.js';
import { Frame, FunctionScope, Scope, assignedNames, usedNames } from './scopes.js';
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
  /** `now` is what `strftime_now` says. Throws TemplateError. */
  render(context: Record<string, Value>, now: Date): Rendering;
};

/** Throws TemplateError with line and column. */
export function compileTemplate(template: string): Template {
  try {
    const { source, body } = parseTemplate(template);
    const fn = new FunctionScope();
    const scope = new Scope(fn);
    for (const name of assignedNames(body)) scope.declare(name);
    const execute = placingErrors(source, () => compileBody(body, { scope, soft: false }));
    const initial = [...scope.slots].map(([name, slot]) => ({ name, slot, global: GLOBALS.get(name) }));
    return {
      names: usedNames(body),
      hasGeneration: hasGeneration(body),
      render: (context, now) => {
        const slots = new Array<Value>(fn.slotCount).fill(undefined);
        for (const { name, slot, global } of initial) slots[slot] = Object.hasOwn(context, name) ? context[name] : global;
        const run: Run = { out: '', captures: 0, callDepth: 0, fuel: MAX_FUEL, at: 0, spans: [], hasLostSpan: false, now };
        try {
          execute(new Frame(slots), run);
        } catch (error) {
          throw placeError(toTemplateError(error), source, run.at);
        }
        return { text: run.out, spans: run.spans, hasLostSpan: run.hasLostSpan };
      },
    };
  } catch (error) {
    throw toTemplateError(error);
  }
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
