/** The filter `wordwrap`: Python's `textwrap.wrap`, line by line. */
import { fail } from './errors.js';
import { escapeHtml } from './safeText.js';
import { TEXT_METHODS, joinTexts, strip } from './textMethods.js';
import {
  NO_KEYWORDS,
  SafeText,
  checkListLength,
  costOfText,
  hasSurrogates,
  isInteger,
  isNumber,
  isTrue,
  lengthOf,
  numeric,
  requireText,
  spend,
  typeName,
  type Run,
  type Value,
} from './values.js';

/**
 * Where a text may be broken: around spaces, after the hyphens of words that have letters on both sides, around dashes between words.
 * Words are Python's: letters, digits and `_` of any script.
 */
const [SPACE, WORD, LETTER, PUNCTUATED] = ['\\t\\n\\v\\f\\r ', '\\p{L}\\p{N}_', '[\\p{L}\\p{Nl}\\p{No}_]', `[\\p{L}\\p{N}_!"'&.,?]`];
const BREAKS = new RegExp(
  `([${SPACE}]+|(?<=${PUNCTUATED})-{2,}(?=[${WORD}])|` +
    `[^${SPACE}]+?(?:-(?:(?<=${LETTER}{2}-)|(?<=${LETTER}-${LETTER}-))(?=${LETTER}-?${LETTER})|` +
    `(?=[${SPACE}]|$)|(?<=${PUNCTUATED})(?=-{2,}[${WORD}])))`,
  'u',
);
const SPACES = new RegExp(`([${SPACE}]+)`);

/** `wrapString` joins the lines and, as it is a safe string or not, makes the result one. */
export function wordWrap(
  run: Run,
  value: Value,
  width: Value = 79,
  breakLongWords: Value = true,
  wrapString: Value = '\n',
  breakOnHyphens: Value = true,
): Value {
  const text = requireText(value, 'the value of wordwrap');
  if (!isNumber(width)) fail(`the width of wordwrap must be a number, not ${typeName(width)}`);
  const isSafe = wrapString instanceof SafeText;
  const joint = requireText(wrapString ?? '\n', 'the wrapstring of wordwrap');
  const options = { width, breakLongWords: isTrue(breakLongWords), breakOnHyphens };
  const lines = (TEXT_METHODS.get('splitlines')!.call(text, [], NO_KEYWORDS, run) as string[]).map((line) => {
    const wrapped = wrap(run, line, options);
    return joinTexts(run, joint, isSafe ? wrapped.map(escapeHtml) : wrapped);
  });
  const whole = joinTexts(run, joint, lines);
  return isSafe ? new SafeText(whole) : whole;
}

type Options = { width: number | bigint | boolean | { value: number }; breakLongWords: boolean; breakOnHyphens: Value };

function wrap(run: Run, line: string, options: Options): string[] {
  const width = Number(numeric(options.width as number));
  if (width <= 0) fail(`invalid width ${width} (must be > 0)`);
  // Each dash of a row of dashes looks to the end of the row.
  for (const [dashes] of line.matchAll(/-{2,}/g)) spend(run, costOfText(dashes.length ** 2));
  const chunks = line
    .split(options.breakOnHyphens === true ? BREAKS : SPACES)
    .filter((chunk) => chunk)
    .reverse();
  checkListLength(run, chunks.length);
  const lines: string[] = [];
  while (chunks.length > 0) {
    if (lines.length > 0 && isBlank(chunks.at(-1)!)) chunks.pop();
    const parts: string[] = [];
    let length = 0;
    for (let next = chunks.at(-1); next !== undefined && length + lengthOf(next) <= width; next = chunks.at(-1)) {
      length += lengthOf(next);
      parts.push(chunks.pop()!);
    }
    const long = chunks.at(-1);
    if (long !== undefined && lengthOf(long) > width) {
      if (options.breakLongWords) {
        if (!isInteger(options.width)) fail('slice indices must be integers or None or have an __index__ method');
        const [head, rest] = breakWord(run, long, width < 1 ? 1 : width - length, isTrue(options.breakOnHyphens));
        parts.push(head);
        chunks[chunks.length - 1] = rest;
      } else if (parts.length === 0) parts.push(chunks.pop()!);
    }
    if (parts.length > 0 && isBlank(parts.at(-1)!)) parts.pop();
    if (parts.length > 0) lines.push(parts.join(''));
  }
  return lines;
}

function isBlank(text: string): boolean {
  return strip(text, undefined, true, true) === '';
}

/** A word in two where the line ends, or after the last hyphen before. */
function breakWord(run: Run, word: string, room: number, atHyphen: boolean): [head: string, rest: string] {
  spend(run, 1 + (hasSurrogates(word) ? word.length : 0));
  const characters = hasSurrogates(word) ? [...word] : word;
  let end = room;
  const hyphen = characters.slice(0, room).lastIndexOf('-');
  const cut = (from: number, to?: number): string => {
    const piece = characters.slice(from, to);
    return typeof piece === 'string' ? piece : piece.join('');
  };
  if (atHyphen && hyphen > 0 && /[^-]/.test(cut(0, hyphen))) end = hyphen + 1;
  return [cut(0, end), cut(end)];
}
