/** Jinja's filters as `transformers` has them: the built-in ones but `random`, and its own `tojson`. */
import { applyBinary, computeNumbers } from './arithmetic.js';
import { findAttribute, getItem } from './access.js';
import { TemplateError, exceed, fail } from './errors.js';
import { bindArguments } from './arguments.js';
import { stripTags, urlEncode, urlize, xmlAttributes } from './htmlFilters.js';
import { compare } from './ordering.js';
import { escapeHtml, toSafe } from './safeText.js';
import { indent, lowerCase, titleCase, truncate, upperCase } from './textFilters.js';
import { fileSize, toFloatValue, toIntegerValue, roundNumber } from './numberFilters.js';
import { prettyPrint } from './prettyPrint.js';
import { toJson, toText } from './printing.js';
import { TESTS } from './tests.js';
import { TEXT_METHODS, capitalize, replace, strip } from './textMethods.js';
import {
  DictView,
  Float,
  Group,
  NO_KEYWORDS,
  OneShot,
  Range,
  SafeText,
  Tuple,
  checkListLength,
  checkText,
  dictItems,
  dictKeys,
  isDict,
  isEqual,
  isNumber,
  isTrue,
  itemsOf,
  lengthOf,
  numeric,
  requireIndex,
  requireText,
  spend,
  toKey,
  typeName,
  type Keywords,
  type Run,
  type Value,
} from './values.js';
import { wordWrap } from './wordWrap.js';

export type Filter = (run: Run, value: Value, args: Value[], keywords: Keywords) => Value;

/**
 * A filter's name, its parameters, and what it does. `run`, the value, then the arguments in the parameters' order, undefined where not
 * given; the first `required` must be. An argument that is given and undefined is an error, as Python mostly has it; it is false for a
 * parameter that ends in `?`, and stays what it is for one that ends in `*`. A filter without a list of parameters takes the arguments as
 * they are.
 */
type BoundFilter = (run: Run, value: Value, ...args: Value[]) => Value;
const bound = (name: string, parameters: string[], apply: BoundFilter, required = 0): [string, Filter] => {
  const names = parameters.map((parameter) => parameter.replace(/[?*]$/, ''));
  return [
    name,
    (run, value, args, keywords) => {
      if (args.length === 0 && keywords.size === 0 && required === 0) return apply(run, value);
      // What is not given is a hole, which `map` passes over.
      const given = bindArguments(name, names, args, keywords).map((argument, index) => {
        if (argument !== undefined || parameters[index]!.endsWith('*')) return argument;
        return parameters[index]!.endsWith('?') ? false : fail(`the argument ${names[index]} of ${name} is undefined`);
      });
      for (let index = args.length; index < required; index++)
        if (!keywords.has(names[index]!)) fail(`${name} lacks an argument: ${names[index]}`);
      return apply(run, value, ...given);
    },
  ];
};
/** A filter that is a generator in Python. */
const lazily =
  <Args extends Value[]>(apply: (run: Run, value: Value, ...args: Args) => Value[]) =>
  (run: Run, value: Value, ...args: Args): Value =>
    new OneShot(() => apply(run, value, ...args));
const selecting = (selection: Selection): Filter =>
  lazily((run, value, args: Value[], keywords: Keywords) => select(run, value, args, keywords, selection));
/** A filter on text that gives text: a safe string stays one. Most filters take any value for the text it prints as. */
type TextFilter = (run: Run, text: string, ...args: Value[]) => string;
const onText = (name: string, parameters: string[], apply: TextFilter, takesAny = true): [string, Filter] =>
  bound(name, parameters, (run, value, ...args) => {
    const text = checkText(run, apply(run, takesAny ? toText(run, value) : requireText(value, `the value of ${name}`), ...args));
    return value instanceof SafeText ? new SafeText(text) : text;
  });

