/** Python's way to match the arguments of a call with the parameters of a function. */
import { fail } from './errors.js';
import type { Keywords, Value } from './values.js';

/** One value a parameter, in order; a hole where nothing was given. Fails on arguments that fit no parameter. */
export function bindArguments(name: string, parameters: string[], args: Value[], keywords: Keywords): Value[] {
  if (args.length > parameters.length) fail(`${name}() takes at most ${parameters.length} arguments (${args.length} given)`);
  if (keywords.size === 0) return args;
  const bound = args.slice();
  for (const [keyword, value] of keywords) {
    const index = parameters.indexOf(keyword);
    if (index < 0) fail(`${name}() got an unexpected keyword argument '${keyword}'`);
    if (index < args.length) fail(`${name}() got multiple values for argument '${keyword}'`);
    bound[index] = value;
  }
  return bound;
}
