/** What a safe string does that a plain one does not: it escapes what joins it. Chat templates come here by `|tojson|safe`. */
import { toText } from './printing.js';
import { SafeText, Tuple, type Run, type Value } from './values.js';

const HTML_ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&#39;', '"': '&#34;' };

export function escapeHtml(text: string): string {
  return text.replace(/[&<>'"]/g, (character) => HTML_ESCAPES[character]!);
}

/** The text of a value that joins a safe string. */
export function toSafe(run: Run, value: Value): string {
  return value instanceof SafeText ? value.text : escapeHtml(toText(run, value));
}

/** Strings, and strings in lists and tuples, as safe ones: what a method of a safe string gives. */
export function markSafe(value: Value): Value {
  if (typeof value === 'string') return new SafeText(value);
  if (value instanceof Tuple) return Tuple.from(value.map(markSafe));
  return Array.isArray(value) ? value.map(markSafe) : value;
}
