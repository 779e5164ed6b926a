/**
 * Counts of long lists. Counting a hundred thousand rows takes longer than reading a page of them, and every client of a busy
 * list asks for the same number: equal counts under way are one, and one that took long is good for a second. After that it is
 * counted anew, and whoever asks meanwhile has the old number rather than the wait, if it is not much older.
 */
import type { RawBuilder } from 'kysely';
import type { Database } from './database.js';

/** Counts quicker than this are made anew each time: they are exact to the moment. */
const QUICK_MS = 5;
const GOOD_FOR_MS = 1_000;
/** Older than this it is waited for. */
const USED_FOR_MS = 2_000;
/** Different lists remembered at once. */
const MAX_ENTRIES = 1_000;

interface Entry {
  /** The last that ended, and when; none before the first. */
  known: { total: number; atMs: number } | null;
  /** The one under way. */
  counting: Promise<number> | null;
}

const ofDatabase = new WeakMap<Database, Map<string, Entry>>();

/** Rows that a `select count(*) as total` finds: now, or of a long list a moment ago. */
export async function countRows(database: Database, statement: RawBuilder<{ total: number }>): Promise<number> {
  const entries = ofDatabase.get(database) ?? new Map<string, Entry>();
  ofDatabase.set(database, entries);
  const { sql, parameters } = statement.compile(database);
  const key = JSON.stringify([sql, parameters]);
  const entry = entries.get(key) ?? { known: null, counting: null };
  if (entries.size >= MAX_ENTRIES) entries.clear();
  entries.set(key, entry);
  const ageMs = entry.known ? performance.now() - entry.known.atMs : Infinity;
  if (ageMs >= GOOD_FOR_MS && !entry.counting) {
    entry.counting = count();
    entry.counting.catch(() => {}); // told to whoever waits for it
  }
  if (entry.known && ageMs < USED_FOR_MS) return entry.known.total;
  return entry.counting ?? entry.known!.total;

  async function count(): Promise<number> {
    const startMs = performance.now();
    try {
      const { rows } = await statement.execute(database);
      const total = rows[0]?.total ?? 0;
      const atMs = performance.now();
      if (atMs - startMs < QUICK_MS) entries.delete(key);
      else entry.known = { total, atMs };
      return total;
    } catch (error) {
      entries.delete(key);
      throw error;
    } finally {
      entry.counting = null;
    }
  }
}
