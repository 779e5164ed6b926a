/**
 * The values a template computes with, and Python's basic questions about them: what type, true or false, equal, how long, what items.
 *
 * A row's own data stays the plain data that JSON.parse made. In JavaScript's terms:
 * - Undefined is `undefined`, None is `null`, bool is `boolean`, str is `string`;
 * - int is an integral `number`, or a `bigint` past 2^53; float is any other `number`, or a `Float` when its value is integral;
 * - list is an array, tuple a `Tuple`; dict is a plain object or a `Map` (a `KeyedDict` where keys may be more than strings).
 * The rest are the small classes below. Nothing else of the host ever becomes a value, and plain objects are only asked for own keys.
 */
import { exceed, fail } from './errors.js';
import { MAX_LIST_LENGTH, MAX_TEXT_LENGTH } from './limits.js';

export type Value = unknown;
export type Dict = Record<string, Value> | Map<Value, Value>;
export type Keywords = ReadonlyMap<string, Value>;

/** A rendering in progress. */
export type Run = {
  callDepth: number;
  fuel: number;
  /** Offset in the source of the statement at work, for error messages. */
  at: number;
  /** `{% generation %}` spans, as offsets in the output. */
  spans: [start: number, end: number][];
  /** A `{% generation %}` stood inside a macro or a captured block, where its place in the output is not known. */
  hasLostSpan: boolean;
  /** Whether what is printed now gets escaped: `{% autoescape true %}`. */
  autoescape: boolean;
  /** What `strftime_now` says. */
  now: Date;
};

/** A Python float with an integral value: 1.0 is not 1. */
export class Float {
  constructor(readonly value: number) {}
}

/** A string that `safe` or `escape` made (markupsafe's Markup): what is added to it gets escaped. */
export class SafeText {
  constructor(readonly text: string) {}
}

/** What `encode` gives. */
export class Bytes {
  constructor(readonly data: Uint8Array) {}
}

export class Tuple extends Array<Value> {
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }
}

/** A pair of `groupby`: `grouper` and `list`. */
export class Group extends Tuple {}

export class Range {
  readonly length: number;
  constructor(
    readonly start: number,
    readonly stop: number,
    readonly step: number,
  ) {
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }
  at(index: number): number {
    return this.start + index * this.step;
  }
}

/**
 * A Python generator or iterator: gone once read, always true, without a length. `make` gives the items when the first is read, so that
 * one which nobody reads does no work and makes no mistakes.
 */
export class OneShot {
  private position = 0;
  private made: Value[] | undefined;
  constructor(
    private readonly make: () => Value[],
    readonly typeName: 'generator' | 'list_reverseiterator' = 'generator',
  ) {}
  takeAll(): Value[] {
    const rest = this.items.slice(this.position);
    this.position = this.items.length;
    return rest;
  }
  takeFirst(): Value {
    return this.position < this.items.length ? this.items[this.position++] : undefined;
  }
  private get items(): Value[] {
    return (this.made ??= this.make());
  }
}

/** What `keys()`, `values()` and `items()` give. */
export class DictView {
  constructor(
    readonly kind: 'keys' | 'values' | 'items',
    readonly dict: Dict,
  ) {}
  items(): Value[] {
    if (this.kind === 'keys') return dictKeys(this.dict);
    if (this.kind === 'values') return dictEntries(this.dict).map(([, value]) => value);
    return dictItems(this.dict);
  }
}

/** A dict with keys of any kind: 1, 1.0 and True are one key, which stays the one that came first. */
export class KeyedDict extends Map<Value, Value> {
  /** Keys that are no strings, by what they are equal to. */
  private readonly stored = new Map<Value, Value>();

  static of(pairs: Iterable<readonly [Value, Value]>): KeyedDict {
    const dict = new KeyedDict();
    for (const [key, value] of pairs) dict.set(toKey(key), value);
    return dict;
  }
  override has(key: Value): boolean {
    return super.has(this.asStored(key));
  }
  override get(key: Value): Value {
    return super.get(this.asStored(key));
  }
  override set(key: Value, value: Value): this {
    if (typeof key === 'string') return super.set(key, value);
    const identity = identityOf(key);
    if (!this.stored.has(identity)) this.stored.set(identity, key);
    return super.set(this.stored.get(identity), value);
  }
  private asStored(key: Value): Value {
    return typeof key === 'string' ? key : this.stored.get(identityOf(key));
  }
}

