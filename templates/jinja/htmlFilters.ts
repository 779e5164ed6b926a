/** Jinja's filters for web pages, which few chat templates need: `striptags`, `urlencode`, `urlize`, `xmlattr`. */
import { decodeHTML } from 'entities';
import { fail } from './errors.js';
import { WHITESPACE } from './lexer.js';
import { toRepr, toText } from './printing.js';
import { escapeHtml, toSafe } from './safeText.js';
import { split } from './textMethods.js';
import {
  Bytes,
  SafeText,
  checkListLength,
  checkText,
  costOfText,
  dictEntries,
  isDict,
  isIterable,
  isTrue,
  itemsOf,
  lengthOf,
  requireIndex,
  requireText,
  spend,
  typeName,
  type Run,
  type Value,
} from './values.js';

/** Text without tags and comments, in one line, its references to characters resolved. */
export function stripTags(run: Run, value: Value): string {
  const text = toText(run, value);
  spend(run, costOfText(text.length));
  const parts: string[] = [];
  let at = 0;
  for (let start = text.indexOf('<'); start >= 0; start = text.indexOf('<', at)) {
    const isComment = text.startsWith('<!--', start);
    const end = isComment ? text.indexOf('-->', start + 4) : text.indexOf('>', start);
    if (end < 0) break;
    parts.push(text.slice(at, start));
    at = end + (isComment ? 3 : 1);
  }
  checkListLength(run, parts.length);
  const bare = parts.join('') + text.slice(at);
  return checkText(run, unescapeHtml(split(run, bare, null, -1).join(' ')));
}

