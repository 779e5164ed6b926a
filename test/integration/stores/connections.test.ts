/** Connections to Postgres that break, or say nothing more: whoever asks is told, asks again on another, and no process ends. */
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openDatabase, type Database } from '../../../stores/database.js';
import { isDatabaseOutage } from '../../../stores/outages.js';
import { startRelay, type Relay } from '../../faultProxy.js';
import { call, devFile, stack, until } from '../../temper.js';

const SILENCE_MS = 400;
let relay: Relay;
let database: Database;

beforeAll(async () => {
  const url = new URL(stack().databaseUrl);
  relay = await startRelay(Number(url.port), '127.0.0.1');
  url.host = relay.address;
  database = openDatabase(url.href, { maxConnections: 1, silenceMs: SILENCE_MS });
});
afterAll(async () => {
  await database.destroy();
  await relay.close();
});

const ask = (on = database) => sql<{ one: number }>`select 1 as one`.execute(on);

it('a query that is never answered ends as an outage, also within a transaction, and the next goes on', async () => {
  expect((await ask()).rows).toEqual([{ one: 1 }]);
  for (const silent of [() => ask(), () => database.transaction().execute((transaction) => ask(transaction))]) {
    relay.swallows = true;
    const error = (await silent().catch((cause: unknown) => cause)) as { code?: string; message: string };
    expect(error).toBeInstanceOf(Error);
    expect(isDatabaseOutage(error.code, error.message)).toBe(true);
    relay.swallows = false;
    expect((await ask()).rows).toEqual([{ one: 1 }]);
  }
});

it('what breaks in the middle of a query costs the request, and not the process', async () => {
  const { api, workers } = devFile().pids;
  const server = openDatabase(stack().databaseUrl, { maxConnections: 1 });
  let broken = 0;
  let isOver = false;
  const statuses = new Set<number>();
  const clients = Array.from({ length: 8 }, async (_, index) => {
    while (!isOver) statuses.add((await call('GET', `fineTuningJobs?pageSize=${10 + index}`)).status);
  });
  try {
    await until('connections to be broken while they are used', async () => {
      const { rows } = await sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and state = 'active' and pid <> pg_backend_pid()`.execute(server);
      return (broken += rows.length) >= 10;
    });
  } finally {
    isOver = true;
    await Promise.all(clients);
    await server.destroy();
  }
  expect([...statuses].filter((status) => status !== 200 && status !== 503)).toEqual([]);
  await sleep(1_000);
  expect(devFile().pids).toMatchObject({ api, workers });
});
