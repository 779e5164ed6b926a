/** The functions every template finds: Jinja's own and the two that `transformers` adds. */
import { bindArguments } from './arguments.js';
import { TemplateError, exceed, fail } from './errors.js';
import { MAX_RANGE_LENGTH } from './limits.js';
import { toText } from './printing.js';
import { formatTime } from './time.js';
import {
  Callable,
  Cycler,
  KeyedDict,
  Namespace,
  Range,
  dictEntries,
  dictSize,
  isDict,
  itemsOf,
  requireIndex,
  requireText,
  spend,
  toKey,
  type Keywords,
  type Run,
  type Value,
} from './values.js';

export const GLOBALS: ReadonlyMap<string, Value> = new Map<string, Value>([
  define('range', (_run, args) => range(args)),
  define('dict', (run, args, keywords) => makeDict(run, args, keywords)),
  define('namespace', (run, args, keywords) => new Namespace(makeDict(run, args, keywords) as Map<string, Value>)),
  define('cycler', (_run, args) => (args.length === 0 ? fail('at least one item has to be provided') : new Cycler(args))),
  define('joiner', (_run, args, keywords) => joiner(...bindArguments('joiner', ['sep'], args, keywords))),
  define('raise_exception', (run, args, keywords) => {
    const [message] = bindArguments('raise_exception', ['message'], args, keywords);
    throw new TemplateError('TEMPLATE_RAISED', toText(run, message));
  }),
  define('strftime_now', (run, args, keywords) => {
    const [format] = bindArguments('strftime_now', ['format'], args, keywords);
    return formatTime(requireText(format, 'the format of strftime_now'), run.now);
  }),
  define('lipsum', () => {
    throw new TemplateError('TEMPLATE_UNSUPPORTED', 'lipsum gives a random text; a rendering must be repeatable');
  }),
]);

function define(name: string, invoke: (run: Run, args: Value[], keywords: Keywords) => Value): [string, Callable] {
  return [name, new Callable(name, 'function', invoke)];
}

function range(args: Value[]): Range {
  if (args.length < 1 || args.length > 3) fail(`range expected 1 to 3 arguments, got ${args.length}`);
  const [first, second, step = 1] = args.map(requireIndex) as [number, number | undefined, number | undefined];
  if (step === 0) fail('range() arg 3 must not be zero');
  const result = second === undefined ? new Range(0, first, step) : new Range(first, second, step);
  if (result.length > MAX_RANGE_LENGTH) exceed(`range of ${result.length} items; a template may count to ${MAX_RANGE_LENGTH}`);
  return result;
}

/** `dict(mapping or pairs, **keywords)`. */
function makeDict(run: Run, [source]: Value[], keywords: Keywords): Map<Value, Value> {
  const dict = new KeyedDict();
  spend(run, keywords.size + (isDict(source) ? dictSize(source) : 0));
  if (isDict(source)) for (const [key, value] of dictEntries(source)) dict.set(key, value);
  else if (source !== undefined) {
    for (const pair of itemsOf(run, source)) {
      const items = itemsOf(run, pair);
      if (items.length !== 2) fail(`dictionary update sequence element has length ${items.length}; 2 is required`);
      dict.set(toKey(items[0]), items[1]);
    }
  }
  for (const [key, value] of keywords) dict.set(key, value);
  return dict;
}

function joiner(separator: Value = ', '): Callable {
  let isUsed = false;
  return new Callable('joiner', 'Joiner', () => {
    if (isUsed) return separator;
    isUsed = true;
    return '';
  });
}