const REFERENCE = /&(#\d+;?|#[xX][\da-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)/gu;
/** Numbers that Windows' old code page gives another meaning, from 0x80 on. */
const CODE_PAGE = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';

/** Python's `html.unescape`. */
function unescapeHtml(text: string): string {
  return text.replace(REFERENCE, (whole, reference: string) => {
    if (!reference.startsWith('#')) return decodeHTML(whole);
    const digits = reference.replace(';', '').slice(1);
    const code = /^x/i.test(digits) ? parseInt(digits.slice(1), 16) : parseInt(digits, 10);
    if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return '\ufffd';
    if (code >= 0x80 && code <= 0x9f) return CODE_PAGE[code - 0x80]!;
    const isRefused = /[\x01-\x08\x0b\x0e-\x1f\x7f\ufdd0-\ufdef]/.test(String.fromCodePoint(code)) || (code & 0xfffe) === 0xfffe;
    return isRefused ? '' : String.fromCodePoint(code);
  });
}

/** Percent signs for what a URL cannot hold: of a text, or of the pairs of a query. */
export function urlEncode(run: Run, value: Value): string {
  if (typeof value === 'string' || value instanceof SafeText || !isIterable(value)) return quoteUrl(run, value).replaceAll('%2F', '/');
  const pairs = isDict(value) ? dictEntries(value) : itemsOf(run, value).map((pair) => itemsOf(run, pair));
  spend(run, pairs.length);
  const words = pairs.map((pair) => {
    if (pair.length !== 2) fail(`a pair has two values, this one ${pair.length}`);
    return pair.map((part) => quoteUrl(run, part).replaceAll('%20', '+')).join('=');
  });
  return checkText(run, words.join('&'));
}

function quoteUrl(run: Run, value: Value): string {
  if (value instanceof Bytes) return checkText(run, Array.from(value.data, quoteByte).join(''));
  const text = toText(run, value);
  // Lone surrogates have no UTF-8.
  if (/\p{Cs}/u.test(text)) fail('a lone surrogate cannot be encoded');
  return checkText(
    run,
    encodeURIComponent(text).replace(/[!'()*]/g, (character) => quoteByte(character.charCodeAt(0))),
  );
}

function quoteByte(byte: number): string {
  const character = String.fromCharCode(byte);
  return /[\w.~-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}

/** ` name="value"` for each item of a dict that is not None or undefined. */
export function xmlAttributes(run: Run, value: Value, autoSpace: Value = true): Value {
  if (!isDict(value)) fail(`'${typeName(value)}' object has no attribute 'items'`);
  const entries = dictEntries(value).filter(([, item]) => item !== null && item !== undefined);
  spend(run, entries.length);
  const attributes = entries.map(([key, item]) => {
    const name = requireText(key, 'the name of an attribute');
    if (/[ \t\n\r\f\v/>=]/.test(name)) fail(`Invalid character in attribute name: ${toRepr(run, name)}`);
    return `${toSafe(run, key)}="${toSafe(run, item)}"`;
  });
  const text = checkText(run, (isTrue(autoSpace) && attributes.length > 0 ? ' ' : '') + attributes.join(' '));
  return run.autoescape ? new SafeText(text) : text;
}

const [WORD, DIGIT] = ['[\\p{L}\\p{N}_%-]', '\\p{Nd}'];
const WEB_ADDRESS = new RegExp(
  `^(?:(?:https?://|www\\.)(?:(?:${WORD}+\\.)+)?(?:[a-z]{2,63}|xn--[\\p{L}\\p{N}_%]{2,59})|` +
    `(?:${WORD}{2,63}\\.)+(?:com|net|int|edu|gov|org|info|mil)|` +
    `https?://(?:${DIGIT}{1,3}(?:\\.${DIGIT}{1,3}){3}|\\[(?:[${DIGIT}a-f]{0,4}:){2}(?:[${DIGIT}a-f]{0,4}:?){1,6}\\]))` +
    `(?::${DIGIT}{1,5})?(?:[/?#][^${WHITESPACE}]*)?$`,
  'iu',
);
const MAIL_ADDRESS = new RegExp(`^[^${WHITESPACE}]+@[\\p{L}\\p{N}_][\\p{L}\\p{N}_.-]*\\.[\\p{L}\\p{N}_]+$`, 'u');
const SCHEME = /^[\p{L}\p{N}_.+-]{2,}:\/{0,2}$/u;
const SPACES = new RegExp(`([${WHITESPACE}]+)`);

/** Links around the addresses in a text, which is escaped first. */
export function urlize(
  run: Run,
  value: Value,
  limit?: Value,
  noFollow?: Value,
  target?: Value,
  relation?: Value,
  extraSchemes?: Value,
): Value {
  const relations = new Set(isTrue(relation) ? split(run, requireText(relation, 'rel'), null, -1) : []);
  if (isTrue(noFollow)) relations.add('nofollow');
  relations.add('noopener');
  const schemes = (extraSchemes ?? null) === null ? [] : itemsOf(run, extraSchemes).map((scheme) => requireText(scheme, 'a scheme'));
  for (const scheme of schemes) if (!SCHEME.test(scheme)) fail(`${toRepr(run, scheme)} is not a valid URI scheme prefix.`);
  const attributes = ` rel="${escapeHtml([...relations].sort().join(' '))}"${isTrue(target) ? ` target="${toSafe(run, target)}"` : ''}`;
  const link = (address: string, words: string): string => `<a href="${address}"${attributes}>${words}</a>`;
  const shorten = (address: string): string => {
    if ((limit ?? null) === null) return address;
    const most = requireIndex(limit);
    return lengthOf(address) > most ? `${[...address].slice(0, most).join('')}...` : address;
  };
  const mark = (word: string): string => {
    if (WEB_ADDRESS.test(word)) return link(/^https?:\/\//.test(word) ? word : `https://${word}`, shorten(word));
    if (word.startsWith('mailto:') && MAIL_ADDRESS.test(word.slice(7))) return `<a href="${word}">${word.slice(7)}</a>`;
    if (/^(?!www\.|@)[^:]*$/.test(word) && MAIL_ADDRESS.test(word)) return `<a href="mailto:${word}">${word}</a>`;
    const isOfScheme = (marked: string, scheme: string): boolean => marked !== scheme && marked.startsWith(scheme);
    return schemes.reduce((marked, scheme) => (isOfScheme(marked, scheme) ? link(marked, marked) : marked), word);
  };
  const words = checkText(run, toSafe(run, value)).split(SPACES);
  checkListLength(run, words.length);
  spend(run, words.length);
  const marked = words.map((word) => {
    const { head, middle, tail } = withoutBrackets(word);
    return head + mark(middle) + tail;
  });
  const text = checkText(run, marked.join(''));
  return run.autoescape ? new SafeText(text) : text;
}

/** A word without the brackets before it and the brackets and stops behind it; brackets that belong to it stay. */
function withoutBrackets(word: string): { head: string; middle: string; tail: string } {
  const head = /^(?:[(<]|&lt;)*/.exec(word)![0];
  let end = word.length;
  while (end > head.length) {
    if (/[)>.,\n]/.test(word[end - 1]!)) end--;
    else if (word.endsWith('&gt;', end) && end - 4 >= head.length) end -= 4;
    else break;
  }
  let [middle, tail] = [word.slice(head.length, end), word.slice(end)];
  for (const [open, close] of [
    ['(', ')'],
    ['<', '>'],
    ['&lt;', '&gt;'],
  ] as const) {
    const opened = occurrences(middle, open);
    if (opened <= occurrences(middle, close)) continue;
    for (let moves = Math.min(opened, occurrences(tail, close)); moves > 0; moves--) {
      const cut = tail.indexOf(close) + close.length;
      middle += tail.slice(0, cut);
      tail = tail.slice(cut);
    }
  }
  return { head, middle, tail };
}

function occurrences(text: string, part: string): number {
  return text.split(part).length - 1;
}
