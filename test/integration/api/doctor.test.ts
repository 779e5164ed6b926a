/** `GET /v1/doctor` and `temper doctor`: what is well is said to be, what is not is found and comes with advice. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { afterAll, describe, expect, it } from 'vitest';
import type { Check, DoctorReport } from '../../../schemas/doctor.js';
import { openDatabase } from '../../../stores/database.js';
import { stack, until } from '../../temper.js';
import { startApi } from './server.js';

const database = openDatabase(stack().databaseUrl);
afterAll(() => database.destroy());

const authorization = { authorization: `Bearer ${stack().apiKey}` };

async function ask(): Promise<DoctorReport> {
  const reply = await fetch(`${stack().apiUrl}/v1/doctor`, { headers: authorization });
  expect(reply.status).toBe(200);
  return (await reply.json()) as DoctorReport;
}

const find = ({ checks }: DoctorReport, component: string, name: RegExp): Check =>
  checks.find((check) => check.component === component && name.test(check.name))!;

const run = promisify(execFile);
const bin = fileURLToPath(new URL('../../../cli/bin.js', import.meta.url));

async function doctor(apiUrl: string): Promise<{ code: number; report: DoctorReport }> {
  const args = [bin, 'doctor', '-o', 'json', '--api-url', apiUrl, '--api-key', stack().apiKey];
  const { code, stdout } = await run(process.execPath, args).then(
    (done) => ({ code: 0, stdout: done.stdout }),
    (error: { code: number; stdout: string }) => error,
  );
  return { code, report: JSON.parse(stdout) as DoctorReport };
}

describe('a stack that is well', () => {
  it('has every component checked, and none failed', async () => {
    // Workers have just started, or were killed by another test.
    const report = await until('no check to fail', async () => {
      const found = await ask();
      return found.state !== 'FAILED' &&
        ['control', 'data', 'gpu', 'reports'].every((kind) => find(found, 'worker', new RegExp(`^${kind} .* alive`)))
        ? found
        : null;
    });
    for (const component of ['api', 'database', 'objectStore', 'temporal', 'queue', 'worker', 'baseModel', 'job', 'webhook'])
      expect(report.checks.map((check) => check.component)).toContain(component);
    // Temporal remembers those that another test killed for some minutes.
    expect(find(report, 'queue', /temper-gpu/).message).toMatch(/[1-9]\d* workers? polls?/);
    expect(find(report, 'worker', /^gpu .* trainer/).message).toMatch(/torch \d/);
    expect(JSON.stringify(report)).not.toContain(stack().apiKey);
  });

  it('and temper doctor exits with 0', async () => {
    const { code, report } = await doctor(stack().apiUrl);
    expect(code).toBe(0);
    expect(report.checks.some((check) => check.component === 'cli')).toBe(true);
  });
});

describe('what is wrong', () => {
  it.each([
    ['temporal', 'temporal'],
    ['objects', 'objectStore'],
  ] as const)('%s away: is found, with what to do, and fails temper doctor', async (missing, component) => {
    const { server, close } = await startApi({}, missing);
    try {
      const address = await server.listen({ host: '127.0.0.1', port: 0 });
      const { code, report } = await doctor(address);
      expect(code).toBe(1);
      const check = find(report, component, /reachable/);
      expect(check.state).toBe('FAILED');
      expect(check.advice).toMatch(/Start/);
      expect(find(report, 'database', /reachable/).state).toBe('OK');
    } finally {
      await close();
    }
  });

  it('a worker that fell silent, with another version, a full disk, a wrong clock and no trainer', async () => {
    const gpu = { name: 'H100', memoryBytes: 85e9, driver: '570.1' };
    const report = {
      ...{ queue: 'temper-gpu', slots: 1, busy: 0, host: 'far', node: 'v20.6.0', diskFreeBytes: 1, diskBytes: 1e12, models: [] },
      trainer: { versions: {}, error: 'No module named torch', gpus: [gpu] },
    };
    await sql`insert into workers (identity, kind, version, start_time, clock_offset_ms, report)
      values ('far:1', 'gpu', '0.0.9', now(), 90000, ${JSON.stringify(report)})`.execute(database);
    try {
      const found = await ask();
      expect(found.state).toBe('FAILED');
      expect(find(found, 'worker', /far:1 version/).state).toBe('WARNING');
      for (const name of ['disk', 'clock', 'trainer']) expect(find(found, 'worker', new RegExp(`far:1 ${name}`)).state).toBe('FAILED');
      await sql`update workers set heartbeat_time = now() - interval '1 minute' where identity = 'far:1'`.execute(database);
      expect(find(await ask(), 'worker', /far:1 alive/).state).toBe('WARNING');
    } finally {
      await sql`delete from workers where identity = 'far:1'`.execute(database);
    }
  });

  it('migrations of a newer version', async () => {
    await sql`insert into migrations (name) values ('9999_future.sql')`.execute(database);
    try {
      expect(find(await ask(), 'database', /migrations/).state).toBe('WARNING');
    } finally {
      await sql`delete from migrations where name = '9999_future.sql'`.execute(database);
    }
  });

  it('nothing listens: temper doctor says so at once', async () => {
    const { code, report } = await doctor('http://127.0.0.1:1');
    expect(code).toBe(1);
    expect(find(report, 'api', /reachable/).advice).toMatch(/Start the API/);
  });
});
