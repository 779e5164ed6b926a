/**
 * What generated code calls: each operation of a template with Python's meaning, its usual case first.
 *
 * Generated code sees these, its own constants, the row and the rendering in progress, and nothing else.
 */
import { getAttribute, getItem, getSlice, isChanging } from './access.js';
import { applyBinary, applySign } from './arithmetic.js';
import { TemplateError, exceed, fail } from './errors.js';
import type { Filter } from './filters.js';
import { MAX_CALL_DEPTH, MAX_TEXT_LENGTH } from './limits.js';
import { compare } from './ordering.js';
import { toText } from './printing.js';
import { toSafe } from './safeText.js';
import type { BinaryOperator, CompareOperator } from './syntax.js';
import type { Test } from './tests.js';
import { callTextMethod, type TextMethod } from './textMethods.js';
import {
  Blocks,
  Callable,
  KeyedDict,
  Loop,
  NO_KEYWORDS,
  Namespace,
  SafeText,
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
  requireText,
  spend,
  spendReading,
  toKey,
  typeName,
  type Dict,
  type Keywords,
  type Run,
  type Value,
} from './values.js';

/** An operand for error messages: its offset in the source, and words for it such as `'message.name'`. */
export type Operand = { at: number; words: string };

const NO_ARGUMENTS: Value[] = [];

/** What calling a macro costs beside the call: a frame, and an output of its own. */
const MACRO_UNITS = 4;

function undefinedOperand(run: Run, operand: Operand, consequence = ''): never {
  run.at = operand.at;
  return fail(`${operand.words} is undefined${consequence}`);
}

