/** The filters `int`, `float` and `round`, with Python's readings of text and its rounding of halves to even. */
import { computeNumbers } from './arithmetic.js';
import { fail } from './errors.js';
import { fixed } from './formatting.js';
import { strip } from './textMethods.js';
import { isFloat, isInteger, isNumber, numeric, plain, requireIndex, toFloat, typeName, type Value } from './values.js';

// Each has one way to match a text: with two, a long text that is no number would take forever.
const FLOAT_TEXT = /^[-+]?(?:(?:\d+(?:_\d+)*(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:e[-+]?\d+(?:_\d+)*)?|inf(?:inity)?|nan)$/i;

/** `value|int`: what cannot be read as a number is the default; an undefined value fails. */
export function toIntegerValue(value: Value, otherwise: Value, base: Value = 10): Value {
  if (value === undefined) fail('an undefined value is no number');
  if (isInteger(value)) return numeric(value);
  value = plain(value);
  if (typeof value === 'string') {
    const integer = parseInteger(asciiDigits(strip(value, undefined, true, true)), requireIndex(base));
    if (integer !== undefined) return integer;
  }
  const number = parseFloatValue(value);
  if (number === undefined || !Number.isFinite(number)) return otherwise;
  const whole = Math.trunc(number);
  return Number.isSafeInteger(whole) ? whole + 0 : BigInt(whole);
}

/** `value|float`. */
export function toFloatValue(value: Value, otherwise: Value): Value {
  if (value === undefined) fail('an undefined value is no number');
  const number = parseFloatValue(value);
  return number === undefined ? otherwise : toFloat(number);
}

function parseInteger(text: string, base: number): number | bigint | undefined {
  if (base < 2 || base > 36) return undefined;
  const parts = /^([-+]?)(0[xob])?([0-9a-z]+(?:_[0-9a-z]+)*)$/i.exec(text);
  if (!parts) return undefined;
  const [, sign, prefix = '', body = ''] = parts;
  const prefixBase = { '0x': 16, '0o': 8, '0b': 2 }[prefix.toLowerCase()];
  const digits = (prefixBase === undefined || prefixBase === base ? body : prefix + body).replaceAll('_', '').toLowerCase();
  let value = 0n;
  if (digits.length > 4300) return undefined;
  for (const character of digits) {
    const digit = parseInt(character, 36);
    if (!(digit < base)) return undefined;
    value = value * BigInt(base) + BigInt(digit);
  }
  if (sign === '-') value = -value;
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

/** The digits of other scripts as our own; Unicode has each script's ten in a row. */
function asciiDigits(text: string): string {
  return text.replace(/(?![0-9])\p{Nd}/gu, (digit) => {
    let zero = digit.codePointAt(0)!;
    while (/\p{Nd}/u.test(String.fromCodePoint(zero - 1))) zero--;
    return String((digit.codePointAt(0)! - zero) % 10);
  });
}

function parseFloatValue(value: Value): number | undefined {
  if (isNumber(value)) {
    const number = Number(numeric(value));
    return typeof value === 'bigint' && !Number.isFinite(number) ? fail('int too large to convert to float') : number;
  }
  value = plain(value);
  if (typeof value !== 'string') return undefined;
  const text = asciiDigits(strip(value, undefined, true, true));
  if (!FLOAT_TEXT.test(text)) return undefined;
  const digits = text.replaceAll('_', '').toLowerCase();
  if (digits.endsWith('nan')) return NaN;
  if (digits.includes('inf')) return digits.startsWith('-') ? -Infinity : Infinity;
  return Number(digits);
}

const SIZE_PREFIXES = 'kMGTPEZY';

/** `value|filesizeformat(binary)`: `1 Byte`, `13.5 kB`, `4.0 MiB`. */
export function fileSize(value: Value, isBinary: boolean): string {
  const size = parseFloatValue(plain(value));
  if (size === undefined) fail(`${typeName(value)} is no number of bytes`);
  const base = isBinary ? 1024n : 1000n;
  if (size === 1) return '1 Byte';
  if (size < base) return `${Math.trunc(size) + 0} Bytes`;
  let step = 0;
  while (step < SIZE_PREFIXES.length - 1 && !(size < base ** BigInt(step + 2))) step++;
  const amount = (Number(base) * size) / Number(base ** BigInt(step + 2));
  const prefix = isBinary ? SIZE_PREFIXES[step]!.toUpperCase() : SIZE_PREFIXES[step]!;
  return `${fixed(amount, 1)} ${prefix}${isBinary ? 'iB' : 'B'}`;
}

/** `value|round(precision, method)` with the methods common, ceil and floor. */
export function roundNumber(value: Value, precision: Value = 0, method: Value = 'common'): Value {
  if (method !== 'common' && method !== 'ceil' && method !== 'floor') fail('method must be common, ceil or floor');
  if (!isNumber(value)) fail(`type ${typeName(value)} doesn't define __round__ method`);
  const places = requireIndex(precision);
  if (Math.abs(places) > 300) fail('the precision of round is out of range');
  if (method !== 'common') {
    const scale = 10 ** places;
    const whole = method === 'ceil' ? Math.ceil(Number(numeric(value)) * scale) : Math.floor(Number(numeric(value)) * scale);
    return toFloat(whole / scale);
  }
  if (isFloat(value)) return toFloat(roundFloat(Number(numeric(value)), places));
  if (places >= 0) return numeric(value);
  const unit = 10n ** BigInt(-places);
  const whole = BigInt(numeric(value));
  const rest = ((whole % unit) + unit) % unit;
  const down = whole - rest;
  const up = rest * 2n > unit || (rest * 2n === unit && (down / unit) % 2n !== 0n);
  return computeNumbers('+', 0, up ? down + unit : down);
}

function roundFloat(value: number, places: number): number {
  if (!Number.isFinite(value)) return value;
  if (places < 0) return roundFloat(value / 10 ** -places, 0) * 10 ** -places;
  if (places > 100 || Math.abs(value) >= 1e21) return value;
  // toFixed rounds the exact value of the float and takes exact halves away from zero; only those need care.
  const halves = value * 2 ** (places + 1);
  if (Number.isSafeInteger(halves)) {
    const doubled = BigInt(halves) * 5n ** BigInt(places);
    if (doubled % 2n !== 0n) {
      const lower = (doubled - 1n) / 2n;
      return Number(`${lower % 2n === 0n ? lower : lower + 1n}e${-places}`);
    }
  }
  return Number(value.toFixed(places));
}
