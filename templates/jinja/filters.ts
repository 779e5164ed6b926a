/** Jinja's filters as `transformers` has them: the built-in ones that make sense in a chat template, and its own `tojson`. */
import { applyBinary, computeNumbers } from './arithmetic.js';
import { findAttribute, getItem } from './access.js';
import { TemplateError, exceed, fail } from './errors.js';
import { formatPercent } from './formatting.js';
import { bindArguments } from './arguments.js';
import { escapeHtml, indent, titleCase, truncate } from './textFilters.js';
import { toFloatValue, toIntegerValue, roundNumber } from './numberFilters.js';
import { toJson, toText } from './printing.js';
import { TESTS } from './tests.js';
import { TEXT_METHODS, capitalize, replace, strip } from './textMethods.js';
import {
  DictView,
  Group,
  OneShot,
  Range,
  Tuple,
  checkListLength,
  checkText,
  compare,
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
  spend,
  typeName,
  type Keywords,
  type Run,
  type Value,
} from './values.js';

export type Filter = (run: Run, value: Value, args: Value[], keywords: Keywords) => Value;

export const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ['abs', (_run, value) => absolute(value)],
  ['attr', (_run, value, [name]) => findAttribute(value, String(name))],
  ['batch', (run, value, args, keywords) => batch(run, value, ...bindArguments('batch', ['linecount', 'fill_with'], args, keywords))],
  ['capitalize', (run, value) => checkText(run, capitalize(toText(value)))],
  ['center', (run, value, args, keywords) => center(run, value, ...bindArguments('center', ['width'], args, keywords))],
  ['count', (_run, value) => lengthOf(value)],
  ['d', (_run, value, args, keywords) => orDefault(value, args, keywords)],
  ['default', (_run, value, args, keywords) => orDefault(value, args, keywords)],
  ['dictsort', dictSort],
  ['e', (run, value) => checkText(run, escapeHtml(toText(value)))],
  ['escape', (run, value) => checkText(run, escapeHtml(toText(value)))],
  ['forceescape', (run, value) => checkText(run, escapeHtml(toText(value)))],
  ['first', (run, value) => (value instanceof OneShot ? value.takeFirst() : itemsOf(run, value)[0])],
  ['float', (_run, value, args, keywords) => toFloatValue(value, ...bindArguments('float', ['default'], args, keywords))],
  ['format', format],
  ['groupby', groupBy],
  ['indent', (run, value, args, keywords) => indent(run, toText(value), ...bindArguments('indent', ['width', 'first', 'blank'], args, keywords))],
  ['int', (_run, value, args, keywords) => toIntegerValue(value, ...bindArguments('int', ['default', 'base'], args, keywords))],
  ['items', items],
  ['join', join],
  ['last', last],
  ['length', (_run, value) => lengthOf(value)],
  ['list', (run, value) => copyItems(run, value)],
  ['lower', (run, value) => checkText(run, toText(value).toLowerCase())],
  ['map', map],
  ['max', (run, value, args, keywords) => extreme(run, '>', value, bindArguments('max', ['case_sensitive', 'attribute'], args, keywords))],
  ['min', (run, value, args, keywords) => extreme(run, '<', value, bindArguments('min', ['case_sensitive', 'attribute'], args, keywords))],
  ['reject', (run, value, args, keywords) => select(run, value, args, keywords, { byAttribute: false, keep: false })],
  ['rejectattr', (run, value, args, keywords) => select(run, value, args, keywords, { byAttribute: true, keep: false })],
  ['replace', replaceText],
  ['reverse', reverse],
  ['round', (_run, value, args, keywords) => roundNumber(value, ...bindArguments('round', ['precision', 'method'], args, keywords))],
  ['safe', (_run, value) => toText(value)],
  ['select', (run, value, args, keywords) => select(run, value, args, keywords, { byAttribute: false, keep: true })],
  ['selectattr', (run, value, args, keywords) => select(run, value, args, keywords, { byAttribute: true, keep: true })],
  ['slice', (run, value, args, keywords) => slices(run, value, ...bindArguments('slice', ['slices', 'fill_with'], args, keywords))],
  ['sort', sort],
  ['string', (run, value) => checkText(run, toText(value))],
  ['sum', sum],
  ['title', (run, value) => checkText(run, titleCase(toText(value)))],
  ['tojson', json],
  ['trim', (run, value, args, keywords) => trim(run, value, ...bindArguments('trim', ['chars'], args, keywords))],
  [
    'truncate',
    (run, value, args, keywords) =>
      truncate(run, toText(value), ...bindArguments('truncate', ['length', 'killwords', 'end', 'leeway'], args, keywords)),
  ],
  ['unique', unique],
  ['upper', (run, value) => checkText(run, toText(value).toUpperCase())],
  ['wordcount', (_run, value) => (toText(value).match(/[\p{L}\p{N}_]+/gu) ?? []).length],
  ...['filesizeformat', 'pprint', 'random', 'striptags', 'urlencode', 'urlize', 'wordwrap', 'xmlattr'].map(
    (name): [string, Filter] => [
      name,
      () => {
        throw new TemplateError('TEMPLATE_UNSUPPORTED', `the filter '${name}' is not available in chat templates`);
      },
    ],
  ),
]);

