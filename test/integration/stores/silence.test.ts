/** A network that swallows what is sent: whoever asks Postgres is told, and asks again on another connection. */
import { connect, createServer, type Socket } from 'node:net';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openDatabase, type Database } from '../../../stores/database.js';
import { isDatabaseOutage } from '../../../stores/outages.js';
import { stack } from '../../temper.js';

const SILENCE_MS = 400;
let swallow = false;
const sockets = new Set<Socket>();
const proxy = createServer((near) => {
  const { hostname, port } = new URL(stack().databaseUrl);
  const far = connect(Number(port), hostname);
  const forward = (from: Socket, to: Socket) => {
    sockets.add(from);
    from.on('data', (bytes) => void (swallow || to.write(bytes)));
    from.on('error', () => undefined);
    from.on('close', () => to.destroy());
  };
  forward(near, far);
  forward(far, near);
});
let database: Database;

beforeAll(async () => {
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const url = new URL(stack().databaseUrl);
  url.port = String((proxy.address() as { port: number }).port);
  database = openDatabase(url.href, { maxConnections: 1, silenceMs: SILENCE_MS });
});
afterAll(async () => {
  await database.destroy();
  for (const socket of sockets) socket.destroy();
  proxy.close();
});

const ask = (on = database) => sql<{ one: number }>`select 1 as one`.execute(on);

it('a query that is never answered ends as an outage, also within a transaction, and the next goes on', async () => {
  expect((await ask()).rows).toEqual([{ one: 1 }]);
  for (const silent of [() => ask(), () => database.transaction().execute((transaction) => ask(transaction))]) {
    swallow = true;
    const error = (await silent().catch((cause: unknown) => cause)) as { code?: string; message: string };
    expect(error).toBeInstanceOf(Error);
    expect(isDatabaseOutage(error.code, error.message)).toBe(true);
    swallow = false;
    expect((await ask()).rows).toEqual([{ one: 1 }]);
  }
});
