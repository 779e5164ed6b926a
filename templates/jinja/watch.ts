/**
 * Operations that notice when a rendering depends on what a text says, and not only on where it is.
 *
 * Most templates print the texts of a conversation as they are. Rendered once with stand-ins for the texts, such a template says
 * what it prints around them in every conversation of the same roles. These operations prove it: each passes a stand-in on only where
 * what it does is the same for every text (printing, joining, asking whether it is defined or empty), and fails otherwise. So a
 * rendering with them either fails or holds for all texts that are not blank, within the conditions it notes.
 */
import { fail } from './errors.js';
import { FILTERS, PLAIN_TEXT_FILTERS } from './filters.js';
import { GLOBALS } from './globals.js';
import { OPERATIONS, type Operations } from './operations.js';
import { TESTS } from './tests.js';
import { Callable, Float, Namespace, Range, SafeText, costOfText, isDict, spend, type Run, type Value } from './values.js';

/** What a stand-in is: a text that no template can know, long enough that few of them fit into `MAX_MADE_LENGTH`. */
export type StandIns = { textOf(index: number): string; isOne(value: Value): boolean; isIn(text: string): boolean };

/** What must be true of the texts for the rendering to hold. They grow with each rendering. */
export type Conditions = {
  /** No text has one of these in it. */
  absent: Set<string>;
  /** No text has white space at its ends. */
  isTrimmed: boolean;
};

/** Longest texts of one conversation, in characters together: work and output stay far below the limits of limits.ts. */
export const MAX_WATCHED_LENGTH = 64 * 1024;
const STAND_IN_LENGTH = 256;
/** Characters of a text made with stand-ins: it holds at most 128 of them, which real texts make at most 8 MB. */
const MAX_MADE_LENGTH = 32 * 1024;

export function makeStandIns(nonce: string): StandIns {
  const textOf = (index: number): string => `\x01${nonce}${String(index).padStart(STAND_IN_LENGTH - nonce.length - 2, '0')}\x02`;
  return {
    textOf,
    isOne: (value) => typeof value === 'string' && value.length === STAND_IN_LENGTH && value.startsWith(`\x01${nonce}`),
    isIn: (text) => text.includes(nonce),
  };
}

