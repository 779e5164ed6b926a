/** Jinja's tests: `value is name(args)`. */
import { applyBinary } from './arithmetic.js';
import { fail } from './errors.js';
import { compare } from './ordering.js';
import { toText } from './printing.js';
import { TEXT_METHODS } from './textMethods.js';
import {
  Callable,
  Loop,
  NO_KEYWORDS,
  Range,
  SafeText,
  contains,
  isDict,
  isEqual,
  isFloat,
  isInteger,
  isIterable,
  isNumber,
  type Keywords,
  type Run,
  type Value,
} from './values.js';

export type Test = (run: Run, value: Value, args: Value[], keywords: Keywords) => boolean;

const isSame = (run: Run, value: Value, [other]: Value[]): boolean => isEqual(run, value, other);
const isNotSame = (run: Run, value: Value, [other]: Value[]): boolean => !isEqual(run, value, other);
const order =
  (operator: '<' | '<=' | '>' | '>='): Test =>
  (run, value, [other]) =>
    compare(run, operator, value, other);

export const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['odd', (run, value) => isEqual(run, applyBinary(run, '%', defined(value), 2), 1)],
  ['even', (run, value) => isEqual(run, applyBinary(run, '%', defined(value), 2), 0)],
  ['divisibleby', (run, value, [divisor]) => isEqual(run, applyBinary(run, '%', defined(value), divisor), 0)],
  ['defined', (_run, value) => value !== undefined],
  ['undefined', (_run, value) => value === undefined],
  ['none', (_run, value) => value === null],
  ['boolean', (_run, value) => typeof value === 'boolean'],
  ['true', (_run, value) => value === true],
  ['false', (_run, value) => value === false],
  ['integer', (_run, value) => isInteger(value) && typeof value !== 'boolean'],
  ['float', (_run, value) => isFloat(value)],
  ['number', (_run, value) => isNumber(value)],
  ['string', (_run, value) => typeof value === 'string' || value instanceof SafeText],
  ['mapping', (_run, value) => isDict(value)],
  ['sequence', (_run, value) => isSequence(value)],
  ['iterable', (_run, value) => isIterable(value)],
  // Python finds an undefined value callable, as it has a method that fails when called.
  ['callable', (_run, value) => value === undefined || value instanceof Callable || value instanceof Loop],
  ['lower', (run, value) => TEXT_METHODS.get('islower')!.call(toText(run, value), [], NO_KEYWORDS, run) === true],
  ['upper', (run, value) => TEXT_METHODS.get('isupper')!.call(toText(run, value), [], NO_KEYWORDS, run) === true],
  ['sameas', (_run, value, [other]) => value === other],
  ['escaped', (_run, value) => value instanceof SafeText],
  ['in', (run, value, [collection]) => contains(run, collection, value)],
  ['==', isSame],
  ['eq', isSame],
  ['equalto', isSame],
  ['!=', isNotSame],
  ['ne', isNotSame],
  ['<', order('<')],
  ['lt', order('<')],
  ['lessthan', order('<')],
  ['<=', order('<=')],
  ['le', order('<=')],
  ['>', order('>')],
  ['gt', order('>')],
  ['greaterthan', order('>')],
  ['>=', order('>=')],
  ['ge', order('>=')],
]);

/** What has a length and takes an index. */
function isSequence(value: Value): boolean {
  return (
    value === undefined ||
    typeof value === 'string' ||
    value instanceof SafeText ||
    Array.isArray(value) ||
    value instanceof Range ||
    isDict(value)
  );
}

function defined(value: Value): Value {
  return value === undefined ? fail('an undefined value has no remainder') : value;
}
