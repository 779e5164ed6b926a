/** Turns statements into functions that print into the rendering. */
import { exceed, fail, TemplateError } from './errors.js';
import { MAX_CALL_DEPTH, MAX_TEXT_LENGTH } from './limits.js';
import { toText } from './printing.js';
import { compileArguments, compileCall, compileExpression, compileFilter, type Evaluate, type Place } from './compileExpression.js';
import { Frame, FunctionScope, assignedNames, readReference, targetNames, usedNames } from './scopes.js';
import type { Expression, Parameter, Statement, Target } from './syntax.js';
import { Callable, Loop, Namespace, Tuple, isTrue, itemsOf, spend, type Keywords, type Run, type Value } from './values.js';

/** What a statement says to the loop around it. */
export type Signal = 0 | typeof BREAK | typeof CONTINUE;
const BREAK = 1;
const CONTINUE = 2;

export type Execute = (frame: Frame, run: Run) => Signal;
/** What calling a macro costs beside the call: a frame, and an output of its own. */
const MACRO_UNITS = 4;

type Assign = (frame: Frame, run: Run, value: Value) => void;

/** A body in the scope it stands in, which must have declared the names the body assigns. */
export function compileBody(statements: Statement[], place: Place): Execute {
  const steps = statements.map((statement) => compileStatement(statement, place));
  if (steps.length === 1) return steps[0]!;
  return (frame, run) => {
    for (let index = 0; index < steps.length; index++) {
      const signal = steps[index]!(frame, run);
      if (signal !== 0) return signal;
    }
    return 0;
  };
}

function compileStatement(node: Statement, place: Place): Execute {
  switch (node.type) {
    case 'text': {
      const { text } = node;
      return (_frame, run) => print(run, text);
    }
    case 'print': {
      const value = compileExpression(node.value, place);
      const { at } = node.value;
      return (frame, run) => {
        run.at = at;
        return print(run, toText(run, value(frame, run)));
      };
    }
    case 'if':
      return compileIf(node, place);
    case 'for':
      return compileFor(node, place);
    case 'break':
      return () => BREAK;
    case 'continue':
      return () => CONTINUE;
    case 'set': {
      const value = compileExpression(node.value, place);
      const assign = compileTarget(node.target, place);
      const { at } = node;
      return (frame, run) => {
        run.at = at;
        assign(frame, run, value(frame, run));
        return 0;
      };
    }
    case 'setBlock': {
      const text = compileCapture(node.body, place);
      const value = node.filters.reduce<Evaluate>((operand, filter) => compileFilter(filter, place, operand), text);
      const assign = compileTarget(node.target, place);
      return (frame, run) => {
        assign(frame, run, value(frame, run));
        return 0;
      };
    }
    case 'filterBlock': {
      const text = compileCapture(node.body, place);
      const value = node.filters.reduce<Evaluate>((operand, filter) => compileFilter(filter, place, operand), text);
      return (frame, run) => print(run, toText(run, value(frame, run)));
    }
    case 'with': {
      const inside = openScope(place, node.body, new Set(node.targets.flatMap(({ target }) => [...targetNames(target)])));
      const values = node.targets.map(({ value }) => compileExpression(value, place));
      const assigns = node.targets.map(({ target }) => compileTarget(target, inside.place));
      const body = compileBody(node.body, inside.place);
      return (frame, run) => {
        const results = values.map((value) => value(frame, run));
        inside.enter(frame);
        assigns.forEach((assign, index) => assign(frame, run, results[index]));
        return body(frame, run);
      };
    }
    case 'macro': {
      const slot = place.scope.resolve(node.name).slot;
      const make = compileMacro(node.name, node.parameters, node.body, place);
      return (frame) => {
        frame.slots[slot] = make(frame);
        return 0;
      };
    }
    case 'callBlock':
      return compileCallBlock(node, place);
    case 'generation':
      return compileGeneration(node.body, place);
    case 'unsupported': {
      const { name, at } = node;
      return (_frame, run) => {
        run.at = at;
        throw new TemplateError('TEMPLATE_UNSUPPORTED', `'${name}' is not available: a chat template stands alone`);
      };
    }
  }
}

function print(run: Run, text: string): 0 {
  run.out += text;
  if (run.out.length > MAX_TEXT_LENGTH) exceed(`more than ${MAX_TEXT_LENGTH} characters of output`);
  return 0;
}

/** Runs something with an output of its own and gives what it printed. */
function capture(run: Run, work: () => void): string {
  const out = run.out;
  run.out = '';
  run.captures++;
  work();
  const text = run.out;
  run.captures--;
  run.out = out;
  return text;
}

/** A scope inside the same function for a body. `given` are names set on the way in; other assigned names start as they are outside. */
function openScope(place: Place, body: Statement[], given: Set<string>): { place: Place; enter: (frame: Frame) => void } {
  const scope = place.scope.inner();
  for (const name of given) scope.declare(name);
  const copies = [...assignedNames(body)]
    .filter((name) => !given.has(name))
    .map((name) => ({ read: readReference(place.scope.resolve(name)), slot: scope.declare(name) }));
  return {
    place: { scope, soft: false },
    enter: (frame) => {
      for (const { read, slot } of copies) frame.slots[slot] = read(frame);
    },
  };
}

