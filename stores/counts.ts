/**
 * Counts of long lists. Counting a hundred thousand rows takes longer than reading a page of them, and every client of a busy
 * list asks for the same number: equal counts under way are one, and one that took long is good for a second.
 */
import type { RawBuilder } from 'kysely';
import type { Database } from './database.js';

/** Counts quicker than this are made anew each time: they are exact to the moment. */
const QUICK_MS = 5;
const GOOD_FOR_MS = 1_000;
/** Different lists remembered at once. */
const MAX_ENTRIES = 1_000;

interface Entry {
  count: Promise<number>;
  /** When it may be used no more; Infinity while it is under way. */
  untilMs: number;
}

const ofDatabase = new WeakMap<Database, Map<string, Entry>>();

/** Rows that a `select count(*) as total` finds, now or within the last second. */
export function countRows(database: Database, statement: RawBuilder<{ total: number }>): Promise<number> {
  const entries = ofDatabase.get(database) ?? new Map<string, Entry>();
  ofDatabase.set(database, entries);
  const { sql, parameters } = statement.compile(database);
  const key = JSON.stringify([sql, parameters]);
  const known = entries.get(key);
  if (known && performance.now() < known.untilMs) return known.count;
  const startMs = performance.now();
  const entry: Entry = {
    untilMs: Infinity,
    count: statement.execute(database).then(
      ({ rows }) => {
        const endMs = performance.now();
        if (endMs - startMs < QUICK_MS) entries.delete(key);
        else entry.untilMs = endMs + GOOD_FOR_MS;
        return rows[0]?.total ?? 0;
      },
      (error: unknown) => {
        entries.delete(key);
        throw error;
      },
    ),
  };
  if (entries.size >= MAX_ENTRIES) entries.clear();
  entries.set(key, entry);
  return entry.count;
}
