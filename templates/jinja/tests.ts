/** Jinja's tests: `value is name(args)`. */
import { bindArguments } from './arguments.js';
import { applyBinary } from './arithmetic.js';
import { fail } from './errors.js';
import { compare } from './ordering.js';
import { toText } from './printing.js';
import { TEXT_METHODS } from './textMethods.js';
import {
  Bytes,
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

/** A test that takes arguments, every one of which must be given. */
const bound = (name: string, parameters: string[], apply: (run: Run, value: Value, ...args: Value[]) => boolean): [string, Test] => [
  name,
  (run, value, args, keywords) => {
    const given = bindArguments(name, parameters, args, keywords);
    if (given.length < parameters.length) fail(`the test '${name}' lacks an argument`);
    return apply(run, value, ...given);
  },
];
const isSame = (run: Run, value: Value, other: Value): boolean => isEqual(run, value, other);
const isNotSame = (run: Run, value: Value, other: Value): boolean => !isEqual(run, value, other);
const order =
  (operator: '<' | '<=' | '>' | '>=') =>
  (run: Run, value: Value, other: Value): boolean =>
    compare(run, operator, value, other);

export const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  bound('odd', [], (run, value) => isEqual(run, applyBinary(run, '%', defined(value), 2), 1)),
  bound('even', [], (run, value) => isEqual(run, applyBinary(run, '%', defined(value), 2), 0)),
  bound('divisibleby', ['num'], (run, value, divisor) => isEqual(run, applyBinary(run, '%', defined(value), divisor), 0)),
  bound('defined', [], (_run, value) => value !== undefined),
  bound('undefined', [], (_run, value) => value === undefined),
  bound('none', [], (_run, value) => value === null),
  bound('boolean', [], (_run, value) => typeof value === 'boolean'),
  bound('true', [], (_run, value) => value === true),
  bound('false', [], (_run, value) => value === false),
  bound('integer', [], (_run, value) => isInteger(value) && typeof value !== 'boolean'),
  bound('float', [], (_run, value) => isFloat(value)),
  bound('number', [], (_run, value) => isNumber(value)),
  bound('string', [], (_run, value) => typeof value === 'string' || value instanceof SafeText),
  bound('mapping', [], (_run, value) => isDict(value)),
  bound('sequence', [], (_run, value) => isSequence(value)),
  bound('iterable', [], (_run, value) => isIterable(value)),
  // Python finds an undefined value callable, as it has a method that fails when called.
  bound('callable', [], (_run, value) => value === undefined || value instanceof Callable || value instanceof Loop),
  bound('lower', [], (run, value) => TEXT_METHODS.get('islower')!.call(toText(run, value), [], NO_KEYWORDS, run) === true),
  bound('upper', [], (run, value) => TEXT_METHODS.get('isupper')!.call(toText(run, value), [], NO_KEYWORDS, run) === true),
  // Python makes an undefined value anew at each place that gives one.
  bound('sameas', ['other'], (_run, value, other) => value !== undefined && value === other),
  bound('escaped', [], (_run, value) => value instanceof SafeText),
  bound('in', ['seq'], (run, value, collection) => contains(run, collection, value)),
  bound('==', ['other'], isSame),
  bound('eq', ['other'], isSame),
  bound('equalto', ['other'], isSame),
  bound('!=', ['other'], isNotSame),
  bound('ne', ['other'], isNotSame),
  bound('<', ['other'], order('<')),
  bound('lt', ['other'], order('<')),
  bound('lessthan', ['other'], order('<')),
  bound('<=', ['other'], order('<=')),
  bound('le', ['other'], order('<=')),
  bound('>', ['other'], order('>')),
  bound('gt', ['other'], order('>')),
  bound('greaterthan', ['other'], order('>')),
  bound('>=', ['other'], order('>=')),
  bound('ge', ['other'], order('>=')),
]);

/** What has a length and takes an index. */
function isSequence(value: Value): boolean {
  return (
    value === undefined ||
    typeof value === 'string' ||
    value instanceof SafeText ||
    value instanceof Bytes ||
    Array.isArray(value) ||
    value instanceof Range ||
    isDict(value)
  );
}

function defined(value: Value): Value {
  return value === undefined ? fail('an undefined value has no remainder') : value;
}
