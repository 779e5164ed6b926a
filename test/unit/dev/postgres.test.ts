import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createDatabase, databaseUrl, describePostgres, postgresFolder } from '../../../dev/postgres.js';
import { keepPorts } from '../../../dev/ports.js';
import { supervise, type SupervisedProcess } from '../../../dev/supervise.js';

let home: string;
let port: number;
let postgres: SupervisedProcess;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'temper-postgres-'));
  chmodSync(home, 0o711);
  port = (await keepPorts(home, ['postgres'])).postgres;
  const context = { logsFolder: join(home, 'logs'), progress: () => {}, onSpawn: () => {}, onRestart: () => {} };
  postgres = await supervise(await describePostgres({ home, port, password: 'secret' }), context);
  await createDatabase(port, 'secret');
}, 90_000);

afterAll(async () => {
  await postgres.stop();
  rmSync(postgresFolder(home), { recursive: true, force: true });
  rmSync(home, { recursive: true });
});

it('keeps every acknowledged row when its postmaster is killed, and comes back on the same port', async () => {
  await query('CREATE TABLE kept (n int)');
  const idle = new pg.Client(databaseUrl(port, 'secret'));
  idle.on('error', () => {});
  await idle.connect(); // its backend outlives the postmaster for a moment, with the shared memory
  for (let n = 1; n <= 20; n++) await query(`INSERT INTO kept VALUES (${n})`);
  process.kill(postgres.pid, 'SIGKILL');
  await vi.waitUntil(() => postgres.restarts === 1, { timeout: 60_000 });
  expect(await query('SELECT count(*)::int AS rows FROM kept')).toEqual([{ rows: 20 }]);
}, 90_000);

it('asks for the password', async () => {
  const client = new pg.Client(databaseUrl(port, 'wrong'));
  await expect(client.connect()).rejects.toThrow('password authentication failed');
});

async function query(sql: string): Promise<unknown[]> {
  const client = new pg.Client(databaseUrl(port, 'secret'));
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