export const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  bound('abs', [], (_run, value) => absolute(value)),
  bound(
    'attr',
    ['name'],
    (run, value, name) => (value === undefined ? fail('the value of attr is undefined') : findAttribute(value, toText(run, name))),
    1,
  ),
  bound('batch', ['linecount', 'fill_with'], lazily(batch), 1),
  onText('capitalize', [], (_run, text) => capitalize(text)),
  onText('center', ['width'], (run, text, width = 80) => TEXT_METHODS.get('center')!.call(text, [width], NO_KEYWORDS, run) as string),
  bound('count', [], (_run, value) => lengthOf(value)),
  ['d', orDefault],
  ['default', orDefault],
  bound('dictsort', ['case_sensitive?', 'by', 'reverse'], dictSort),
  bound('e', [], escape),
  bound('escape', [], escape),
  bound('forceescape', [], (run, value) => new SafeText(checkText(run, escapeHtml(toText(run, value))))),
  bound('first', [], (run, value) => (value instanceof OneShot ? value.takeFirst() : itemsOf(run, value)[0])),
  bound('float', ['default*'], (_run, value, ...given) => toFloatValue(value, given.length === 1 ? given[0] : new Float(0))),
  bound('filesizeformat', ['binary?'], (_run, value, binary) => fileSize(value, isTrue(binary))),
  ['format', format],
  bound('groupby', ['attribute', 'default*', 'case_sensitive?'], groupBy, 1),
  onText('indent', ['width', 'first?', 'blank?'], indent, false),
  bound('int', ['default*', 'base*'], (_run, value, ...given) =>
    // An undefined default is a default all the same.
    toIntegerValue(value, given.length === 1 ? given[0] : (given[0] ?? 0), given[1]),
  ),
  bound('items', [], lazily(items)),
  bound('join', ['d*', 'attribute'], join),
  bound('last', [], last),
  bound('length', [], (_run, value) => lengthOf(value)),
  bound('list', [], copyItems),
  onText('lower', [], (_run, text) => lowerCase(text)),
  ['map', lazily(map)],
  bound('max', ['case_sensitive?', 'attribute'], (run, value, caseSensitive, attribute) =>
    extreme(run, '>', value, caseSensitive, attribute),
  ),
  bound('min', ['case_sensitive?', 'attribute'], (run, value, caseSensitive, attribute) =>
    extreme(run, '<', value, caseSensitive, attribute),
  ),
  bound('pprint', [], (run, value) => prettyPrint(run, value)),
  [
    'random',
    () => {
      throw new TemplateError('TEMPLATE_UNSUPPORTED', "the filter 'random' is not available; a rendering must be repeatable");
    },
  ],
  ['reject', selecting({ byAttribute: false, keep: false })],
  ['rejectattr', selecting({ byAttribute: true, keep: false })],
  bound('replace', ['old*', 'new*', 'count'], replaceText, 2),
  bound('reverse', [], reverse),
  bound('round', ['precision', 'method'], (_run, value, precision, method) => roundNumber(value, precision, method)),
  bound('safe', [], (run, value) => new SafeText(toText(run, value))),
  ['select', selecting({ byAttribute: false, keep: true })],
  ['selectattr', selecting({ byAttribute: true, keep: true })],
  bound('slice', ['slices', 'fill_with'], lazily(slices), 1),
  bound('sort', ['reverse', 'case_sensitive?', 'attribute'], sort),
  onText('string', [], (_run, text) => text),
  bound('striptags', [], stripTags),
  bound('sum', ['attribute', 'start'], sum),
  bound('title', [], (run, value) => checkText(run, titleCase(toText(run, value)))),
  bound('tojson', ['ensure_ascii?', 'indent', 'separators', 'sort_keys?'], json),
  onText('trim', ['chars'], (_run, text, chars) => strip(text, chars, true, true)),
  bound('truncate', ['length', 'killwords?', 'end', 'leeway'], cutShort),
  bound('unique', ['case_sensitive?', 'attribute'], lazily(unique)),
  onText('upper', [], (_run, text) => upperCase(text)),
  bound('wordcount', [], (run, value) => (toText(run, value).match(/[\p{L}\p{N}_]+/gu) ?? []).length),
  bound('urlencode', [], urlEncode),
  bound('urlize', ['trim_url_limit', 'nofollow?', 'target*', 'rel*', 'extra_schemes*'], urlize),
  bound('wordwrap', ['width', 'break_long_words?', 'wrapstring', 'break_on_hyphens?'], wordWrap),
  bound('xmlattr', ['autospace?'], xmlAttributes),
]);

/** What the filters that templates use most do to a string when they have no arguments: generated code calls them without a detour. */
export const PLAIN_TEXT_FILTERS: ReadonlyMap<string, (text: string) => string> = new Map([
  ['lower', lowerCase],
  ['trim', (text: string): string => strip(text, undefined, true, true)],
  ['upper', upperCase],
]);

