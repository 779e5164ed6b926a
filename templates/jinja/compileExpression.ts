/** Turns expressions into functions of the frame and the rendering. No code is generated: closures call closures. */
import { findAttribute, getAttribute, getItem, getSlice, isChanging } from './access.js';
import { applyBinary, applySign } from './arithmetic.js';
import { TemplateError, fail } from './errors.js';
import { FILTERS, type Filter } from './filters.js';
import { compare } from './ordering.js';
import { toText } from './printing.js';
import { readReference, type Frame, type Scope } from './scopes.js';
import type { Arguments, BlockFilter, CompareOperator, Expression } from './syntax.js';
import { TESTS } from './tests.js';
import { TEXT_METHODS, callTextMethod } from './textMethods.js';
import {
  Callable,
  Loop,
  NO_KEYWORDS,
  Tuple,
  checkText,
  contains,
  dictEntries,
  dictSize,
  hasSurrogates,
  isDict,
  isEqual,
  isTrue,
  itemsOf,
  spend,
  spendReading,
  toKey,
  typeName,
  type Keywords,
  type Run,
  type Value,
} from './values.js';

export type Evaluate = (frame: Frame, run: Run) => Value;

/** `soft`: inside an `if`, where Jinja lets an unknown filter or test pass until it is reached. */
export type Place = { scope: Scope; soft: boolean };

export function compileExpression(node: Expression, place: Place): Evaluate {
  switch (node.type) {
    case 'constant': {
      const { value } = node;
      return () => value;
    }
    case 'name':
      return readReference(place.scope.resolve(node.name));
    case 'list':
    case 'tuple': {
      const items = node.items.map((item) => compileExpression(item, place));
      if (node.type === 'list') return (frame, run) => items.map((item) => item(frame, run));
      return (frame, run) => Tuple.from(items.map((item) => item(frame, run)));
    }
    case 'dict': {
      const pairs = node.pairs.map(([key, value]) => [compileExpression(key, place), compileExpression(value, place)] as const);
      return (frame, run) => new Map(pairs.map(([key, value]) => [toKey(key(frame, run)), value(frame, run)]));
    }
    case 'attribute':
      return compileAttribute(node, place);
    case 'item':
      return compileItem(node, place);
    case 'slice':
      return compileSlice(node, place);
    case 'call':
      return compileCall(node, compileArguments(node.args, place), place);
    case 'filter': {
      const operand = compileExpression(node.operand, place);
      return compileFilter(node, place, operand);
    }
    case 'test':
      return compileTest(node, place);
    case 'unary': {
      const operand = compileExpression(node.operand, place);
      const { operator } = node;
      if (operator === 'not') return (frame, run) => !isTrue(operand(frame, run));
      return (frame, run) => applySign(operator, needDefined(operand(frame, run), node.operand, run));
    }
    case 'binary': {
      const left = compileExpression(node.left, place);
      const right = compileExpression(node.right, place);
      const { operator } = node;
      return (frame, run) => {
        const a = left(frame, run);
        const b = right(frame, run);
        if (operator === '+' && typeof a === 'string' && typeof b === 'string') return checkText(run, a + b);
        if (a === undefined || b === undefined) undefinedOperand(a === undefined ? node.left : node.right, run);
        return applyBinary(run, operator, a, b);
      };
    }
    case 'and': {
      const left = compileExpression(node.left, place);
      const right = compileExpression(node.right, place);
      return (frame, run) => {
        const value = left(frame, run);
        return isTrue(value) ? right(frame, run) : value;
      };
    }
    case 'or': {
      const left = compileExpression(node.left, place);
      const right = compileExpression(node.right, place);
      return (frame, run) => {
        const value = left(frame, run);
        return isTrue(value) ? value : right(frame, run);
      };
    }
    case 'compare':
      return compileCompare(node, place);
    case 'concat': {
      const parts = node.parts.map((part) => compileExpression(part, place));
      return (frame, run) => {
        let text = '';
        for (const part of parts) text += toText(run, part(frame, run));
        return checkText(run, text);
      };
    }
    case 'condition': {
      const inside = { ...place, soft: true };
      const test = compileExpression(node.test, inside);
      const then = compileExpression(node.then, inside);
      const otherwise = node.otherwise ? compileExpression(node.otherwise, inside) : () => undefined;
      return (frame, run) => (isTrue(test(frame, run)) ? then(frame, run) : otherwise(frame, run));
    }
  }
}

/** Names that a plain object inherits: reading one without asking for own keys would find JavaScript's. */
const INHERITED = new Set(Object.getOwnPropertyNames(Object.prototype));

function compileAttribute(node: Expression & { type: 'attribute' }, place: Place): Evaluate {
  const object = compileExpression(node.object, place);
  const { name } = node;
  const isPlainKey = !INHERITED.has(name) && !isChanging({}, name) && findAttribute({}, name) === undefined;
  return (frame, run) => {
    const value = object(frame, run);
    if (isPlainKey && isPlainObject(value)) return value[name];
    if (value === undefined) undefinedOperand(node.object, run, `; it has no '${name}'`);
    return getAttribute(value, name);
  };
}