/** Equal for equal keys that are no strings. */
function identityOf(key: Value): Value {
  if (key instanceof Tuple) return describeKeys(key);
  if (!isNumber(key)) return key;
  const number = numeric(key);
  return typeof number === 'number' && Number.isInteger(number) && !Number.isSafeInteger(number) ? BigInt(number) : number;
}

function describeKeys(tuple: Tuple): string {
  const items = tuple.map(plain).map((item) => (typeof item === 'string' ? JSON.stringify(item) : String(identityOf(item))));
  return `(${items.join()})`;
}

/** Most items of a tuple that is a key, those of the tuples in it included. */
const MAX_KEY_ITEMS = 10_000;

export class Namespace {
  constructor(readonly attributes: Map<string, Value>) {}
}

/** Anything a template may call: a macro, a method bound to its object, a global function. */
export class Callable {
  constructor(
    readonly name: string,
    readonly typeName: 'Macro' | 'function' | 'builtin_function_or_method' | 'Joiner' | 'BlockReference',
    readonly invoke: (run: Run, args: Value[], keywords: Keywords) => Value,
    readonly attributes: Record<string, Value> = {},
  ) {}
}

/** `self`: the template's blocks by name, each to be called. */
export class Blocks {
  constructor(readonly byName: ReadonlyMap<string, Callable>) {}
}

/** `loop` in a for statement. The turn advances in place, as in Jinja. */
export class Loop {
  index0 = -1;
  lastChange: Value[] | undefined;
  constructor(
    readonly items: Value[],
    readonly depth0: number,
    readonly recurse: ((run: Run, iterable: Value, depth0: number) => string) | undefined,
  ) {}
}

export class Cycler {
  position = 0;
  constructor(readonly items: Value[]) {}
}

export const NO_KEYWORDS: Keywords = new Map();

export function toFloat(value: number): number | Float {
  return Number.isInteger(value) ? new Float(value) : value;
}

/** Pays for work. One unit is about a loop turn; see limits.ts. */
export function spend(run: Run, units: number): void {
  run.fuel -= units;
  if (run.fuel < 0) exceed('the template works too long on one row: too many loop turns, calls or copies');
}

/** Units for reading or making that many characters. */
export function costOfText(length: number): number {
  return length >>> 7;
}

/** Pays for looking at all of a value, where that takes time. */
export function spendReading(run: Run, value: Value): void {
  spend(run, 1 + (typeof value === 'string' ? costOfText(value.length) : 0));
}

/** Pays for a string just made, and holds it to the size limit. */
export function checkText(run: Run, text: string): string {
  checkTextLength(run, text.length);
  return text;
}

/** The same before the string is made. */
export function checkTextLength(run: Run, length: number): void {
  if (!(length <= MAX_TEXT_LENGTH)) exceed(`a string of more than ${MAX_TEXT_LENGTH} characters`);
  spend(run, costOfText(length));
}

export function checkListLength(run: Run, length: number): void {
  if (!(length <= MAX_LIST_LENGTH)) exceed(`a list of more than ${MAX_LIST_LENGTH} items`);
  spend(run, length >>> 3);
}

export function isDict(value: Value): value is Dict {
  if (typeof value !== 'object' || value === null) return false;
  if (value instanceof Map) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

export function isNumber(value: Value): value is number | bigint | boolean | Float {
  return typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint' || value instanceof Float;
}

export function isInteger(value: Value): value is number | bigint | boolean {
  return typeof value === 'boolean' || typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value));
}

export function isFloat(value: Value): value is number | Float {
  return value instanceof Float || (typeof value === 'number' && !Number.isInteger(value));
}

/** A number's value for comparing and computing; a bigint stays one. */
export function numeric(value: number | bigint | boolean | Float): number | bigint {
  return value instanceof Float ? value.value : typeof value === 'boolean' ? Number(value) : value;
}

/** An integer where Python wants one as an index, a count or a width. */
export function requireIndex(value: Value): number {
  if (!isInteger(value)) fail(`'${typeName(value)}' object cannot be interpreted as an integer`);
  return Number(value);
}

/** A safe string as the plain one, anything else as it is. */
export function plain(value: Value): Value {
  return value instanceof SafeText ? value.text : value;
}