/** The filter of a name that a template computed, as `map` takes it. */
function findFilter(run: Run, name: Value): Filter {
  const filter = typeof name === 'string' ? FILTERS.get(name) : undefined;
  return filter ?? fail(`No filter named '${toText(run, name)}'.`);
}

function absolute(value: Value): Value {
  if (!isNumber(value)) fail(`bad operand type for abs(): '${typeName(value)}'`);
  return computeNumbers(numeric(value) < 0 ? '-' : '+', 0, value);
}

function orDefault(_run: Run, value: Value, args: Value[], keywords: Keywords): Value {
  const [otherwise = '', boolean = false] = bindArguments('default', ['default_value', 'boolean'], args, keywords);
  // An undefined default is a default all the same.
  const given = args.length > 0 || keywords.has('default_value') ? (args.length > 0 ? args[0] : keywords.get('default_value')) : otherwise;
  return value === undefined || (isTrue(boolean) && !isTrue(value)) ? given : value;
}

/** What is no text is left as it is when it is short enough. */
function cutShort(run: Run, value: Value, length: Value = 255, killWords?: Value, end?: Value, leeway: Value = 5): Value {
  if (value instanceof SafeText) return new SafeText(truncate(run, value.text, length, killWords, end, leeway, toSafe));
  if (typeof value === 'string') return truncate(run, value, length, killWords, end, leeway);
  return lengthOf(value) <= requireIndex(length) + requireIndex(leeway) ? value : fail(`'${typeName(value)}' cannot be cut short`);
}

function escape(run: Run, value: Value): Value {
  return value instanceof SafeText ? value : new SafeText(checkText(run, escapeHtml(toText(run, value))));
}

function copyItems(run: Run, value: Value): Value[] {
  const list = itemsOf(run, value);
  checkListLength(run, list.length);
  return list.slice();
}

function items(run: Run, value: Value): Value[] {
  if (value === undefined) return [];
  if (!isDict(value)) fail('Can only get item pairs from a mapping.');
  spend(run, 1);
  return dictItems(value);
}

function last(run: Run, value: Value): Value {
  if (isDict(value)) return dictKeys(value).at(-1);
  if (value === undefined) return undefined;
  requireReversible(value);
  return itemsOf(run, value).at(-1);
}

function requireReversible(value: Value): void {
  const isText = typeof value === 'string' || value instanceof SafeText;
  if (!(isText || Array.isArray(value) || value instanceof Range || value instanceof DictView || isDict(value))) {
    fail(`'${typeName(value)}' object is not reversible`);
  }
}

function reverse(run: Run, value: Value): Value {
  const list = itemsOf(run, value);
  spend(run, list.length >>> 3);
  const reversed = list.slice().reverse();
  if (typeof value === 'string') return reversed.join('');
  if (value instanceof SafeText) return new SafeText(reversed.join(''));
  return value instanceof OneShot ? reversed : new OneShot(() => reversed, 'list_reverseiterator');
}

function format(run: Run, value: Value, args: Value[], keywords: Keywords): Value {
  if (args.length > 0 && keywords.size > 0) fail("can't handle positional and keyword arguments at the same time");
  const text = value instanceof SafeText ? value : toText(run, value);
  return applyBinary(run, '%', text, keywords.size > 0 ? new Map(keywords) : Tuple.from(args));
}

/** Where what is printed is escaped, one safe string makes the result safe. */
function join(run: Run, value: Value, separator: Value = '', attribute?: Value): Value {
  const list = itemsOf(run, value);
  spend(run, list.length >>> 3);
  const read = attributeReader(run, attribute);
  const items = list.map((item) => read(item));
  if (run.autoescape && (separator instanceof SafeText || items.some((item) => item instanceof SafeText))) {
    return new SafeText(checkText(run, items.map((item) => toSafe(run, item)).join(toSafe(run, separator))));
  }
  return checkText(run, items.map((item) => toText(run, item)).join(toText(run, separator)));
}

function replaceText(run: Run, value: Value, old: Value, next: Value, count?: Value): Value {
  const isSafe = [value, old, next].some((text) => text instanceof SafeText);
  if (!run.autoescape || !isSafe) return replace(run, toText(run, value), toText(run, old), toText(run, next), count ?? -1);
  return new SafeText(replace(run, toSafe(run, value), toText(run, old), toSafe(run, next), count ?? -1));
}

