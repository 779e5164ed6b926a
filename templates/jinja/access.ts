/**
 * `object.name`, `object[key]` and `object[a:b:c]` with the meaning they have in Jinja's immutable sandbox: a dot looks for a method first
 * and then for a key, brackets the other way round; what is not there is undefined; what would change a list or a dict cannot be called.
 */
import { bytesMethod } from './bytes.js';
import { TemplateError, fail } from './errors.js';
import { formatBraces } from './formatting.js';
import { toRepr } from './printing.js';
import { markSafe, toSafe } from './safeText.js';
import { TEXT_METHODS, callTextMethod, joinTexts } from './textMethods.js';
import {
  Blocks,
  Bytes,
  Callable,
  Cycler,
  DictView,
  Group,
  Loop,
  Namespace,
  Range,
  SafeText,
  Tuple,
  checkListLength,
  checkTextLength,
  dictEntries,
  dictGet,
  dictHas,
  hasSurrogates,
  isDict,
  isEqual,
  isInteger,
  isNumber,
  itemsOf,
  lengthOf,
  plain,
  requireIndex,
  toFloat,
  toKey,
  typeName,
  type Dict,
  type Keywords,
  type Run,
  type Value,
} from './values.js';

type ListMethod = (list: Value[], args: Value[], run: Run) => Value;
type DictMethod = (dict: Dict, args: Value[]) => Value;

const LIST_METHODS: ReadonlyMap<string, ListMethod> = new Map<string, ListMethod>([
  ['index', (list, args, run) => indexIn(run, list, args)],
  ['count', (list, [item], run) => list.filter((other) => isEqual(run, other, item)).length],
  ['copy', (list, _args, run) => (checkListLength(run, list.length), list.slice())],
]);

const DICT_METHODS: ReadonlyMap<string, DictMethod> = new Map<string, DictMethod>([
  // An undefined value is a value to give all the same.
  ['get', (dict, args) => (toKey(args[0]), dictHas(dict, args[0]) ? dictGet(dict, args[0]) : args.length > 1 ? args[1] : null)],
  ['keys', (dict) => new DictView('keys', dict)],
  ['values', (dict) => new DictView('values', dict)],
  ['items', (dict) => new DictView('items', dict)],
  ['copy', (dict) => dict],
]);

/** Fewest and most arguments of those; the others take none. */
const ARGUMENT_COUNTS: Record<string, [least: number, most: number]> = { index: [1, 3], count: [1, 1], get: [1, 2] };

function checkCount(method: string, args: Value[]): Value[] {
  const [least, most] = ARGUMENT_COUNTS[method] ?? [0, 0];
  if (args.length < least || args.length > most) fail(`${method}() does not take ${args.length} arguments`);
  return args;
}

const CHANGES_LIST = new Set(['append', 'clear', 'extend', 'insert', 'pop', 'remove', 'reverse', 'sort']);
const CHANGES_DICT = new Set(['clear', 'pop', 'popitem', 'setdefault', 'update']);

/** Whether a method would change its list or dict. The sandbox hides those: they are undefined, also where a dict has such a key. */
export function isChanging(object: Value, name: string): boolean {
  if (Array.isArray(object)) return !(object instanceof Tuple) && CHANGES_LIST.has(name);
  return isDict(object) && CHANGES_DICT.has(name);
}

/** `object.name`. Undefined when there is no such thing; an undefined object is the caller's to refuse. */
export function getAttribute(object: Value, name: string): Value {
  const attribute = findAttribute(object, name);
  if (attribute !== undefined) return attribute;
  return isDict(object) && !CHANGES_DICT.has(name) ? dictGet(object, name) : undefined;
}

/** `object[key]`. */
export function getItem(object: Value, key: Value): Value {
  if (key instanceof SafeText) return getItem(object, key.text);
  if (object instanceof SafeText && typeof key !== 'string') return markSafe(getItem(object.text, key));
  if (typeof key === 'string') {
    if (isDict(object) && dictHas(object, key)) return dictGet(object, key);
    return findAttribute(object, key);
  }
  if (isInteger(key)) {
    const index = Number(key);
    if (Array.isArray(object)) return object[index < 0 ? object.length + index : index];
    if (typeof object === 'string') {
      const units = hasSurrogates(object) ? [...object] : object;
      return units[index < 0 ? units.length + index : index];
    }
    if (object instanceof Range) {
      const position = index < 0 ? object.length + index : index;
      return position >= 0 && position < object.length ? object.at(position) : undefined;
    }
    if (object instanceof Bytes) return object.data[index < 0 ? object.data.length + index : index];
    if (object instanceof Cycler) return undefined;
  }
  return isDict(object) ? dictGet(object, key) : undefined;
}