export function requireText(value: Value, what: string): string {
  if (value instanceof SafeText) return value.text;
  if (typeof value !== 'string') fail(`${what} must be str, not ${typeName(value)}`);
  return value;
}

export function typeName(value: Value): string {
  if (value === undefined) return 'Undefined';
  if (value === null) return 'NoneType';
  if (typeof value === 'string') return 'str';
  if (typeof value === 'boolean') return 'bool';
  if (isInteger(value)) return 'int';
  if (isFloat(value)) return 'float';
  if (value instanceof SafeText) return 'Markup';
  if (value instanceof Bytes) return 'bytes';
  if (value instanceof Tuple) return 'tuple';
  if (Array.isArray(value)) return 'list';
  if (value instanceof Range) return 'range';
  if (value instanceof OneShot || value instanceof Callable) return value.typeName;
  if (value instanceof DictView) return `dict_${value.kind}`;
  if (value instanceof Namespace) return 'Namespace';
  if (value instanceof Loop) return 'LoopContext';
  if (value instanceof Cycler) return 'Cycler';
  if (value instanceof Blocks) return 'TemplateReference';
  return 'dict';
}

export function isTrue(value: Value): boolean {
  switch (typeof value) {
    case 'boolean':
      return value;
    case 'string':
      return value !== '';
    case 'undefined':
      return false;
    case 'number':
      return value !== 0;
    case 'bigint':
      return value !== 0n;
    default:
  }
  if (value === null) return false;
  if (Array.isArray(value) || value instanceof Range) return value.length > 0;
  if (value instanceof Float) return value.value !== 0;
  if (value instanceof DictView) return dictSize(value.dict) > 0;
  if (value instanceof SafeText) return value.text !== '';
  if (value instanceof Bytes) return value.data.length > 0;
  if (isDict(value)) return dictSize(value) > 0;
  return true;
}

/** Equal in value, also where one is a bigint; NaN equals nothing. */
export function isSameNumber(left: number | bigint, right: number | bigint): boolean {
  return left <= right && left >= right;
}

export function isEqual(run: Run, left: Value, right: Value): boolean {
  if (left === right) return true;
  if (isNumber(left)) return isNumber(right) && isSameNumber(numeric(left), numeric(right));
  if (left instanceof SafeText || right instanceof SafeText) return plain(left) === plain(right);
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  spend(run, 1);
  if (Array.isArray(left)) {
    if (!Array.isArray(right) || left.length !== right.length || left instanceof Tuple !== right instanceof Tuple) return false;
    return left.every((item, index) => isEqual(run, item, right[index]));
  }
  if (left instanceof Range) {
    if (!(right instanceof Range) || left.length !== right.length) return false;
    return left.length === 0 || (left.start === right.start && (left.length === 1 || left.step === right.step));
  }
  if (left instanceof Bytes) {
    return right instanceof Bytes && left.data.length === right.data.length && left.data.every((byte, index) => byte === right.data[index]);
  }
  if (isDict(left)) {
    if (!isDict(right) || dictSize(left) !== dictSize(right)) return false;
    return dictEntries(left).every(([key, value]) => dictHas(right, key) && isEqual(run, value, dictGet(right, key)));
  }
  return false;
}

/** The items of anything that can be looped over. The array may be the value itself: do not change it. */
export function itemsOf(run: Run, value: Value): Value[] {
  if (Array.isArray(value)) return value;
  if (typeof value === 'string') {
    checkListLength(run, value.length);
    return [...value];
  }
  if (value === undefined) return [];
  if (value instanceof SafeText) return itemsOf(run, value.text);
  if (value instanceof Bytes) {
    checkListLength(run, value.data.length);
    return [...value.data];
  }
  if (value instanceof Range) {
    spend(run, value.length >>> 3);
    return Array.from({ length: value.length }, (_, index) => value.at(index));
  }
  if (value instanceof OneShot) return value.takeAll();
  if (value instanceof DictView) {
    spend(run, dictSize(value.dict) >>> 3);
    return value.items();
  }
  if (isDict(value)) {
    spend(run, dictSize(value) >>> 3);
    return dictKeys(value);
  }
  if (value instanceof Loop) return fail("iterating over 'loop' is not supported");
  return fail(`'${typeName(value)}' object is not iterable`);
}

