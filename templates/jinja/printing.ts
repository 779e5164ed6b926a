/** How Python prints values: `str` for what a template prints, `repr` inside lists and dicts, and JSON as `json.dumps` writes it. */
import { bytesRepr, escapeCharacter } from './bytes.js';
import { fail } from './errors.js';
import { compareText } from './ordering.js';
import {
  Blocks,
  Bytes,
  Callable,
  DictView,
  Float,
  Loop,
  Namespace,
  OneShot,
  Range,
  SafeText,
  Tuple,
  checkText,
  dictEntries,
  isDict,
  spend,
  typeName,
  type Dict,
  type Run,
  type Value,
} from './values.js';

/** Python's `str(value)`; an undefined value prints nothing. */
export function toText(run: Run, value: Value): string {
  if (typeof value === 'string') return value;
  if (value === undefined) return '';
  return value instanceof SafeText ? value.text : toRepr(run, value);
}

/** Python's `repr(value)`. */
export function toRepr(run: Run, value: Value): string {
  switch (typeof value) {
    case 'string':
      return quote(value);
    case 'undefined':
      return 'Undefined';
    case 'boolean':
      return value ? 'True' : 'False';
    case 'number':
      return numberText(value);
    case 'bigint':
      return String(value);
    default:
  }
  if (value === null) return 'None';
  // Lists may hold each other many times over, so that a small one prints without end.
  spend(run, 1);
  const listed = (items: Value[]): string => checkText(run, items.map((item) => toRepr(run, item)).join(', '));
  if (value instanceof Float) return floatText(value.value);
  if (value instanceof SafeText) return `Markup(${quote(value.text)})`;
  if (value instanceof Bytes) return checkText(run, bytesRepr(value));
  if (value instanceof Tuple) return `(${listed(value)}${value.length === 1 ? ',' : ''})`;
  if (Array.isArray(value)) return `[${listed(value)}]`;
  if (value instanceof Range) return `range(${value.start}, ${value.stop}${value.step === 1 ? '' : `, ${value.step}`})`;
  if (value instanceof DictView) return `dict_${value.kind}([${listed(value.items())}])`;
  if (value instanceof Namespace) return `<Namespace ${dictRepr(run, value.attributes)}>`;
  if (value instanceof Loop) return `<LoopContext ${value.index0 + 1}/${value.items.length}>`;
  if (value instanceof Callable && value.typeName === 'Macro') return `<Macro ${quote(value.name)}>`;
  if (value instanceof Blocks) return '<TemplateReference None>';
  if (isDict(value)) return dictRepr(run, value);
  // Python would print an address in memory.
  const hint = value instanceof OneShot ? '; use |list or |join' : '';
  return fail(`a ${typeName(value)} object cannot be printed${hint}`);
}

function dictRepr(run: Run, dict: Dict): string {
  const items = dictEntries(dict).map(([key, value]) => `${toRepr(run, key)}: ${toRepr(run, value)}`);
  return `{${checkText(run, items.join(', '))}}`;
}

function numberText(value: number): string {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) return String(value);
  // Integers past 2^53 in a row's JSON have lost their last digits to a float; they still print as integers.
  if (Number.isInteger(value) && Math.abs(value) < 1e21 && value !== 0) return BigInt(value).toString();
  return floatText(value);
}

/** Python's `repr` of a float: shortest digits, an exponent below 1e-4 and from 1e16 on. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    const [digits, exponent] = value.toExponential().split('e') as [string, string];
    const sign = exponent.startsWith('-') ? '-' : '+';
    return `${digits}e${sign}${exponent.slice(1).padStart(2, '0')}`;
  }
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

const QUOTED_ESCAPES: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };
/** What Python does not call printable: controls, formats, surrogates, private use, unassigned, and separators but the space. */
const NOT_PRINTABLE = /[\\\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;

/** `text.isprintable()`. */
export function isPrintable(text: string): boolean {
  return text.replaceAll('\\', '').search(NOT_PRINTABLE) < 0;
}

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(NOT_PRINTABLE, (character) => QUOTED_ESCAPES[character] ?? escapeCharacter(character));
  return mark + (mark === "'" ? escaped.replaceAll("'", "\\'") : escaped) + mark;
}

export type JsonOptions = {
  ensureAscii: boolean;
  /** Spaces, or the text itself, of one level; undefined: all on one line. */
  indent?: string;
  itemSeparator: string;
  keySeparator: string;
  sortKeys: boolean;
};

/** `json.dumps(value)`. */
export function toJson(run: Run, value: Value, options: JsonOptions, level = 0): string {
  switch (typeof value) {
    case 'string':
      return jsonString(value, options.ensureAscii);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'number':
      return jsonNumber(numberText(value));
    case 'bigint':
      return String(value);
    default:
  }
  if (value === null) return 'null';
  spend(run, 1);
  if (value instanceof Float) return floatText(value.value);
  if (value instanceof SafeText) return jsonString(value.text, options.ensureAscii);
  const next = options.indent === undefined ? '' : `\n${options.indent.repeat(level + 1)}`;
  const last = options.indent === undefined ? '' : `\n${options.indent.repeat(level)}`;
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]';
    const items = value.map((item) => next + toJson(run, item, options, level + 1));
    return `[${checkText(run, items.join(options.itemSeparator))}${last}]`;
  }
  if (!isDict(value)) return fail(`Object of type ${typeName(value)} is not JSON serializable`);
  let entries = dictEntries(value);
  if (entries.length === 0) return '{}';
  if (options.sortKeys) {
    if (!entries.every(([key]) => typeof key === 'string')) fail('sort_keys needs keys that are all strings');
    entries = entries.sort(([a], [b]) => compareText(a as string, b as string));
  }
  const items = entries.map(
    ([key, item]) =>
      next + jsonString(jsonKey(run, key), options.ensureAscii) + options.keySeparator + toJson(run, item, options, level + 1),
  );
  return `{${checkText(run, items.join(options.itemSeparator))}${last}}`;
}

function jsonKey(run: Run, key: Value): string {
  if (typeof key === 'string') return key;
  if (key === null) return 'null';
  if (typeof key === 'boolean') return key ? 'true' : 'false';
  if (typeof key === 'number' || typeof key === 'bigint') return toRepr(run, key);
  return fail(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonNumber(text: string): string {
  return text === 'nan' ? 'NaN' : text === 'inf' ? 'Infinity' : text === '-inf' ? '-Infinity' : text;
}

function jsonString(text: string, ensureAscii: boolean): string {
  // JSON.stringify escapes lone surrogates, which Python leaves alone; no UTF-8 text can hold one.
  const quoted = JSON.stringify(text);
  if (!ensureAscii) return quoted;
  return quoted.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