function compileItem(node: Expression & { type: 'item' }, place: Place): Evaluate {
  const object = compileExpression(node.object, place);
  const key = compileExpression(node.key, place);
  const constant = node.key.type === 'constant' ? node.key.value : undefined;
  const plainKey = typeof constant === 'string' && !INHERITED.has(constant) ? constant : undefined;
  return (frame, run) => {
    const value = object(frame, run);
    if (plainKey !== undefined && isPlainObject(value)) {
      const found = value[plainKey];
      if (found !== undefined) return found;
    }
    const index = key(frame, run);
    if (value === undefined) undefinedOperand(node.object, run, `; it has no item ${toText(run, index)}`);
    // Characters outside the basic plane make an index a walk.
    if (typeof value === 'string' && hasSurrogates(value)) spend(run, 1 + (value.length >>> 4));
    return getItem(value, index);
  };
}

function isPlainObject(value: Value): value is Record<string, Value> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function compileSlice(node: Expression & { type: 'slice' }, place: Place): Evaluate {
  const none: Evaluate = () => null;
  const object = compileExpression(node.object, place);
  const [start, stop, step] = [node.start, node.stop, node.step].map((bound) => (bound ? compileExpression(bound, place) : none)) as [
    Evaluate,
    Evaluate,
    Evaluate,
  ];
  return (frame, run) => {
    const value = needDefined(object(frame, run), node.object, run);
    return getSlice(run, value, start(frame, run), stop(frame, run), step(frame, run));
  };
}

export type EvaluateArguments = {
  positional: (frame: Frame, run: Run) => Value[];
  keywords: (frame: Frame, run: Run) => Keywords;
};

export function compileArguments(args: Arguments, place: Place): EvaluateArguments {
  const items = args.positional.map((argument) => compileExpression(argument, place));
  const spread = args.spread && compileExpression(args.spread, place);
  const named = args.keywords.map(({ name, value }) => [name, compileExpression(value, place)] as const);
  const keywordSpread = args.keywordSpread && compileExpression(args.keywordSpread, place);
  const none: Value[] = [];
  return {
    positional: (frame, run) => {
      if (items.length === 0 && !spread) return none;
      const values = items.map((item) => item(frame, run));
      return spread ? values.concat(itemsOf(run, spread(frame, run))) : values;
    },
    keywords: (frame, run) => {
      if (named.length === 0 && !keywordSpread) return NO_KEYWORDS;
      const keywords = new Map(named.map(([name, value]) => [name, value(frame, run)]));
      if (keywordSpread) {
        const more = keywordSpread(frame, run);
        if (!isDict(more)) fail(`argument after ** must be a mapping, not ${typeName(more)}`);
        spend(run, dictSize(more));
        for (const [name, value] of dictEntries(more)) {
          if (typeof name !== 'string') fail('keywords must be strings');
          if (keywords.has(name)) fail(`got multiple values for keyword argument '${name}'`);
          keywords.set(name, value);
        }
      }
      return keywords;
    },
  };
}

/** A call; a method of a string is called without making an object of it first. */
export function compileCall(node: Expression & { type: 'call' }, args: EvaluateArguments, place: Place): Evaluate {
  const { callee } = node;
  if (callee.type === 'attribute') {
    const object = compileExpression(callee.object, place);
    const textMethod = TEXT_METHODS.get(callee.name);
    if (textMethod) {
      return (frame, run) => {
        const value = object(frame, run);
        if (typeof value === 'string') {
          spendReading(run, value);
          const result = callTextMethod(textMethod, value, args.positional(frame, run), args.keywords(frame, run), run);
          return typeof result === 'string' ? checkText(run, result) : result;
        }
        if (value === undefined) undefinedOperand(callee.object, run, `; it has no '${callee.name}'`);
        return callValue(getAttribute(value, callee.name), args.positional(frame, run), args.keywords(frame, run), run, callee);
      };
    }
    return (frame, run) => {
      const value = object(frame, run);
      if (value === undefined) undefinedOperand(callee.object, run, `; it has no '${callee.name}'`);
      if (isChanging(value, callee.name)) refuseChange(value, callee, run);
      return callValue(getAttribute(value, callee.name), args.positional(frame, run), args.keywords(frame, run), run, callee);
    };
  }
  const called = compileExpression(callee, place);
  return (frame, run) => callValue(called(frame, run), args.positional(frame, run), args.keywords(frame, run), run, callee);
}

function refuseChange(value: Value, callee: Expression & { type: 'attribute' }, run: Run): never {
  run.at = callee.at;
  const message = `${callee.name}() would change a ${typeName(value)}, which a template may not do; build a new one and set it`;
  throw new TemplateError('TEMPLATE_UNSUPPORTED', message);
}