export function isIterable(value: Value): boolean {
  return (
    value === undefined ||
    typeof value === 'string' ||
    value instanceof SafeText ||
    value instanceof Bytes ||
    Array.isArray(value) ||
    value instanceof Range ||
    value instanceof OneShot ||
    value instanceof DictView ||
    value instanceof Loop ||
    isDict(value)
  );
}

export function lengthOf(value: Value): number {
  if (typeof value === 'string') return countCharacters(value);
  if (Array.isArray(value) || value instanceof Range) return value.length;
  if (value === undefined) return 0;
  if (value instanceof SafeText) return lengthOf(value.text);
  if (value instanceof Bytes) return value.data.length;
  if (value instanceof DictView) return dictSize(value.dict);
  if (isDict(value)) return dictSize(value);
  if (value instanceof Loop) return value.items.length;
  return fail(`object of type '${typeName(value)}' has no len()`);
}

/** `needle in haystack`. */
export function contains(run: Run, haystack: Value, needle: Value): boolean {
  if (haystack instanceof SafeText) haystack = haystack.text;
  if (typeof haystack === 'string') {
    if (needle instanceof SafeText) needle = needle.text;
    if (typeof needle !== 'string') fail(`'in <string>' requires string as left operand, not ${typeName(needle)}`);
    spend(run, costOfText(haystack.length));
    return haystack.includes(needle);
  }
  if (isDict(haystack)) return dictHas(haystack, needle);
  if (haystack instanceof DictView && haystack.kind === 'keys') return dictHas(haystack.dict, needle);
  if (haystack instanceof Bytes && needle instanceof Bytes) return Buffer.from(haystack.data).includes(Buffer.from(needle.data));
  if (haystack instanceof Bytes && !isInteger(needle)) fail(`a bytes-like object is required, not '${typeName(needle)}'`);
  if (!isIterable(haystack)) fail(`argument of type '${typeName(haystack)}' is not iterable`);
  const items = itemsOf(run, haystack);
  spend(run, items.length >>> 3);
  return items.some((item) => isEqual(run, item, needle));
}

export function hasSurrogates(text: string): boolean {
  return /[\ud800-\udfff]/.test(text);
}

/** Characters as Python counts them: code points. */
function countCharacters(text: string): number {
  if (!hasSurrogates(text)) return text.length;
  let count = text.length;
  for (let at = 0; at < text.length - 1; at++) if (text.codePointAt(at)! > 0xffff) count--;
  return count;
}

/** A dict key as a Map holds it. Unhashable values fail. */
export function toKey(value: Value): Value {
  if (value instanceof SafeText) return value.text;
  requireHashable(value, { items: 0 });
  return value;
}

function requireHashable(value: Value, count: { items: number }): void {
  if (typeof value !== 'object' || value === null || value instanceof Callable || value instanceof Float) return;
  if (!(value instanceof Tuple)) fail(`unhashable type: '${typeName(value)}'`);
  count.items += value.length;
  if (count.items > MAX_KEY_ITEMS) exceed(`a key of more than ${MAX_KEY_ITEMS} items`);
  value.forEach((item) => requireHashable(plain(item), count));
}

export function dictHas(dict: Dict, key: Value): boolean {
  if (dict instanceof Map) return dict.has(toKey(key));
  const name = toKey(key);
  return typeof name === 'string' && Object.hasOwn(dict, name);
}

export function dictGet(dict: Dict, key: Value): Value {
  if (dict instanceof Map) return dict.get(key instanceof Tuple ? toKey(key) : plain(key));
  const name = plain(key);
  return typeof name === 'string' && Object.hasOwn(dict, name) ? dict[name] : undefined;
}

export function dictSize(dict: Dict): number {
  return dict instanceof Map ? dict.size : Object.keys(dict).length;
}

export function dictKeys(dict: Dict): Value[] {
  return dict instanceof Map ? [...dict.keys()] : Object.keys(dict);
}

export function dictEntries(dict: Dict): [Value, Value][] {
  return dict instanceof Map ? [...dict] : Object.entries(dict);
}

/** The pairs of a dict as tuples. */
export function dictItems(dict: Dict): Tuple[] {
  return dictEntries(dict).map(([key, value]) => Tuple.of(key, value) as Tuple);
}