/** `object[start:stop:step]` of a string, list, tuple or range. */
export function getSlice(run: Run, object: Value, start: Value, stop: Value, step: Value): Value {
  if (object instanceof SafeText) return markSafe(getSlice(run, object.text, start, stop, step));
  if (object instanceof Bytes) return new Bytes(Uint8Array.from(getSlice(run, [...object.data], start, stop, step) as number[]));
  const isText = typeof object === 'string';
  if (!isText && !Array.isArray(object) && !(object instanceof Range)) {
    if (isDict(object)) fail("unhashable type: 'slice'");
    fail(`'${typeName(object)}' object is not subscriptable`);
  }
  const stride = (step ?? null) === null ? 1 : sliceIndex(step);
  if (stride === 0) fail('slice step cannot be zero');
  if (isText && stride === 1 && !hasSurrogates(object)) {
    const [from, to] = sliceBounds(object.length, start, stop, 1);
    return object.slice(from, Math.max(from, to));
  }
  if (object instanceof Range) {
    const [first, end] = sliceBounds(object.length, start, stop, stride);
    return new Range(object.at(first), object.at(end), object.step * stride);
  }
  if (isText) checkTextLength(run, object.length);
  const items: Value[] = isText ? [...object] : object;
  const [from, to] = sliceBounds(items.length, start, stop, stride);
  const picked: Value[] = stride === 1 ? items.slice(from, Math.max(from, to)) : [];
  if (stride !== 1) for (let index = from; stride > 0 ? index < to : index > to; index += stride) picked.push(items[index]);
  checkListLength(run, picked.length);
  if (isText) return picked.join('');
  return object instanceof Tuple ? Tuple.from(picked) : picked;
}

function sliceIndex(value: Value): number {
  if (!isInteger(value)) fail('slice indices must be integers or None or have an __index__ method');
  return Number(value);
}

function sliceBounds(length: number, start: Value, stop: Value, stride: number): [from: number, to: number] {
  const low = stride < 0 ? -1 : 0;
  const high = stride < 0 ? length - 1 : length;
  const bound = (value: Value, otherwise: number): number => {
    if ((value ?? null) === null) return otherwise;
    const index = sliceIndex(value);
    return Math.min(Math.max(index < 0 ? index + length : index, low), high);
  };
  return stride < 0 ? [bound(start, high), bound(stop, -1)] : [bound(start, 0), bound(stop, length)];
}

/** What Python's `getattr` finds, methods bound to their object. */
export function findAttribute(object: Value, name: string): Value {
  if (typeof object === 'string') return textMethod(object, name);
  if (object instanceof SafeText) return safeMethod(object.text, name);
  if (object instanceof Bytes) return bytesMethod(object, name);
  if (object instanceof Namespace) return name.startsWith('_') ? undefined : object.attributes.get(name);
  if (object instanceof Group && (name === 'grouper' || name === 'list')) return object[name === 'grouper' ? 0 : 1];
  if (Array.isArray(object)) {
    if (object instanceof Tuple && name === 'copy') return undefined;
    const method = LIST_METHODS.get(name);
    return method && new Callable(name, 'builtin_function_or_method', (run, args) => method(object, checkCount(name, args), run));
  }
  if (object instanceof Loop) return loopAttribute(object, name);
  if (object instanceof Callable) return Object.hasOwn(object.attributes, name) ? object.attributes[name] : undefined;
  if (object instanceof Cycler) return cyclerAttribute(object, name);
  if (object instanceof Blocks) return object.byName.get(name);
  if (isDict(object)) {
    const method = DICT_METHODS.get(name);
    return method && new Callable(name, 'builtin_function_or_method', (_run, args) => method(object, checkCount(name, args)));
  }
  if (object instanceof Range) return name === 'start' || name === 'stop' || name === 'step' ? object[name] : undefined;
  if (isNumber(object)) return numberAttribute(object, name);
  return undefined;
}

/** Methods of a string that lead out of text. They are there, as in Python, and cannot be called. */
const OTHER_TEXT_METHODS = new Set(['maketrans', 'translate']);