/** Jinja's `attribute` argument: `'a.b'`, `0`, or nothing for the item itself. */
function attributeReader(run: Run, attribute: Value, otherwise?: Value): (item: Value) => Value {
  if (attribute === undefined || attribute === null) return (item) => item;
  const path = typeof attribute === 'string' ? attribute.split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part)) : [attribute];
  return (item) => {
    let value = item;
    for (const key of path) {
      if (value === undefined) fail(`undefined has no attribute '${toText(run, key)}'`);
      value = getItem(value, key);
      if (value === undefined && otherwise !== undefined && otherwise !== null) value = otherwise;
    }
    return value;
  };
}

function foldCase(value: Value): Value {
  return typeof value === 'string' ? value.toLowerCase() : value;
}

function map(run: Run, value: Value, args: Value[], keywords: Keywords): Value[] {
  if (!isTrue(value)) return [];
  const list = itemsOf(run, value);
  spend(run, list.length);
  if (args.length === 0 && keywords.has('attribute')) {
    const unknown = [...keywords.keys()].find((name) => name !== 'attribute' && name !== 'default');
    if (unknown !== undefined) fail(`Unexpected keyword argument '${unknown}'`);
    const attribute = keywords.get('attribute');
    if (attribute === undefined) fail('the argument attribute of map is undefined');
    return list.map(attributeReader(run, attribute, keywords.get('default')));
  }
  if (args.length === 0) fail('map requires a filter argument');
  const filter = findFilter(run, args[0]);
  const rest = args.slice(1);
  return list.map((item) => filter(run, item, rest, keywords));
}

type Selection = { byAttribute: boolean; keep: boolean };

function select(run: Run, value: Value, args: Value[], keywords: Keywords, { byAttribute, keep }: Selection): Value[] {
  if (!isTrue(value)) return [];
  const rest = args.slice();
  if (byAttribute && rest[0] === undefined) fail('Missing parameter for attribute name');
  const read = attributeReader(run, byAttribute ? rest.shift() : undefined);
  const list = itemsOf(run, value);
  spend(run, list.length);
  if (rest.length === 0) return list.filter((item) => isTrue(read(item)) === keep);
  const name = rest.shift();
  const test = typeof name === 'string' ? TESTS.get(name) : undefined;
  if (!test) fail(`No test named '${toText(run, name)}'.`);
  return list.filter((item) => isTrue(test(run, read(item), rest, keywords)) === keep);
}

/** Sorts stably by keys, in Python's way for `reverse`: equal items keep their order. */
function sortBy(run: Run, list: Value[], keysOf: (item: Value) => Value[], descending: boolean): Value[] {
  checkListLength(run, list.length);
  spend(run, list.length);
  const keyed = list.map((item) => ({ item, keys: keysOf(item) }));
  keyed.sort((a, b) => {
    for (let index = 0; index < a.keys.length; index++) {
      const [left, right] = [a.keys[index], b.keys[index]];
      if (isEqual(run, left, right)) continue;
      return compare(run, '<', left, right) !== descending ? -1 : 1;
    }
    return 0;
  });
  return keyed.map(({ item }) => item);
}

function sort(run: Run, value: Value, descending: Value = false, caseSensitive: Value = false, attribute?: Value): Value[] {
  const attributes = typeof attribute === 'string' ? attribute.split(',') : [attribute];
  const readers = attributes.map((name) => attributeReader(run, name));
  const fold = isTrue(caseSensitive) ? (key: Value): Value => key : foldCase;
  return sortBy(run, itemsOf(run, value), (item) => readers.map((read) => fold(read(item))), isTrue(descending));
}

function dictSort(run: Run, value: Value, caseSensitive: Value = false, by: Value = 'key', descending: Value = false): Value[] {
  if (by !== 'key' && by !== 'value') fail('You can only sort by either "key" or "value"');
  if (!isDict(value)) fail(`'${typeName(value)}' object has no attribute 'items'`);
  const fold = isTrue(caseSensitive) ? (key: Value): Value => key : foldCase;
  return sortBy(run, dictItems(value), (pair) => [fold((pair as Tuple)[by === 'key' ? 0 : 1])], isTrue(descending));
}

function unique(run: Run, value: Value, caseSensitive: Value = false, attribute?: Value): Value[] {
  const read = attributeReader(run, attribute);
  const seen: Value[] = [];
  return itemsOf(run, value).filter((item) => {
    const key = toKey(isTrue(caseSensitive) ? read(item) : foldCase(read(item)));
    spend(run, 1 + (seen.length >>> 3));
    if (seen.some((other) => isEqual(run, other, key))) return false;
    seen.push(key);
    return true;
  });
}

