/** Wakes whoever waits for a job's next event: one Postgres connection a process listens for all of them. */
import pg from 'pg';
import { KEEP_ALIVE } from './database.js';
import { EVENTS_CHANNEL } from './events.js';

export interface EventFeed {
  /** Calls `wake` after each new event of the job, until the returned function is called. A wake-up may be lost: poll as well. */
  subscribe(uid: string, wake: () => void): () => void;
  close(): Promise<void>;
}

const RECONNECT_AFTER_MS = 1_000;

/** Connects when the first subscriber comes, and again whenever the connection is lost. */
export function openEventFeed(databaseUrl: string): EventFeed {
  const subscribers = new Map<string, Set<() => void>>();
  let client: pg.Client | null = null;
  let retry: NodeJS.Timeout | undefined;
  let closed = false;

  async function connect(): Promise<void> {
    if (closed || client) return;
    const candidate = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 5_000, ...KEEP_ALIVE });
    client = candidate;
    candidate.on('notification', ({ payload }) => subscribers.get(payload ?? '')?.forEach((wake) => wake()));
    candidate.on('error', () => undefined); // followed by `end`
    candidate.on('end', () => {
      if (client === candidate) reconnectLater();
    });
    try {
      await candidate.connect();
      await candidate.query(`listen ${EVENTS_CHANNEL}`);
      // What was said while nobody listened is found by looking once.
      for (const wakes of subscribers.values()) wakes.forEach((wake) => wake());
    } catch {
      if (client === candidate) reconnectLater();
    }
  }

  function reconnectLater(): void {
    client = null;
    if (closed) return;
    clearTimeout(retry);
    retry = setTimeout(() => void connect(), RECONNECT_AFTER_MS);
  }

  return {
    subscribe(uid, wake) {
      const wakes = subscribers.get(uid) ?? new Set();
      subscribers.set(uid, wakes.add(wake));
      void connect();
      return () => {
        wakes.delete(wake);
        if (wakes.size === 0 && subscribers.get(uid) === wakes) subscribers.delete(uid);
      };
    },
    async close() {
      closed = true;
      clearTimeout(retry);
      const last = client;
      client = null;
      await last?.end().catch(() => undefined);
    },
  };
}