/** The filter of a name that a template computed, as `map` takes it. */
function findFilter(name: Value): Filter {
  const filter = typeof name === 'string' ? FILTERS.get(name) : undefined;
  return filter ?? fail(`No filter named '${toText(name)}'.`);
}

function absolute(value: Value): Value {
  if (!isNumber(value)) fail(`bad operand type for abs(): '${typeName(value)}'`);
  return computeNumbers(numeric(value) < 0 ? '-' : '+', 0, value);
}

function center(run: Run, value: Value, width: Value = 80): Value {
  return TEXT_METHODS.get('center')!(toText(value), [width], new Map(), run);
}

function trim(run: Run, value: Value, chars?: Value): string {
  return checkText(run, strip(toText(value), chars, true, true));
}

function orDefault(value: Value, args: Value[], keywords: Keywords): Value {
  const [otherwise = '', boolean = false] = bindArguments('default', ['default_value', 'boolean'], args, keywords);
  // An undefined default is a default all the same.
  const given = args.length > 0 || keywords.has('default_value') ? (args.length > 0 ? args[0] : keywords.get('default_value')) : otherwise;
  return value === undefined || (isTrue(boolean) && !isTrue(value)) ? given : value;
}

function copyItems(run: Run, value: Value): Value[] {
  const list = itemsOf(run, value);
  checkListLength(run, list.length);
  return list.slice();
}

function items(run: Run, value: Value): Value {
  if (value === undefined) return new OneShot([]);
  if (!isDict(value)) fail('Can only get item pairs from a mapping.');
  spend(run, 1);
  return new OneShot(dictItems(value));
}

function last(run: Run, value: Value): Value {
  if (isDict(value)) return dictKeys(value).at(-1);
  if (value === undefined) fail("'undefined' is not reversible");
  requireReversible(value);
  return itemsOf(run, value).at(-1);
}

function requireReversible(value: Value): void {
  if (!(typeof value === 'string' || Array.isArray(value) || value instanceof Range || value instanceof DictView || isDict(value))) {
    fail(`'${typeName(value)}' object is not reversible`);
  }
}

function reverse(run: Run, value: Value): Value {
  const list = itemsOf(run, value);
  spend(run, list.length >>> 3);
  const reversed = list.slice().reverse();
  if (typeof value === 'string') return reversed.join('');
  return value instanceof OneShot || value === undefined ? reversed : new OneShot(reversed, 'list_reverseiterator');
}

function replaceText(run: Run, value: Value, args: Value[], keywords: Keywords): string {
  const [old, next, count] = bindArguments('replace', ['old', 'new', 'count'], args, keywords);
  return replace(run, toText(value), toText(old), toText(next), count ?? -1);
}

function format(run: Run, value: Value, args: Value[], keywords: Keywords): string {
  if (args.length > 0 && keywords.size > 0) fail("can't handle positional and keyword arguments at the same time");
  return formatPercent(run, toText(value), keywords.size > 0 ? new Map(keywords) : Tuple.from(args));
}

function join(run: Run, value: Value, args: Value[], keywords: Keywords): string {
  const [separator = '', attribute] = bindArguments('join', ['d', 'attribute'], args, keywords);
  const list = itemsOf(run, value);
  spend(run, list.length >>> 3);
  const read = attributeReader(attribute);
  return checkText(run, list.map((item) => toText(read(item))).join(toText(separator)));
}

/** Jinja's `attribute` argument: `'a.b'`, `0`, or nothing for the item itself. */
function attributeReader(attribute: Value, otherwise?: Value): (item: Value) => Value {
  if (attribute === undefined || attribute === null) return (item) => item;
  const path = typeof attribute === 'string' ? attribute.split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part)) : [attribute];
  return (item) => {
    let value = item;
    for (const key of path) {
      if (value === undefined) fail(`undefined has no attribute '${toText(key)}'`);
      value = getItem(value, key);
      if (value === undefined && otherwise !== undefined && otherwise !== null) value = otherwise;
    }
    return value;
  };
}

