/** Python's two old ways to format: `'%s' % value` and `'{}'.format(value)`, as far as templates use them. */
import { exceed, fail } from './errors.js';
import { floatText, toRepr, toText } from './printing.js';
import {
  Tuple,
  checkText,
  dictGet,
  dictHas,
  isDict,
  isFloat,
  isInteger,
  isNumber,
  numeric,
  typeName,
  type Keywords,
  type Run,
  type Value,
} from './values.js';

/** Widest field a format may ask for. */
const MAX_WIDTH = 10_000;
/** Most digits after the point; JavaScript's own limit. */
const MAX_PRECISION = 100;

/** `format % values`: a tuple gives several values, a dict the named ones. */
export function formatPercent(run: Run, format: string, values: Value): string {
  const positional = values instanceof Tuple ? values : [values];
  let next = 0;
  let usesNames = false;
  const text = format.replace(
    /%(?:\(([^)]*)\))?([-+ #0]*)(\d+)?(?:\.(\d+))?([a-zA-Z%]?)/g,
    (whole, name, flags, width, precision, kind) => {
      if (kind === '%') return '%';
      let value: Value;
      if (name !== undefined) {
        if (!isDict(values)) fail('format requires a mapping');
        if (!dictHas(values, name)) fail(`the format names '${name}', which the mapping lacks`);
        value = dictGet(values, name);
        usesNames = true;
      } else {
        if (next >= positional.length) fail('not enough arguments for format string');
        value = positional[next++];
      }
      return pad(percentBody(run, value, kind, precision === undefined ? undefined : Number(precision), flags, whole), {
        width: checkWidth(Number(width ?? 0)),
        align: flags.includes('-') ? '<' : flags.includes('0') && kind !== 's' && kind !== 'r' ? '=' : '>',
        fill: flags.includes('0') && !flags.includes('-') && kind !== 's' && kind !== 'r' ? '0' : ' ',
      });
    },
  );
  if (next < positional.length && !usesNames && !(isDict(values) && next === 0))
    fail('not all arguments converted during string formatting');
  return checkText(run, text);
}

function percentBody(run: Run, value: Value, kind: string, precision: number | undefined, flags: string, whole: string): string {
  switch (kind) {
    case 's':
    case 'r': {
      const text = kind === 's' ? toText(run, value) : toRepr(run, value);
      return precision === undefined ? text : [...text].slice(0, precision).join('');
    }
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
      if (!isNumber(value)) fail(`%${kind} format: a number is required, not ${typeName(value)}`);
      const number = numeric(value);
      const integer = typeof number === 'bigint' ? number : BigInt(Math.trunc(number));
      const base = kind === 'o' ? 8 : kind === 'x' || kind === 'X' ? 16 : 10;
      const digits = (integer < 0n ? -integer : integer).toString(base);
      const prefix = flags.includes('#') ? basePrefix(kind) : '';
      return signOf(integer < 0n, flags) + prefix + (kind === 'X' ? digits.toUpperCase() : digits);
    }
    case 'f':
    case 'F':
    case 'e':
    case 'E':
    case 'g':
    case 'G': {
      if (!isNumber(value)) fail(`must be real number, not ${typeName(value)}`);
      const number = Number(numeric(value));
      return signOf(number < 0 || Object.is(number, -0), flags) + floatBody(Math.abs(number), kind, precision ?? 6);
    }
    default:
      return fail(`unsupported format '${whole}'`);
  }
}

/** `format.format(...)`: `{}`, `{0}`, `{name.attribute[key]!r:specification}`. `access` reads attributes and items. */
export function formatBraces(
  run: Run,
  format: string,
  positional: Value[],
  keywords: Keywords,
  access: { getAttribute(object: Value, name: string): Value; getItem(object: Value, key: Value): Value },
): string {
  let next = 0;
  const text = format.replace(/\{\{|\}\}|\{([^{}!:]*)(?:!([rsa]))?(?::([^{}]*))?\}|[{}]/g, (whole, field, conversion, specification) => {
    if (whole === '{{' || whole === '}}') return whole[0]!;
    if (field === undefined) return fail(`single '${whole}' encountered in format string`);
    const [, first, path] = /^([^.[]*)(.*)$/s.exec(field) as unknown as [string, string, string];
    let value = first === '' ? pick(positional, next++) : /^\d+$/.test(first) ? pick(positional, Number(first)) : named(keywords, first);
    for (const [, attribute, key] of path.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g)) {
      value =
        attribute !== undefined ? access.getAttribute(value, attribute) : access.getItem(value, /^\d+$/.test(key!) ? Number(key) : key);
    }
    if (conversion === 'r') value = toRepr(run, value);
    else if (conversion) value = toText(run, value);
    return formatValue(run, value, specification ?? '');
  });
  return checkText(run, text);
}

function pick(positional: Value[], index: number): Value {
  if (index >= positional.length) fail(`replacement index ${index} out of range for positional args tuple`);
  return positional[index];
}

function named(keywords: Keywords, name: string): Value {
  if (!keywords.has(name)) fail(`the format names '${name}', which it was not given`);
  return keywords.get(name);
}

