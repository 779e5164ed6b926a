/** Filters on strings that are more than a string method. */
import { fail } from './errors.js';
import { WHITESPACE } from './lexer.js';
import { toText } from './printing.js';
import { TEXT_METHODS } from './textMethods.js';
import {
  NO_KEYWORDS,
  checkText,
  checkTextLength,
  isNumber,
  isTrue,
  numeric,
  requireIndex,
  requireText,
  typeName,
  type Run,
  type Value,
} from './values.js';

export const upperCase = remembering((text) => text.toUpperCase());
export const lowerCase = remembering((text) => text.toLowerCase());

/** Templates change the case of every message's role, several times: the same few words over and over. */
function remembering(change: (text: string) => string): (text: string) => string {
  const known = new Map<string, string>();
  let [last, lastChanged] = ['', ''];
  return (text) => {
    if (text === last) return lastChanged;
    if (text.length > 16) return change(text);
    let changed = known.get(text);
    if (changed === undefined) {
      if (known.size === 64) known.clear();
      known.set(text, (changed = change(text)));
    }
    [last, lastChanged] = [text, changed];
    return changed;
  };
}

const WORD_STARTS = new RegExp(`[^-${WHITESPACE}({\\[<]+`, 'g');

/** Words begin after spaces, dashes and opening brackets. */
export function titleCase(text: string): string {
  return text.replace(WORD_STARTS, (word) => {
    const first = String.fromCodePoint(word.codePointAt(0)!);
    return first.toUpperCase() + word.slice(first.length).toLowerCase();
  });
}

/** Indents each line but the first (unless `first`) and the empty ones (unless `blank`). */
export function indent(run: Run, text: string, width: Value = 4, first: Value = false, blank: Value = false): string {
  const margin = typeof width === 'string' ? width : marginOf(run, requireIndex(width));
  const lines = TEXT_METHODS.get('splitlines')!.call(`${text}\n`, [], NO_KEYWORDS, run) as string[];
  checkTextLength(run, text.length + lines.length * margin.length);
  const [head = '', ...rest] = lines;
  const body = rest.map((line) => (line === '' && !isTrue(blank) ? line : margin + line));
  return (isTrue(first) ? margin : '') + [head, ...body].join('\n');
}

function marginOf(run: Run, width: number): string {
  const length = Math.max(0, width);
  checkTextLength(run, length);
  return ' '.repeat(length);
}

export function truncate(
  run: Run,
  text: string,
  length: Value = 255,
  killWords: Value = false,
  end: Value = '...',
  leeway: Value = 5,
  toEnding: (run: Run, end: Value) => string = toText,
): string {
  const ending = requireText(end, 'the end of truncate');
  const limit = requireIndex(length);
  const characters = [...text];
  if (limit < ending.length) fail(`expected length >= ${ending.length}, got ${limit}`);
  if (!isNumber(leeway ?? 5)) fail(`the leeway of truncate must be a number, not ${typeName(leeway)}`);
  if (characters.length <= limit + Number(numeric((leeway ?? 5) as number))) return text;
  const kept = characters.slice(0, limit - ending.length).join('');
  if (isTrue(killWords)) return checkText(run, kept + toEnding(run, end));
  const space = kept.lastIndexOf(' ');
  return checkText(run, (space < 0 ? kept : kept.slice(0, space)) + toEnding(run, end));
}
