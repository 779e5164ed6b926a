/** Python's order of values. */
import { fail } from './errors.js';
import { Tuple, isEqual, isNumber, isSameNumber, numeric, plain, typeName, type Run, type Value } from './values.js';

/** Python's `<` and its relatives: numbers by value, strings by code point, lists and tuples item by item. */
export function compare(run: Run, operator: '<' | '<=' | '>' | '>=', left: Value, right: Value): boolean {
  const order = orderOf(run, plain(left), plain(right));
  if (order === undefined) {
    fail(`'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`);
  }
  if (Number.isNaN(order)) return false;
  return operator === '<' ? order < 0 : operator === '<=' ? order <= 0 : operator === '>' ? order > 0 : order >= 0;
}

/** Negative, zero or positive; NaN where a NaN is compared; undefined where Python has no order. */
function orderOf(run: Run, left: Value, right: Value): number | undefined {
  if (isNumber(left) && isNumber(right)) {
    const [a, b] = [numeric(left), numeric(right)];
    return a < b ? -1 : a > b ? 1 : isSameNumber(a, b) ? 0 : NaN;
  }
  if (typeof left === 'string' && typeof right === 'string') return compareText(left, right);
  if (Array.isArray(left) && Array.isArray(right) && left instanceof Tuple === right instanceof Tuple) {
    for (let index = 0; index < Math.min(left.length, right.length); index++) {
      if (!isEqual(run, left[index], right[index])) return orderOf(run, left[index], right[index]);
    }
    return left.length - right.length;
  }
  return undefined;
}

/** Order by code point; UTF-16 units differ from it only where surrogates meet U+E000..FFFF. */
export function compareText(left: string, right: string): number {
  const length = Math.min(left.length, right.length);
  for (let index = 0; index < length; index++) {
    const a = left.charCodeAt(index);
    const b = right.charCodeAt(index);
    if (a === b) continue;
    if (a >= 0xd800 && b >= 0xd800) {
      const rank = (unit: number): number => (unit >= 0xe000 ? unit - 0x800 : unit + 0x2000);
      return rank(a) - rank(b);
    }
    return a - b;
  }
  return left.length - right.length;
}
