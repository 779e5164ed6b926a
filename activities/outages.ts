/** Work that waits for a server that is away: what trains goes on meanwhile, and what it said is written once the server is back. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeFailure } from './failures.js';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;
const OUTAGES = new Set(['DATABASE_UNAVAILABLE', 'OBJECT_STORE_UNAVAILABLE']);

/** Repeats work, which must bear that, for as long as Postgres or S3 does not answer; any other failure, and one after `signal`, is thrown. */
export async function throughOutages<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted || !OUTAGES.has(describeFailure(error).code)) throw error;
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }
}
