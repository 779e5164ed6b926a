/** Python's arithmetic: `+` on numbers, strings and lists, `*` that repeats, `%` that formats, integers without a limit but ours. */
import { exceed, fail } from './errors.js';
import { formatPercent } from './formatting.js';
import { MAX_INTEGER_BITS } from './limits.js';
import { markSafe, toSafe } from './safeText.js';
import type { BinaryOperator } from './syntax.js';
import {
  Float,
  SafeText,
  Tuple,
  checkListLength,
  checkText,
  checkTextLength,
  isFloat,
  isInteger,
  isNumber,
  numeric,
  plain,
  toFloat,
  typeName,
  type Run,
  type Value,
} from './values.js';

export function applyBinary(run: Run, operator: BinaryOperator, left: Value, right: Value): Value {
  if (Number.isSafeInteger(left) && Number.isSafeInteger(right) && operator !== '/' && operator !== '**') {
    const result = computeSmall(operator, left as number, right as number);
    if (Number.isSafeInteger(result)) return result === 0 ? 0 : result;
  }
  if (isNumber(left) && isNumber(right)) return computeNumbers(operator, left, right);
  if (left instanceof SafeText || right instanceof SafeText) {
    const safe = applyToSafe(run, operator, left, right);
    if (safe !== undefined) return safe;
  }
  if (operator === '+') {
    if (typeof left === 'string' && typeof right === 'string') return checkText(run, left + right);
    if (Array.isArray(left) && Array.isArray(right) && left instanceof Tuple === right instanceof Tuple) {
      checkListLength(run, left.length + right.length);
      return left instanceof Tuple ? Tuple.from([...left, ...right]) : left.concat(right);
    }
    if (typeof left === 'string') fail(`can only concatenate str (not "${typeName(right)}") to str`);
  }
  if (operator === '*') {
    if (isInteger(right) && isSequence(left)) return repeat(run, left, Number(right));
    if (isInteger(left) && isSequence(right)) return repeat(run, right, Number(left));
  }
  if (operator === '%' && typeof left === 'string') return formatPercent(run, left, right);
  return fail(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
}

/** Undefined where a safe string has no rule of its own. */
function applyToSafe(run: Run, operator: BinaryOperator, left: Value, right: Value): Value {
  const isText = (value: Value): boolean => typeof value === 'string' || value instanceof SafeText;
  if (operator === '+' && isText(left) && isText(right)) return new SafeText(checkText(run, toSafe(run, left) + toSafe(run, right)));
  if (operator === '%' && left instanceof SafeText) {
    const values = right instanceof Tuple ? Tuple.from(right.map((value) => escapeText(run, value))) : escapeText(run, right);
    return new SafeText(formatPercent(run, left.text, values));
  }
  if (operator === '*') return markSafe(applyBinary(run, operator, plain(left), plain(right)));
  return undefined;
}

/** Text that a format inserts is escaped; numbers keep their type for it. */
function escapeText(run: Run, value: Value): Value {
  return isNumber(value) ? value : toSafe(run, value);
}

export function applySign(operator: '+' | '-', value: Value): Value {
  if (!isNumber(value)) fail(`bad operand type for unary ${operator}: '${typeName(value)}'`);
  if (value instanceof Float) return operator === '-' ? new Float(-value.value) : value;
  const number = numeric(value);
  // Integers have no negative zero.
  return operator === '+' || number === 0 ? number : -number;
}

function isSequence(value: Value): value is string | Value[] {
  return typeof value === 'string' || Array.isArray(value);
}

function repeat(run: Run, sequence: string | Value[], times: number): Value {
  const count = Math.max(0, times);
  if (typeof sequence === 'string') {
    checkTextLength(run, sequence.length * count);
    return sequence.repeat(count);
  }
  checkListLength(run, sequence.length * count);
  const items = Array.from({ length: sequence.length * count }, (_, index) => sequence[index % sequence.length]);
  return sequence instanceof Tuple ? Tuple.from(items) : items;
}

type Numeric = number | bigint | boolean | Float;

/** Both numbers, so no size to watch. */
export function computeNumbers(operator: BinaryOperator, left: Numeric, right: Numeric): Value {
  if (isFloat(left) || isFloat(right) || operator === '/') {
    return computeFloats(operator, Number(numeric(left)), Number(numeric(right)));
  }
  const [a, b] = [numeric(left), numeric(right)];
  if (operator === '**' && b < 0) return computeFloats(operator, Number(a), Number(b));
  if (typeof a === 'number' && typeof b === 'number') {
    const result = computeSmall(operator, a, b);
    if (Number.isSafeInteger(result)) return result === 0 ? 0 : result;
  }
  return computeBig(operator, BigInt(a), BigInt(b));
}

function computeFloats(operator: BinaryOperator, a: number, b: number): Value {
  switch (operator) {
    case '+':
      return toFloat(a + b);
    case '-':
      return toFloat(a - b);
    case '*':
      return toFloat(a * b);
    case '/':
      if (b === 0) fail('division by zero');
      return toFloat(a / b);
    case '//':
      if (b === 0) fail('float floor division by zero');
      return toFloat(Math.floor(a / b));
    case '%':
      if (b === 0) fail('float modulo');
      return toFloat(remainder(a, b));
    case '**': {
      if (a === 0 && b < 0) fail('0.0 cannot be raised to a negative power');
      if (a < 0 && !Number.isInteger(b)) fail('a negative number to a fractional power is a complex number');
      const power = a ** b;
      if (!Number.isFinite(power) && Number.isFinite(a) && Number.isFinite(b)) fail('the result of ** is too large');
      return toFloat(power);
    }
  }
}

/** Python's remainder has the sign of the divisor, also where it is zero. */
function remainder(a: number, b: number): number {
  const rest = a % b;
  if (rest === 0) return b < 0 ? -0 : 0;
  return rest < 0 !== b < 0 ? rest + b : rest;
}

/** NaN or an unsafe integer where the result needs a bigint. */
function computeSmall(operator: BinaryOperator, a: number, b: number): number {
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '//':
      if (b === 0) fail('integer division or modulo by zero');
      return (a - remainder(a, b)) / b;
    case '%':
      if (b === 0) fail('integer modulo by zero');
      return remainder(a, b);
    case '**':
      return a ** b;
    case '/':
      return NaN;
  }
}

function computeBig(operator: BinaryOperator, a: bigint, b: bigint): Value {
  switch (operator) {
    case '+':
      return toInteger(a + b);
    case '-':
      return toInteger(a - b);
    case '*':
      return toInteger(a * b);
    case '//':
    case '%': {
      if (b === 0n) fail('integer division or modulo by zero');
      const rest = ((a % b) + b) % b;
      return toInteger(operator === '%' ? rest : (a - rest) / b);
    }
    case '**': {
      const bits = a.toString(2).length;
      if (BigInt(bits) * b > MAX_INTEGER_BITS) exceed(`an integer of more than ${MAX_INTEGER_BITS} bits`);
      return toInteger(a ** b);
    }
    case '/':
      return fail('unreachable');
  }
}

function toInteger(value: bigint): number | bigint {
  if (value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  if (value.toString(16).length * 4 > MAX_INTEGER_BITS) exceed(`an integer of more than ${MAX_INTEGER_BITS} bits`);
  return value;
}