function foldCase(value: Value): Value {
  return typeof value === 'string' ? value.toLowerCase() : value;
}

function map(run: Run, value: Value, args: Value[], keywords: Keywords): Value {
  if (!isTrue(value)) return new OneShot([]);
  const list = itemsOf(run, value);
  spend(run, list.length);
  if (args.length === 0 && keywords.has('attribute')) {
    const unknown = [...keywords.keys()].find((name) => name !== 'attribute' && name !== 'default');
    if (unknown !== undefined) fail(`Unexpected keyword argument '${unknown}'`);
    return new OneShot(list.map(attributeReader(keywords.get('attribute'), keywords.get('default'))));
  }
  if (args.length === 0) fail('map requires a filter argument');
  const filter = findFilter(args[0]);
  const rest = args.slice(1);
  return new OneShot(list.map((item) => filter(run, item, rest, keywords)));
}

type Selection = { byAttribute: boolean; keep: boolean };

function select(run: Run, value: Value, args: Value[], keywords: Keywords, { byAttribute, keep }: Selection): Value {
  if (!isTrue(value)) return new OneShot([]);
  const rest = args.slice();
  if (byAttribute && rest.length === 0) fail('Missing parameter for attribute name');
  const read = attributeReader(byAttribute ? rest.shift() : undefined);
  const list = itemsOf(run, value);
  spend(run, list.length);
  if (rest.length === 0) return new OneShot(list.filter((item) => isTrue(read(item)) === keep));
  const name = rest.shift();
  const test = typeof name === 'string' ? TESTS.get(name) : undefined;
  if (!test) fail(`No test named '${toText(name)}'.`);
  return new OneShot(list.filter((item) => isTrue(test(run, read(item), rest, keywords)) === keep));
}

/** Sorts stably by keys, in Python's way for `reverse`: equal items keep their order. */
function sortBy(run: Run, list: Value[], keysOf: (item: Value) => Value[], descending: boolean): Value[] {
  checkListLength(run, list.length);
  spend(run, list.length);
  const keyed = list.map((item) => ({ item, keys: keysOf(item) }));
  keyed.sort((a, b) => {
    for (let index = 0; index < a.keys.length; index++) {
      const [left, right] = [a.keys[index], b.keys[index]];
      if (isEqual(left, right)) continue;
      return compare('<', left, right) !== descending ? -1 : 1;
    }
    return 0;
  });
  return keyed.map(({ item }) => item);
}

function sort(run: Run, value: Value, args: Value[], keywords: Keywords): Value[] {
  const [descending = false, caseSensitive = false, attribute] = bindArguments('sort', ['reverse', 'case_sensitive', 'attribute'], args, keywords);
  const attributes = typeof attribute === 'string' ? attribute.split(',') : [attribute];
  const readers = attributes.map((name) => attributeReader(name));
  const fold = isTrue(caseSensitive) ? (key: Value): Value => key : foldCase;
  return sortBy(run, itemsOf(run, value), (item) => readers.map((read) => fold(read(item))), isTrue(descending));
}

function dictSort(run: Run, value: Value, args: Value[], keywords: Keywords): Value[] {
  const [caseSensitive = false, by = 'key', descending = false] = bindArguments('dictsort', ['case_sensitive', 'by', 'reverse'], args, keywords);
  if (by !== 'key' && by !== 'value') fail('You can only sort by either "key" or "value"');
  if (!isDict(value)) fail(`'${typeName(value)}' object has no attribute 'items'`);
  const fold = isTrue(caseSensitive) ? (key: Value): Value => key : foldCase;
  return sortBy(run, dictItems(value), (pair) => [fold((pair as Tuple)[by === 'key' ? 0 : 1])], isTrue(descending));
}

function unique(run: Run, value: Value, args: Value[], keywords: Keywords): Value {
  const [caseSensitive = false, attribute] = bindArguments('unique', ['case_sensitive', 'attribute'], args, keywords);
  const read = attributeReader(attribute);
  const seen: Value[] = [];
  return new OneShot(
    itemsOf(run, value).filter((item) => {
      const key = isTrue(caseSensitive) ? read(item) : foldCase(read(item));
      spend(run, 1 + (seen.length >>> 3));
      if (seen.some((other) => isEqual(other, key))) return false;
      seen.push(key);
      return true;
    }),
  );
}