/** Python's format specification: `[[fill]align][sign][0][width][,][.precision][type]`. */
function formatValue(run: Run, value: Value, specification: string): string {
  if (specification === '') return toText(run, value);
  const parts = /^(?:([^])?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([bdoxXeEfFgGsn%])?$/u.exec(specification);
  if (!parts) return fail(`invalid format specification '${specification}'`);
  const [, fill, align, sign = '', alternate = '', zero, width, group, precision, kind] = parts;
  const isText = typeof value === 'string';
  if (!isText && !isNumber(value)) fail(`unsupported format string passed to ${typeName(value)}.__format__`);
  let body: string;
  if (isText) {
    if ((kind && kind !== 's') || sign || group) fail(`invalid format specification '${specification}' for a string`);
    body = precision === undefined ? value : [...value].slice(0, Number(precision)).join('');
  } else {
    if (kind === 's') fail(`unknown format code 's' for a number`);
    body = formatNumber(value as number, sign + alternate, group, precision === undefined ? undefined : Number(precision), kind);
  }
  return pad(body, {
    width: checkWidth(Number(width ?? 0)),
    align: (align ?? (zero && !isText ? '=' : isText ? '<' : '>')) as Alignment,
    fill: fill ?? (zero ? '0' : ' '),
  });
}

function formatNumber(
  value: Value,
  sign: string,
  group: string | undefined,
  precision: number | undefined,
  kind: string | undefined,
): string {
  const number = numeric(value as number);
  const isNegative = number < 0 || Object.is(number, -0);
  let digits: string;
  if (isInteger(value) && (kind === undefined || 'bdoxXn'.includes(kind))) {
    if (precision !== undefined) fail('Precision not allowed in integer format specifier');
    const base = kind === 'b' ? 2 : kind === 'o' ? 8 : kind === 'x' || kind === 'X' ? 16 : 10;
    const integer = BigInt(number);
    digits = (integer < 0n ? -integer : integer).toString(base);
    if (kind === 'X') digits = digits.toUpperCase();
    if (sign.includes('#')) digits = basePrefix(kind) + digits;
  } else {
    if (kind !== undefined && 'bdoxX'.includes(kind)) fail(`unknown format code '${kind}' for a float`);
    const size = Math.abs(Number(number));
    if (kind === '%') digits = `${floatBody(size * 100, 'f', precision ?? 6)}%`;
    else if (kind !== undefined) digits = floatBody(size, kind === 'n' ? 'g' : kind, precision ?? 6);
    else if (precision !== undefined) digits = floatBody(size, 'g', precision);
    else digits = isFloat(value) ? floatText(size) : String(size);
  }
  if (group) digits = digits.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, group));
  return signOf(isNegative, sign) + digits;
}

function floatBody(size: number, kind: string, precision: number): string {
  if (precision > MAX_PRECISION) exceed(`a format with more than ${MAX_PRECISION} digits`);
  if (!Number.isFinite(size)) return kind === kind.toLowerCase() ? fixed(size, 0) : fixed(size, 0).toUpperCase();
  let text: string;
  const lower = kind.toLowerCase();
  if (lower === 'f') text = fixed(size, precision);
  else if (lower === 'e') text = exponential(size, precision);
  else text = general(size, precision || 1);
  return kind === lower ? text : text.toUpperCase();
}

/** Like toFixed, which gives up on digits past 1e21. `size` is not negative. */
export function fixed(size: number, precision: number): string {
  if (!Number.isFinite(size)) return Number.isNaN(size) ? 'nan' : 'inf';
  if (size < 1e21) return size.toFixed(precision);
  return precision > 0 ? `${BigInt(size)}.${'0'.repeat(precision)}` : String(BigInt(size));
}

function exponential(size: number, precision: number): string {
  return size.toExponential(precision).replace(/e([+-])(\d)$/, 'e$10$2');
}

function general(size: number, precision: number): string {
  if (size === 0) return '0';
  const exponent = Number(size.toExponential(precision - 1).split('e')[1]);
  if (exponent < -4 || exponent >= precision) return exponential(size, precision - 1).replace(/\.?0+e/, 'e');
  const text = fixed(size, precision - 1 - exponent);
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** What `#` writes before a number to say its base. */
function basePrefix(kind: string | undefined): string {
  return kind !== undefined && 'boxX'.includes(kind) ? `0${kind}` : '';
}

function signOf(isNegative: boolean, flags: string): string {
  return isNegative ? '-' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
}

type Alignment = '<' | '>' | '=' | '^';

function pad(body: string, { width, align, fill }: { width: number; align: Alignment; fill: string }): string {
  const missing = width - [...body].length;
  if (missing <= 0) return body;
  if (align === '<') return body + fill.repeat(missing);
  if (align === '^') return fill.repeat(missing >> 1) + body + fill.repeat(missing - (missing >> 1));
  if (align === '>') return fill.repeat(missing) + body;
  const sign = /^[-+ ]?(?:0[boxX])?/.exec(body)![0];
  return sign + fill.repeat(missing) + body.slice(sign.length);
}

function checkWidth(width: number): number {
  if (width > MAX_WIDTH) exceed(`a format wider than ${MAX_WIDTH} characters`);
  return width;
}