function compileCapture(statements: Statement[], place: Place): Evaluate {
  const inside = openScope(place, statements, new Set());
  const body = compileBody(statements, inside.place);
  return (frame, run) =>
    capture(run, () => {
      inside.enter(frame);
      body(frame, run);
    });
}

function compileIf(node: Statement & { type: 'if' }, place: Place): Execute {
  const inside = { ...place, soft: true };
  const branches = node.branches.map(({ test, body }) => ({
    at: test.at,
    test: compileExpression(test, inside),
    body: compileBody(body, inside),
  }));
  const otherwise = compileBody(node.otherwise, inside);
  return (frame, run) => {
    for (const { at, test, body } of branches) {
      run.at = at;
      if (isTrue(test(frame, run))) return body(frame, run);
    }
    return otherwise(frame, run);
  };
}

function compileTarget(target: Target, place: Place): Assign {
  switch (target.type) {
    case 'name': {
      // An assigned name always belongs to the scope at hand, so it lives in the frame at hand.
      const { slot } = place.scope.resolve(target.name);
      return (frame, _run, value) => {
        frame.slots[slot] = value;
      };
    }
    case 'tuple': {
      const parts = target.items.map((item) => compileTarget(item, place));
      return (frame, run, value) => {
        const items = itemsOf(run, value);
        if (items.length > parts.length) fail(`too many values to unpack (expected ${parts.length})`);
        if (items.length < parts.length) fail(`not enough values to unpack (expected ${parts.length}, got ${items.length})`);
        parts.forEach((assign, index) => assign(frame, run, items[index]));
      };
    }
    case 'field': {
      const read = readReference(place.scope.resolve(target.namespace));
      const { name } = target;
      return (frame, _run, value) => {
        const namespace = read(frame);
        if (!(namespace instanceof Namespace)) fail('cannot assign attribute on non-namespace object');
        namespace.attributes.set(name, value);
      };
    }
  }
}

function compileFor(node: Statement & { type: 'for' }, place: Place): Execute {
  const iterable = compileExpression(node.iterable, place);
  const run1 = compileLoop(node, place);
  const { at } = node;
  return (frame, run) => {
    run.at = at;
    return run1(frame, run, iterable(frame, run), 0);
  };
}

type RunLoop = (frame: Frame, run: Run, iterable: Value, depth0: number) => Signal;

/** The loop itself. A recursive one is a function of its own, so that each level has its own variables. */
function compileLoop(node: Statement & { type: 'for' }, place: Place): RunLoop {
  const usesLoop = node.recursive || usedNames(node.body).has('loop');
  const outer = node.recursive ? { ...place, scope: place.scope.inner(new FunctionScope(place.scope.fn)) } : place;
  const given = targetNames(node.target);
  if (usesLoop) given.add('loop');
  const inside = openScope(outer, node.body, given);
  const assign = compileTarget(node.target, inside.place);
  const body = compileBody(node.body, inside.place);
  const keep = node.test && compileLoopTest(node.target, node.test, outer);
  const elseScope = openScope(outer, node.otherwise, new Set());
  const otherwise = compileBody(node.otherwise, elseScope.place);
  const loopSlot = usesLoop ? inside.place.scope.resolve('loop').slot : -1;

  const runLoop = (frame: Frame, run: Run, iterable: Value, loopOf: (items: Value[]) => Loop | undefined): Signal => {
    let items = itemsOf(run, iterable);
    // `loop` knows its length, so the test runs ahead of the body; without `loop` it runs turn by turn.
    if (keep && usesLoop) items = items.filter((item) => keep(frame, run, item));
    const loop = loopOf(items);
    let turns = 0;
    for (const item of items) {
      if (keep && !usesLoop && !keep(frame, run, item)) continue;
      spend(run, 1);
      turns++;
      inside.enter(frame);
      if (loop) {
        loop.index0++;
        frame.slots[loopSlot] = loop;
      }
      assign(frame, run, item);
      if (body(frame, run) === BREAK) break;
    }
    if (turns > 0) return 0;
    elseScope.enter(frame);
    return otherwise(frame, run);
  };

  if (!node.recursive)
    return (frame, run, iterable) => runLoop(frame, run, iterable, (items) => (usesLoop ? new Loop(items, 0, undefined) : undefined));
  const { fn } = outer.scope;
  const level: RunLoop = (parent, run, iterable, depth0) => {
    if (++run.callDepth > MAX_CALL_DEPTH) exceed(`more than ${MAX_CALL_DEPTH} calls within calls`);
    const recurse = (again: Run, nested: Value, depth: number): string => capture(again, () => void level(parent, again, nested, depth));
    const signal = runLoop(newFrame(fn, parent), run, iterable, (items) => new Loop(items, depth0, recurse));
    run.callDepth--;
    return signal;
  };
  return level;
}