function extreme(run: Run, operator: '<' | '>', value: Value, [caseSensitive = false, attribute]: Value[]): Value {
  const read = attributeReader(attribute);
  const keyOf = (item: Value): Value => (isTrue(caseSensitive) ? read(item) : foldCase(read(item)));
  const list = itemsOf(run, value);
  spend(run, list.length >>> 3);
  if (list.length === 0) return undefined;
  return list.reduce((best, item) => (compare(operator, keyOf(item), keyOf(best)) ? item : best));
}

function sum(run: Run, value: Value, args: Value[], keywords: Keywords): Value {
  const [attribute, start = 0] = bindArguments('sum', ['attribute', 'start'], args, keywords);
  const read = attributeReader(attribute);
  if (typeof start === 'string') fail("sum() can't sum strings [use ''.join(seq) instead]");
  const list = itemsOf(run, value);
  spend(run, list.length);
  return list.reduce((total, item) => applyBinary(run, '+', total, read(item)), start);
}

function groupBy(run: Run, value: Value, args: Value[], keywords: Keywords): Value[] {
  const [attribute, otherwise, caseSensitive = false] = bindArguments('groupby', ['attribute', 'default', 'case_sensitive'], args, keywords);
  const read = attributeReader(attribute, otherwise);
  const keyOf = (item: Value): Value => (isTrue(caseSensitive) ? read(item) : foldCase(read(item)));
  const groups: Value[][] = [];
  for (const item of sortBy(run, itemsOf(run, value), (each) => [keyOf(each)], false)) {
    const open = groups.at(-1);
    if (open && isEqual(keyOf(open[0]), keyOf(item))) open.push(item);
    else groups.push([item]);
  }
  return groups.map((group) => Group.of(isTrue(caseSensitive) ? keyOf(group[0]) : read(group[0]), group));
}

function batch(run: Run, value: Value, size?: Value, filler?: Value): Value {
  const width = requireIndex(size);
  if (width < 1) exceed('batch needs a size of at least 1');
  const list = itemsOf(run, value);
  checkListLength(run, list.length + width);
  const rows: Value[][] = [];
  for (let at = 0; at < list.length; at += width) rows.push(list.slice(at, at + width));
  const lastRow = rows.at(-1);
  if (lastRow && filler !== undefined && filler !== null) while (lastRow.length < width) lastRow.push(filler);
  return new OneShot(rows);
}

function slices(run: Run, value: Value, count?: Value, filler?: Value): Value {
  const columns = requireIndex(count);
  if (columns < 1) fail('integer division or modulo by zero');
  const list = itemsOf(run, value);
  checkListLength(run, list.length + columns);
  const size = Math.floor(list.length / columns);
  const longer = list.length % columns;
  let at = 0;
  return new OneShot(
    Array.from({ length: columns }, (_, column) => {
      const slice = list.slice(at, (at += size + (column < longer ? 1 : 0)));
      if (filler !== undefined && filler !== null && column >= longer) slice.push(filler);
      return slice;
    }),
  );
}

/** The `tojson` of `transformers`: plain `json.dumps`, nothing escaped for HTML. */
function json(run: Run, value: Value, args: Value[], keywords: Keywords): string {
  const [ensureAscii = false, indentation, separators, sortKeys = false] = bindArguments(
    'tojson',
    ['ensure_ascii', 'indent', 'separators', 'sort_keys'],
    args,
    keywords,
  );
  const spaces = indentation === undefined || indentation === null ? undefined : indentText(indentation);
  const pair = separators === undefined || separators === null ? undefined : itemsOf(run, separators);
  if (pair && (pair.length !== 2 || !pair.every((part) => typeof part === 'string'))) fail('separators must be two strings');
  const [itemSeparator, keySeparator] = (pair ?? [spaces === undefined ? ', ' : ',', ': ']) as [string, string];
  const options = { ensureAscii: isTrue(ensureAscii), indent: spaces, itemSeparator, keySeparator, sortKeys: isTrue(sortKeys) };
  return checkText(run, toJson(value, options));
}

function indentText(indentation: Value): string {
  if (typeof indentation === 'string') return indentation.length <= 100 ? indentation : exceed('an indentation of more than 100 characters');
  const width = requireIndex(indentation);
  return width <= 100 ? ' '.repeat(Math.max(0, width)) : exceed('an indentation of more than 100 characters');
}