function textMethod(text: string, name: string): Callable | undefined {
  const access = { getAttribute, getItem };
  if (name === 'format') {
    return new Callable(name, 'function', (run, args, keywords) => formatBraces(run, text, args, keywords, access));
  }
  if (name === 'format_map') {
    return new Callable(name, 'function', (run, [values]) => formatBraces(run, text, [], toKeywords(values), access));
  }
  if (OTHER_TEXT_METHODS.has(name)) {
    return new Callable(name, 'builtin_function_or_method', () => {
      throw new TemplateError('TEMPLATE_UNSUPPORTED', `the method '${name}' of a string is not available in chat templates`);
    });
  }
  const method = TEXT_METHODS.get(name);
  return (
    method && new Callable(name, 'builtin_function_or_method', (run, args, keywords) => callTextMethod(method, text, args, keywords, run))
  );
}

function toKeywords(values: Value): Keywords {
  if (!isDict(values)) fail(`format_map() needs a mapping, not ${typeName(values)}`);
  return new Map(dictEntries(values).filter((entry): entry is [string, Value] => typeof entry[0] === 'string'));
}

function safeMethod(text: string, name: string): Callable | undefined {
  const method = textMethod(text, name);
  return (
    method &&
    new Callable(name, method.typeName, (run, args, keywords) => {
      if (name === 'join')
        return new SafeText(
          joinTexts(
            run,
            text,
            itemsOf(run, args[0]).map((item) => toSafe(run, item)),
          ),
        );
      if (name === 'replace') return markSafe(method.invoke(run, [args[0], toSafe(run, args[1]), ...args.slice(2)], keywords));
      return markSafe(method.invoke(run, args.map(plain), keywords));
    })
  );
}

function loopAttribute(loop: Loop, name: string): Value {
  const { items, index0 } = loop;
  switch (name) {
    case 'index0':
      return index0;
    case 'index':
      return index0 + 1;
    case 'revindex0':
      return items.length - index0 - 1;
    case 'revindex':
      return items.length - index0;
    case 'first':
      return index0 === 0;
    case 'last':
      return index0 === items.length - 1;
    case 'length':
      return items.length;
    case 'depth0':
      return loop.depth0;
    case 'depth':
      return loop.depth0 + 1;
    case 'previtem':
      return index0 > 0 ? items[index0 - 1] : undefined;
    case 'nextitem':
      return items[index0 + 1];
    case 'cycle':
      return new Callable(name, 'builtin_function_or_method', (_run, args) =>
        args.length === 0 ? fail('no items for cycling given') : args[loop.index0 % args.length],
      );
    case 'changed':
      return new Callable(name, 'builtin_function_or_method', (run, args) => {
        const changed = !loop.lastChange || !isEqual(run, loop.lastChange, args);
        loop.lastChange = args;
        return changed;
      });
    default:
      return undefined;
  }
}

function cyclerAttribute(cycler: Cycler, name: string): Value {
  const call = (step: () => Value): Callable => new Callable(name, 'builtin_function_or_method', step);
  if (name === 'current') return cycler.items[cycler.position];
  if (name === 'reset') return call(() => ((cycler.position = 0), null));
  if (name !== 'next') return undefined;
  return call(() => {
    const item = cycler.items[cycler.position];
    cycler.position = (cycler.position + 1) % cycler.items.length;
    return item;
  });
}

function numberAttribute(value: Value, name: string): Value {
  if (name === 'real') return value;
  if (name === 'imag') return isInteger(value) ? 0 : toFloat(0);
  if (name === 'is_integer' && !isInteger(value)) {
    return new Callable(name, 'builtin_function_or_method', () => typeof value === 'object');
  }
  if (name === 'bit_length' && isInteger(value)) {
    return new Callable(name, 'builtin_function_or_method', () => {
      const size = BigInt(value);
      return size === 0n ? 0 : (size < 0n ? -size : size).toString(2).length;
    });
  }
  return undefined;
}

function indexIn(run: Run, list: Value[], [item, start = 0, stop = list.length]: Value[]): number {
  const [from, to] = sliceBounds(lengthOf(list), requireIndex(start), requireIndex(stop), 1);
  for (let index = from; index < to; index++) if (isEqual(run, list[index], item)) return index;
  return fail(`${toRepr(run, item)} is not in list`);
}