function callValue(called: Value, args: Value[], keywords: Keywords, run: Run, callee: Expression): Value {
  spend(run, 1);
  if (called instanceof Callable) return called.invoke(run, args, keywords);
  if (called instanceof Loop) {
    if (!called.recurse) fail("the loop must have the 'recursive' marker to be called recursively");
    return called.recurse(run, args[0], called.depth0 + 1);
  }
  if (called === undefined) undefinedOperand(callee, run, ', so it cannot be called');
  return fail(`'${typeName(called)}' object is not callable`);
}

/** A filter applied to what `operand` gives: an expression's value, or the text of a block. */
export function compileFilter(node: BlockFilter, place: Place, operand: Evaluate): Evaluate {
  const filter = findNamed(FILTERS, 'filter', node.name, node.at, place);
  const { positional, keywords } = compileArguments(node.args, place);
  return (frame, run) => {
    const value = operand(frame, run);
    spendReading(run, value);
    return filter(run, value, positional(frame, run), keywords(frame, run));
  };
}

function compileTest(node: Expression & { type: 'test' }, place: Place): Evaluate {
  const operand = compileExpression(node.operand, place);
  if (node.name === 'defined') return (frame, run) => operand(frame, run) !== undefined;
  if (node.name === 'none') return (frame, run) => operand(frame, run) === null;
  const { positional, keywords } = compileArguments(node.args, place);
  if (node.name === 'filter' || node.name === 'test') {
    const known: ReadonlyMap<Value, unknown> = node.name === 'filter' ? FILTERS : TESTS;
    return (frame, run) => known.has(operand(frame, run));
  }
  const test = findNamed(TESTS, 'test', node.name, node.at, place);
  return (frame, run) => {
    const value = operand(frame, run);
    spendReading(run, value);
    return test(run, value, positional(frame, run), keywords(frame, run));
  };
}

function findNamed<T extends Filter>(known: ReadonlyMap<string, T>, kind: string, name: string, at: number, place: Place): T {
  const found = known.get(name);
  if (found) return found;
  const message = `No ${kind} named '${name}'.`;
  if (!place.soft) throw new CompileError(message, at);
  return ((run: Run) => {
    run.at = at;
    return fail(message);
  }) as unknown as T;
}

/** A mistake found while compiling, with its offset in the source. */
export class CompileError extends TemplateError {
  constructor(
    message: string,
    readonly offset: number,
  ) {
    super('TEMPLATE_SYNTAX', message);
  }
}

function compileCompare(node: Expression & { type: 'compare' }, place: Place): Evaluate {
  const first = compileExpression(node.first, place);
  const rest = node.rest.map(({ operator, operand }, index) => ({
    operator,
    operand: compileExpression(operand, place),
    leftNode: index === 0 ? node.first : node.rest[index - 1]!.operand,
    rightNode: operand,
  }));
  if (rest.length === 1) {
    const { operator, operand, leftNode, rightNode } = rest[0]!;
    if (operator === '==') return (frame, run) => isEqual(run, first(frame, run), operand(frame, run));
    if (operator === '!=') return (frame, run) => !isEqual(run, first(frame, run), operand(frame, run));
    return (frame, run) => relate(operator, first(frame, run), operand(frame, run), run, leftNode, rightNode);
  }
  return (frame, run) => {
    let left = first(frame, run);
    for (const { operator, operand, leftNode, rightNode } of rest) {
      const right = operand(frame, run);
      if (!relate(operator, left, right, run, leftNode, rightNode)) return false;
      left = right;
    }
    return true;
  };
}

function relate(operator: CompareOperator, left: Value, right: Value, run: Run, leftNode: Expression, rightNode: Expression): boolean {
  switch (operator) {
    case '==':
      return isEqual(run, left, right);
    case '!=':
      return !isEqual(run, left, right);
    case 'in':
      return contains(run, right, left);
    case 'not in':
      return !contains(run, right, left);
    default:
      if (left === undefined || right === undefined) undefinedOperand(left === undefined ? leftNode : rightNode, run);
      return compare(run, operator, left, right);
  }
}

function needDefined(value: Value, node: Expression, run: Run): Value {
  return value === undefined ? undefinedOperand(node, run) : value;
}

function undefinedOperand(node: Expression, run: Run, consequence = ''): never {
  run.at = node.at;
  return fail(`${describe(node)} is undefined${consequence}`);
}

/** An expression in words short enough for a message: `message.tool_calls[0]`. */
function describe(node: Expression): string {
  const path = describePath(node);
  return path ? `'${path}'` : 'this value';
}

function describePath(node: Expression): string | undefined {
  if (node.type === 'name') return node.name;
  if (node.type === 'attribute') {
    const object = describePath(node.object);
    return object && `${object}.${node.name}`;
  }
  if (node.type === 'item') {
    const object = describePath(node.object);
    const key = node.key.type === 'constant' ? JSON.stringify(node.key.value) : describePath(node.key);
    return object && `${object}[${key ?? '...'}]`;
  }
  return undefined;
}