export function watchOperations(standIns: StandIns, conditions: Conditions): Operations {
  const isWatched = (value: Value): value is string => typeof value === 'string' && standIns.isIn(value);
  const holds = (value: Value): boolean => holdsWatched(value, isWatched, 0);
  const refuse = (...values: Value[]): void => {
    if (values.some(holds)) fail('the rendering depends on a text');
  };
  const refuseText = (value: Value): void => {
    if (isWatched(value) || value instanceof SafeText) refuse(value);
  };
  /** Pays for what the longest text would cost. */
  const touch = (run: Run, value: Value): void => {
    if (!isWatched(value)) return;
    if (value.length > MAX_MADE_LENGTH) fail('too much text');
    spend(run, costOfText(MAX_WATCHED_LENGTH));
  };
  const lacks = (run: Run, value: Value, part: string): false => {
    touch(run, value);
    conditions.absent.add(part);
    return false;
  };
  /** Whether a filter or test gives the same for every text. */
  const passes = (run: Run, apply: unknown, value: Value, args: Value[]): boolean => {
    touch(run, value);
    if (args.some(holds)) return false;
    if (apply === FILTERS.get('trim') || apply === PLAIN_TEXT_FILTERS.get('trim')) {
      if (!standIns.isOne(value) || args.length > 0) return false;
      return (conditions.isTrimmed = true);
    }
    if (apply === FILTERS.get('length') || apply === FILTERS.get('count')) return typeof value !== 'string' && Array.isArray(value);
    if (apply === FILTERS.get('string')) return typeof value === 'string';
    return SAME_FOR_ALL.has(apply);
  };

  return {
    ...OPERATIONS,
    add: (run, left, right, ...operands) => {
      const areAlike = typeof left === 'string' ? typeof right === 'string' : Array.isArray(left) && Array.isArray(right);
      if (!areAlike) refuse(left, right);
      const made = OPERATIONS.add(run, left, right, ...operands);
      touch(run, made);
      return made;
    },
    attribute: (run, object, ...rest) => {
      refuseText(object);
      return OPERATIONS.attribute(run, object, ...rest);
    },
    binary: (run, operator, left, right, ...operands) => {
      refuse(left, right);
      return OPERATIONS.binary(run, operator, left, right, ...operands);
    },
    call: (run, called, args, keywords, operand) => {
      const isSameForAll = (called instanceof Callable && called.typeName === 'Macro') || called === GLOBALS.get('namespace');
      if (!isSameForAll) refuse(called, args, keywords);
      return OPERATIONS.call(run, called, args, keywords, operand);
    },
    callMethod: (run, value, name, args, keywords, ...operands) => {
      refuse(args, keywords);
      if (!(name === 'get' && isDict(value))) refuse(value);
      return OPERATIONS.callMethod(run, value, name, args, keywords, ...operands);
    },
    callTextMethodOf: (run, value, textMethod, args, keywords, ...operands) => {
      refuse(args, keywords);
      if (standIns.isOne(value) && textMethod.name === 'strip' && args.length === 0 && keywords.size === 0) {
        touch(run, value);
        conditions.isTrimmed = true;
        return value;
      }
      if (standIns.isOne(value) && (textMethod.name === 'startswith' || textMethod.name === 'endswith')) {
        const [part] = args;
        if (args.length === 1 && keywords.size === 0 && typeof part === 'string' && part !== '') return lacks(run, value, part);
      }
      refuse(value);
      return OPERATIONS.callTextMethodOf(run, value, textMethod, args, keywords, ...operands);
    },
    checkText: (run, text) => {
      touch(run, text);
      return OPERATIONS.checkText(run, text);
    },
    dict: (pairs) => {
      refuse(...pairs.map(([key]) => key));
      return OPERATIONS.dict(pairs);
    },
    filter: (run, apply, value, args, keywords) => {
      refuse(keywords);
      if (!passes(run, apply, value, args)) refuse(value, args);
      return OPERATIONS.filter(run, apply, value, args, keywords);
    },
    filterText: (run, change, apply, value) => {
      if (!passes(run, change, value, [])) refuse(value);
      return OPERATIONS.filterText(run, change, apply, value);
    },
    isEqual: (run, left, right) => {
      // A text is no number and not null, whatever it says.
      const [isLeftText, isRightText] = [typeof left === 'string', typeof right === 'string'];
      if (isLeftText === isRightText || left instanceof SafeText || right instanceof SafeText) refuse(left, right);
      else if (isLeftText ? typeof right === 'object' && right !== null : typeof left === 'object' && left !== null) refuse(left, right);
      return OPERATIONS.isEqual(run, left, right);
    },
    isIn: (run, needle, haystack) => {
      refuse(needle);
      if (standIns.isOne(haystack) && typeof needle === 'string' && needle !== '') return lacks(run, haystack, needle);
      if (!isDict(haystack)) refuse(haystack);
      return OPERATIONS.isIn(run, needle, haystack);
    },
    isText: (value, text) => {
      // None is empty.
      if (text !== '') refuse(value);
      return OPERATIONS.isText(value, text);
    },
    item: (run, object, key, operand) => {
      refuseText(object);
      refuse(key);
      return OPERATIONS.item(run, object, key, operand);
    },
    itemsOf: (run, value) => {
      if (!Array.isArray(value)) refuse(value);
      return OPERATIONS.itemsOf(run, value);
    },
    relate: (run, operator, left, right, ...operands) => {
      refuse(left, right);
      return OPERATIONS.relate(run, operator, left, right, ...operands);
    },
    requireText: (value, what) => {
      if (typeof value !== 'string') refuse(value);
      return OPERATIONS.requireText(value, what);
    },
    setAutoescape: () => fail('the rendering depends on a text'),
    sign: (run, operator, value, operand) => {
      refuse(value);
      return OPERATIONS.sign(run, operator, value, operand);
    },
    slice: (run, object, start, stop, step, operand) => {
      refuseText(object);
      refuse(start, stop, step);
      return OPERATIONS.slice(run, object, start, stop, step, operand);
    },
    spread: (run, args, more) => {
      if (!Array.isArray(more)) refuse(more);
      return OPERATIONS.spread(run, args, more);
    },
    spreadKeywords: (run, keywords, more) => {
      refuse(more);
      return OPERATIONS.spreadKeywords(run, keywords, more);
    },
    toKey: (value) => {
      refuse(value);
      return OPERATIONS.toKey(value);
    },
    toText: (run, value) => {
      if (typeof value !== 'string') refuse(value);
      touch(run, value);
      return OPERATIONS.toText(run, value);
    },
    unpack: (run, value, count) => {
      if (!Array.isArray(value)) refuse(value);
      return OPERATIONS.unpack(run, value, count);
    },
  };
}

/** Filters and tests that pass a text on as it is, or ask for its type alone. */
const SAME_FOR_ALL = new Set<unknown>([
  FILTERS.get('default'),
  FILTERS.get('d'),
  ...['defined', 'undefined', 'none', 'boolean', 'true', 'false', 'integer', 'float', 'number', 'string', 'mapping'].map((name) =>
    TESTS.get(name),
  ),
  ...['sequence', 'iterable'].map((name) => TESTS.get(name)),
]);

const MAX_DEPTH = 20;

/** Whether a watched text is in the value, however deep; also true of what cannot be looked into. */
function holdsWatched(value: Value, isWatched: (value: Value) => boolean, depth: number): boolean {
  if (typeof value === 'string') return isWatched(value);
  if (typeof value !== 'object' || value === null) return typeof value === 'function';
  if (value instanceof Float || value instanceof Range) return false;
  if (depth > MAX_DEPTH) return true;
  const inside = (item: Value): boolean => holdsWatched(item, isWatched, depth + 1);
  if (value instanceof SafeText) return isWatched(value.text);
  if (Array.isArray(value)) return value.some(inside);
  if (value instanceof Map) return [...(value as Map<Value, Value>)].some(([key, item]) => inside(key) || inside(item));
  if (value instanceof Namespace) return inside(value.attributes);
  if (value instanceof Callable) return value.typeName === 'Macro' ? false : ![...GLOBALS.values()].includes(value);
  if (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null) return Object.values(value).some(inside);
  return true;
}