function extreme(run: Run, operator: '<' | '>', value: Value, caseSensitive: Value = false, attribute?: Value): Value {
  const read = attributeReader(run, attribute);
  const keyOf = (item: Value): Value => (isTrue(caseSensitive) ? read(item) : foldCase(read(item)));
  const list = itemsOf(run, value);
  spend(run, list.length >>> 3);
  if (list.length === 0) return undefined;
  const [first, ...rest] = list.map((item) => ({ item, key: keyOf(item) }));
  return rest.reduce((best, next) => (compare(run, operator, next.key, best.key) ? next : best), first!).item;
}

function sum(run: Run, value: Value, attribute?: Value, start: Value = 0): Value {
  const read = attributeReader(run, attribute);
  if (typeof start === 'string') fail("sum() can't sum strings [use ''.join(seq) instead]");
  const list = itemsOf(run, value);
  spend(run, list.length);
  return list.reduce((total, item) => applyBinary(run, '+', total, read(item)), start);
}

function groupBy(run: Run, value: Value, attribute?: Value, otherwise?: Value, caseSensitive: Value = false): Value[] {
  const read = attributeReader(run, attribute, otherwise);
  const keyOf = (item: Value): Value => (isTrue(caseSensitive) ? read(item) : foldCase(read(item)));
  const groups: Value[][] = [];
  const list = itemsOf(run, value);
  if (list.length > 1 && list.some((item) => keyOf(item) === undefined)) fail('an undefined value has no order');
  for (const item of sortBy(run, list, (each) => [keyOf(each)], false)) {
    const open = groups.at(-1);
    if (open && isEqual(run, keyOf(open[0]), keyOf(item))) open.push(item);
    else groups.push([item]);
  }
  return groups.map((group) => Group.of(isTrue(caseSensitive) ? keyOf(group[0]) : read(group[0]), group));
}

function batch(run: Run, value: Value, size?: Value, filler?: Value): Value[] {
  const width = requireIndex(size);
  if (width < 1) exceed('batch needs a size of at least 1');
  const list = itemsOf(run, value);
  checkListLength(run, list.length + width);
  const rows: Value[][] = [];
  for (let at = 0; at < list.length; at += width) rows.push(list.slice(at, at + width));
  const lastRow = rows.at(-1);
  if (lastRow && filler !== undefined && filler !== null) while (lastRow.length < width) lastRow.push(filler);
  return rows;
}

function slices(run: Run, value: Value, count?: Value, filler?: Value): Value[] {
  const columns = requireIndex(count);
  if (columns < 1) fail('integer division or modulo by zero');
  const list = itemsOf(run, value);
  checkListLength(run, list.length + columns);
  const size = Math.floor(list.length / columns);
  const longer = list.length % columns;
  let at = 0;
  return Array.from({ length: columns }, (_, column) => {
    const slice = list.slice(at, (at += size + (column < longer ? 1 : 0)));
    if (filler !== undefined && filler !== null && column >= longer) slice.push(filler);
    return slice;
  });
}

/** The `tojson` of `transformers`: plain `json.dumps`, nothing escaped for HTML. */
function json(
  run: Run,
  value: Value,
  ensureAscii: Value = false,
  indentation?: Value,
  separators?: Value,
  sortKeys: Value = false,
): string {
  const spaces = indentation === undefined || indentation === null ? undefined : indentText(indentation);
  const pair = separators === undefined || separators === null ? undefined : itemsOf(run, separators);
  if (pair && (pair.length !== 2 || !pair.every((part) => typeof part === 'string'))) fail('separators must be two strings');
  const [itemSeparator, keySeparator] = (pair ?? [spaces === undefined ? ', ' : ',', ': ']) as [string, string];
  const options = { ensureAscii: isTrue(ensureAscii), indent: spaces, itemSeparator, keySeparator, sortKeys: isTrue(sortKeys) };
  return checkText(run, toJson(run, value, options));
}

function indentText(indentation: Value): string {
  if (typeof indentation === 'string')
    return indentation.length <= 100 ? indentation : exceed('an indentation of more than 100 characters');
  const width = requireIndex(indentation);
  return width <= 100 ? ' '.repeat(Math.max(0, width)) : exceed('an indentation of more than 100 characters');
}