function isPlain(value: Value): boolean {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

/** `object.name` where the object is no plain one. */
function attribute(run: Run, object: Value, name: string, operand: Operand): Value {
  if (object === undefined) undefinedOperand(run, operand, `; it has no '${name}'`);
  return getAttribute(object, name);
}

/** `object[key]` where that is no key of a plain object. */
function item(run: Run, object: Value, key: Value, operand: Operand): Value {
  if (object === undefined) undefinedOperand(run, operand, `; it has no item ${toText(run, key)}`);
  // Characters outside the basic plane make an index a walk.
  if (typeof object === 'string' && hasSurrogates(object)) spend(run, 1 + (object.length >>> 4));
  return getItem(object, key);
}

function slice(run: Run, object: Value, start: Value, stop: Value, step: Value, operand: Operand): Value {
  if (object === undefined) undefinedOperand(run, operand);
  return getSlice(run, object, start, stop, step);
}

function add(run: Run, left: Value, right: Value, leftOperand: Operand, rightOperand: Operand): Value {
  if (typeof left === 'string' && typeof right === 'string') return checkText(run, left + right);
  return binary(run, '+', left, right, leftOperand, rightOperand);
}

function binary(run: Run, operator: BinaryOperator, left: Value, right: Value, leftOperand: Operand, rightOperand: Operand): Value {
  if (left === undefined || right === undefined) undefinedOperand(run, left === undefined ? leftOperand : rightOperand);
  return applyBinary(run, operator, left, right);
}

function sign(run: Run, operator: '+' | '-', value: Value, operand: Operand): Value {
  if (value === undefined) undefinedOperand(run, operand);
  return applySign(operator, value);
}

/** Equality with a string that stands in the template. */
function isText(value: Value, text: string): boolean {
  return value === text || (value instanceof SafeText && value.text === text);
}

/** `needle in haystack`. */
function isIn(run: Run, needle: Value, haystack: Value): boolean {
  return contains(run, haystack, needle);
}

function relate(
  run: Run,
  operator: Exclude<CompareOperator, '==' | '!=' | 'in' | 'not in'>,
  left: Value,
  right: Value,
  leftOperand: Operand,
  rightOperand: Operand,
): boolean {
  if (left === undefined || right === undefined) undefinedOperand(run, left === undefined ? leftOperand : rightOperand);
  return compare(run, operator, left, right);
}

/** `*expression` after the other arguments. */
function spread(run: Run, args: Value[], more: Value): Value[] {
  return args.concat(itemsOf(run, more));
}

/** `**expression` after the other keywords. */
function spreadKeywords(run: Run, keywords: Map<string, Value>, more: Value): Keywords {
  if (!isDict(more)) fail(`argument after ** must be a mapping, not ${typeName(more)}`);
  spend(run, dictSize(more));
  for (const [name, value] of dictEntries(more)) {
    if (typeof name !== 'string') fail('keywords must be strings');
    if (keywords.has(name)) fail(`got multiple values for keyword argument '${name}'`);
    keywords.set(name, value);
  }
  return keywords;
}

function call(run: Run, called: Value, args: Value[], keywords: Keywords, operand: Operand): Value {
  spend(run, 1);
  if (called instanceof Callable) return called.invoke(run, args, keywords);
  if (called instanceof Loop) {
    if (!called.recurse) fail("the loop must have the 'recursive' marker to be called recursively");
    return called.recurse(run, args[0], called.depth0 + 1);
  }
  if (called === undefined) undefinedOperand(run, operand, ', so it cannot be called');
  return fail(`'${typeName(called)}' object is not callable`);
}

/** `object.name(…)`. `object` and `method` describe `object` and `object.name`. */
function callMethod(run: Run, value: Value, name: string, args: Value[], keywords: Keywords, object: Operand, method: Operand): Value {
  if (value === undefined) undefinedOperand(run, object, `; it has no '${name}'`);
  if (isChanging(value, name)) {
    run.at = method.at;
    const message = `${name}() would change a ${typeName(value)}, which a template may not do; build a new one and set it`;
    throw new TemplateError('TEMPLATE_UNSUPPORTED', message);
  }
  return call(run, getAttribute(value, name), args, keywords, method);
}

/** The same where strings have a method of that name: it is called without making an object of it first. */
function callTextMethodOf(
  run: Run,
  value: Value,
  textMethod: TextMethod,
  args: Value[],
  keywords: Keywords,
  object: Operand,
  method: Operand,
): Value {
  if (typeof value !== 'string') return callMethod(run, value, textMethod.name, args, keywords, object, method);
  spendReading(run, value);
  const result = callTextMethod(textMethod, value, args, keywords, run);
  return typeof result === 'string' ? checkText(run, result) : result;
}

function filter(run: Run, apply: Filter | Test, value: Value, args: Value[], keywords: Keywords): Value {
  spendReading(run, value);
  return apply(run, value, args, keywords);
}

/** A filter without arguments, where `change` is what it does to a string. */
function filterText(run: Run, change: (text: string) => string, apply: Filter, value: Value): Value {
  if (typeof value !== 'string') return filter(run, apply, value, NO_ARGUMENTS, NO_KEYWORDS);
  spendReading(run, value);
  return checkText(run, change(value));
}

/** A filter or test that nobody knows, in a place that may never be reached. */
function unknown(run: Run, kind: 'filter' | 'test', name: string, at: number): never {
  run.at = at;
  return fail(`No ${kind} named '${name}'.`);
}

/** `include`, `import` and `extends`: there are no other templates. An include may ignore that none was named. */
function load(template: Value, ignoreMissing: boolean): void {
  if (ignoreMissing && template !== undefined && typeof template !== 'string' && !isTrue(template)) return;
  throw new TemplateError('TEMPLATE_UNSUPPORTED', 'include, import and extends are not available: a chat template stands alone');
}

/** A required block, which another template would have to give. */
function lackBlock(name: string): never {
  return fail(`the required block '${name}' is not given`);
}

/** What a scoped block sees. */
function scopeOf(vars: ReadonlyMap<string, Value>, locals: [string, Value][]): Map<string, Value> {
  return new Map([...vars, ...locals.filter(([, value]) => value !== undefined)]);
}

/** `self`: the blocks of the template by name. */
function blocksOf(blocks: [name: string, print: (run: Run) => string][]): Blocks {
  const callables = blocks.map(([name, print]): [string, Callable] => {
    const invoke = (run: Run, args: Value[], keywords: Keywords): Value => {
      if (args.length + keywords.size > 0) fail(`the block '${name}' takes no arguments`);
      return toCaptured(run, print(run));
    };
    return [name, new Callable(name, 'BlockReference', invoke, { name })];
  });
  return new Blocks(new Map(callables));
}

function setAutoescape(run: Run, isOn: boolean): void {
  run.autoescape = isOn;
}

/** What printing a value gives, where whether it is escaped is known only now. */
function toPrinted(run: Run, value: Value): string {
  return run.autoescape ? toSafe(run, value) : toText(run, value);
}

/** Text that was captured: safe where what is printed is escaped. */
function toCaptured(run: Run, value: Value): Value {
  return run.autoescape ? toMarkup(toText(run, value)) : value;
}

function toMarkup(text: string): SafeText {
  return new SafeText(text);
}

/** `~` where what is printed is escaped: one safe string makes the others safe. */
function joinSafely(run: Run, parts: Value[]): Value {
  const isSafe = parts.some((part) => part instanceof SafeText);
  const text = checkText(run, parts.map((part) => (isSafe ? toSafe(run, part) : toText(run, part))).join(''));
  return isSafe ? toMarkup(text) : text;
}

/** Exactly as many items as there are names to assign them to. */
function unpack(run: Run, value: Value, count: number): Value[] {
  const items = itemsOf(run, value);
  if (items.length > count) fail(`too many values to unpack (expected ${count})`);
  if (items.length < count) fail(`not enough values to unpack (expected ${count}, got ${items.length})`);
  return items;
}

/** `set namespace.name = value`; the value is computed first. */
function setField(value: Value, namespace: Value, name: string): void {
  if (!(namespace instanceof Namespace)) fail('cannot assign attribute on non-namespace object');
  namespace.attributes.set(name, value);
}

/** Ends a rendering that worked too long, or printed too much. */
function stop(run: Run, out: string): void {
  spend(run, 0);
  if (out.length > MAX_TEXT_LENGTH) exceed(`more than ${MAX_TEXT_LENGTH} characters of output`);
}

function enterCall(run: Run): void {
  if (++run.callDepth > MAX_CALL_DEPTH) exceed(`more than ${MAX_CALL_DEPTH} calls within calls`);
}

type MacroShape = { parameters: string[]; caller: boolean; catchKeywords: boolean; catchArguments: boolean };

/** A macro. `invoke` gives what it prints; `rest` are the keywords that it may take from. */
function macro(
  name: string,
  shape: MacroShape,
  invoke: (run: Run, args: Value[], rest: Map<string, Value> | undefined) => string,
): Callable {
  const attributes = {
    name,
    arguments: Tuple.from(shape.parameters),
    caller: shape.caller,
    catch_kwargs: shape.catchKeywords,
    catch_varargs: shape.catchArguments,
  };
  const start = (run: Run, args: Value[], keywords: Keywords): Value => {
    enterCall(run);
    spend(run, MACRO_UNITS);
    const { at } = run;
    const text = invoke(run, args, keywords.size > 0 ? new Map(keywords) : undefined);
    run.callDepth--;
    run.at = at;
    return toCaptured(run, text);
  };
  return new Callable(name, 'Macro', start, attributes);
}

/** Takes a keyword out of those given. */
function take(rest: Map<string, Value>, name: string): Value {
  const value = rest.get(name);
  rest.delete(name);
  return value;
}

function refuseKeywords(name: string, rest: Map<string, Value> | undefined): void {
  if (rest && rest.size > 0) fail(`macro '${name}' takes no keyword argument '${[...rest.keys()][0]!}'`);
}

function refuseArguments(name: string, args: Value[], count: number): void {
  if (args.length > count) fail(`macro '${name}' takes not more than ${count} argument(s)`);
}

function tuple(items: Value[]): Tuple {
  return Tuple.from(items) as Tuple;
}

/** A dict with keys that are not all known to be strings. */
function dict(pairs: [Value, Value][]): KeyedDict {
  return KeyedDict.of(pairs);
}

function hasOwn(context: Dict, name: string): boolean {
  return Object.hasOwn(context, name);
}

export const OPERATIONS = {
  Loop,
  NO_ARGUMENTS,
  NO_KEYWORDS,
  Namespace,
  add,
  attribute,
  binary,
  blocksOf,
  call,
  callMethod,
  callTextMethodOf,
  checkText,
  dict,
  enterCall,
  filter,
  filterText,
  hasOwn,
  isEqual,
  isIn,
  isPlain,
  isText,
  isTrue,
  item,
  itemsOf,
  joinSafely,
  lackBlock,
  load,
  macro,
  refuseArguments,
  refuseKeywords,
  relate,
  requireText,
  scopeOf,
  setAutoescape,
  setField,
  sign,
  slice,
  spread,
  spreadKeywords,
  stop,
  take,
  toCaptured,
  toKey,
  toMarkup,
  toPrinted,
  toSafe,
  toText,
  tuple,
  unknown,
  unpack,
};

export type Operations = typeof OPERATIONS;
