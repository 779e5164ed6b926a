/** Work that waits for a server that is away: what trains goes on meanwhile, and what it said is written once the server is back. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Failure } from '../schemas/activities.js';
import { describeFailure } from './failures.js';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;
const OUTAGES = new Set(['DATABASE_UNAVAILABLE', 'OBJECT_STORE_UNAVAILABLE']);

/** What work waits for now, by the signal that ends it. */
const waits = new WeakMap<AbortSignal, Failure>();

/** For heartbeats, which bring it to whoever looks at the job; undefined while nothing is waited for. */
export function outageOf(signal: AbortSignal): Failure | undefined {
  return waits.get(signal);
}

/** Repeats work, which must bear that, for as long as Postgres or S3 does not answer; any other failure, and one after `signal`, is thrown. */
export async function throughOutages<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  let told: Failure | undefined;
  try {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
      try {
        return await work();
      } catch (error) {
        const failure = describeFailure(error);
        if (signal.aborted || !OUTAGES.has(failure.code)) throw error;
        waits.set(signal, (told = failure));
        await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
      }
    }
  } finally {
    if (told && waits.get(signal) === told) waits.delete(signal);
  }
}
