/**
 * Keeps text that looks like control tokens (`<|eot_id|>` in a user's message) text.
 *
 * Before a row is rendered, each look-alike in it gives way to one private-use character that occurs nowhere in the row or the template;
 * the template works on that; afterwards the characters become the look-alikes again, as segments of their own marked literal, which the
 * trainer encodes without control tokens. What the template itself prints stays a control token.
 */
import type { Segment } from '../schemas/trainerProtocol.js';
import { Float } from './jinja/values.js';

const FIRST_PRIVATE = 0xe000;
const LAST_PRIVATE = 0xf8ff;

export type ControlTokenGuard = {
  /** The value with every look-alike replaced, in strings however deep, and the look-alikes found (each once). */
  hide(value: unknown): { value: unknown; found: string[]; restore: Restore };
};

/** Segments of a rendered piece of text, with the look-alikes back in place. */
export type Restore = (text: string, trained: boolean) => Segment[];

/** `roles` of messages are left alone: templates compare them. */
const UNTOUCHED_KEYS = new Set(['role', 'type']);

export function makeControlTokenGuard(specialTokens: string[], template: string): ControlTokenGuard {
  const tokens = [...new Set(specialTokens)].filter((token) => token !== '').sort((a, b) => b.length - a.length);
  const plain: Restore = (text, trained) => (text === '' ? [] : [[text, trained]]);
  if (tokens.length === 0) return { hide: (value) => ({ value, found: [], restore: plain }) };
  const starts = tokenStarts(tokens);
  const pattern = new RegExp(tokens.map((token) => token.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|'), 'g');
  return {
    hide: (value) => {
      if (!hasText(value, starts)) return { value, found: [], restore: plain };
      const found = new Set<string>();
      eachText(value, (text) => {
        if (text.search(pattern) >= 0) for (const token of text.match(pattern)!) found.add(token);
      });
      if (found.size === 0) return { value, found: [], restore: plain };
      const standIns = chooseStandIns([...found], value, template);
      const tokenOf = new Map([...standIns].map(([token, character]) => [character, token]));
      const pieces = new RegExp(`([${[...tokenOf.keys()].join('')}])`);
      return {
        value: mapTexts(value, (text) => text.replace(pattern, (token) => standIns.get(token)!)),
        found: [...found],
        restore: (text, trained) =>
          text
            .split(pieces)
            .filter((piece) => piece !== '')
            .map((piece): Segment => (tokenOf.has(piece) ? [tokenOf.get(piece)!, trained, true] : [piece, trained])),
      };
    },
  };
}

/** Text without any of these has no control token. */
export function tokenStarts(tokens: string[]): string[] {
  return [...new Set(tokens.filter((token) => token !== '').map((token) => token.slice(0, 2)))];
}

function chooseStandIns(tokens: string[], value: unknown, template: string): Map<string, string> {
  let present = template;
  eachText(value, (text) => (present += text));
  const standIns = new Map<string, string>();
  let code = FIRST_PRIVATE;
  for (const token of tokens) {
    while (present.includes(String.fromCharCode(code))) {
      if (++code > LAST_PRIVATE) throw new Error('a row uses every private-use character and control tokens as well');
    }
    standIns.set(token, String.fromCharCode(code++));
  }
  return standIns;
}

/** Whether a string, however deep, has one of the texts in it. Most rows have none, and are told by this alone. */
function hasText(value: unknown, texts: string[]): boolean {
  if (typeof value === 'string') {
    for (const text of texts) if (value.includes(text)) return true;
  } else if (Array.isArray(value)) {
    for (const item of value) if (hasText(item, texts)) return true;
  } else if (typeof value === 'object' && value !== null) {
    for (const key in value) {
      if (!UNTOUCHED_KEYS.has(key) && hasText((value as Record<string, unknown>)[key], texts)) return true;
    }
  }
  return false;
}

function eachText(value: unknown, visit: (text: string) => void): void {
  if (typeof value === 'string') visit(value);
  else if (Array.isArray(value)) for (const item of value) eachText(item, visit);
  else if (typeof value === 'object' && value !== null) {
    for (const key of Object.keys(value)) if (!UNTOUCHED_KEYS.has(key)) eachText((value as Record<string, unknown>)[key], visit);
  }
}

function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change));
  if (typeof value !== 'object' || value === null || value instanceof Float) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, UNTOUCHED_KEYS.has(key) ? item : mapTexts(item, change)]));
}