function compileLoopTest(target: Target, test: Expression, place: Place): (frame: Frame, run: Run, item: Value) => boolean {
  const scope = place.scope.inner();
  for (const name of targetNames(target)) scope.declare(name);
  const inside = { scope, soft: false };
  const assign = compileTarget(target, inside);
  const evaluate = compileExpression(test, inside);
  return (frame, run, item) => {
    spend(run, 1);
    assign(frame, run, item);
    return isTrue(evaluate(frame, run));
  };
}

function newFrame(fn: FunctionScope, parent: Frame): Frame {
  return new Frame(new Array<Value>(fn.slotCount).fill(undefined), parent);
}

/** Makes the macro when its definition is reached; it keeps the frame it was defined in. */
function compileMacro(name: string, parameters: Parameter[], statements: Statement[], place: Place): (frame: Frame) => Callable {
  const fn = new FunctionScope(place.scope.fn);
  const outer = { scope: place.scope.inner(fn), soft: false };
  const given = new Set(parameters.map((parameter) => parameter.name));
  const used = usedNames(statements);
  const extras = (['caller', 'kwargs', 'varargs'] as const).filter((extra) => used.has(extra) && !given.has(extra));
  for (const extra of extras) given.add(extra);
  const inside = openScope(outer, statements, given);
  const slots = parameters.map((parameter) => inside.place.scope.resolve(parameter.name).slot);
  const defaults = parameters.map(({ value }) => value && compileExpression(value, inside.place));
  const body = compileBody(statements, inside.place);
  const slotOf = (extra: (typeof extras)[number]): number => (extras.includes(extra) ? inside.place.scope.resolve(extra).slot : -1);
  const [callerSlot, kwargsSlot, varargsSlot] = [slotOf('caller'), slotOf('kwargs'), slotOf('varargs')];

  const bind = (frame: Frame, run: Run, args: Value[], keywords: Keywords): void => {
    const rest = keywords.size > 0 ? new Map(keywords) : undefined;
    parameters.forEach((parameter, index) => {
      if (index < args.length) frame.slots[slots[index]!] = args[index];
      else if (rest?.has(parameter.name)) {
        frame.slots[slots[index]!] = rest.get(parameter.name);
        rest.delete(parameter.name);
      } else frame.slots[slots[index]!] = defaults[index]?.(frame, run);
    });
    if (callerSlot >= 0) frame.slots[callerSlot] = rest?.get('caller');
    if (callerSlot >= 0) rest?.delete('caller');
    if (kwargsSlot >= 0) frame.slots[kwargsSlot] = rest ?? new Map();
    else if (rest && rest.size > 0) fail(`macro '${name}' takes no keyword argument '${[...rest.keys()][0]!}'`);
    if (varargsSlot >= 0) frame.slots[varargsSlot] = Tuple.from(args.slice(parameters.length));
    else if (args.length > parameters.length) fail(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
  };
  const attributes = {
    name,
    arguments: Tuple.from(parameters.map((parameter) => parameter.name)),
    caller: callerSlot >= 0,
    catch_kwargs: kwargsSlot >= 0,
    catch_varargs: varargsSlot >= 0,
  };
  return (defined) =>
    new Callable(
      name,
      'Macro',
      (run, args, keywords) => {
        if (++run.callDepth > MAX_CALL_DEPTH) exceed(`more than ${MAX_CALL_DEPTH} calls within calls`);
        spend(run, MACRO_UNITS);
        const { at } = run;
        const text = capture(run, () => {
          const frame = newFrame(fn, defined);
          inside.enter(frame);
          bind(frame, run, args, keywords);
          body(frame, run);
        });
        run.callDepth--;
        run.at = at;
        return text;
      },
      attributes,
    );
}

function compileCallBlock(node: Statement & { type: 'callBlock' }, place: Place): Execute {
  const makeCaller = compileMacro('caller', node.parameters, node.body, place);
  const args = compileArguments(node.call.args, place);
  const call = compileCall(
    node.call,
    {
      positional: args.positional,
      keywords: (frame, run) => new Map([...args.keywords(frame, run), ['caller', makeCaller(frame)]]),
    },
    place,
  );
  const { at } = node.call;
  return (frame, run) => {
    run.at = at;
    return print(run, toText(run, call(frame, run)));
  };
}

/** `{% generation %}`: prints its body and notes where it stands in the output. */
function compileGeneration(statements: Statement[], place: Place): Execute {
  const inside = openScope(place, statements, new Set());
  const body = compileBody(statements, inside.place);
  return (frame, run) => {
    inside.enter(frame);
    const start = run.out.length;
    body(frame, run);
    if (run.captures > 0) run.hasLostSpan = true;
    else if (run.out.length > start) run.spans.push([start, run.out.length]);
    return 0;
  };
}
