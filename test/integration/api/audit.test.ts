/** The audit trail: what every changing request leaves, what it never holds, and that nothing takes it away. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { freshId, secretKeys, stack, until, type Json } from '../../temper.js';

const accountId = freshId('audit');
const apiKey = `tk_${randomUUID()}`;
const canary = `canary-${randomUUID()}`;
let database: Database;

async function send(method: string, path: string, body?: object, key = apiKey): Promise<{ status: number; body: Json; requestId: string }> {
  const headers = { authorization: `Bearer ${key}`, ...(body ? { 'content-type': 'application/json' } : {}) };
  const reply = await fetch(`${stack().apiUrl}/v1/accounts/${accountId}/${path}`, { method, headers, body: body && JSON.stringify(body) });
  return { status: reply.status, body: (await reply.json()) as Json, requestId: reply.headers.get('x-request-id')! };
}
/** Written right after the answer. */
const eventOf = (requestId: string) =>
  until('the audit event', async () => {
    const { status, body } = await send('GET', `auditEvents/${requestId}`);
    return status === 200 && body;
  });

beforeAll(async () => {
  database = openDatabase(stack().databaseUrl);
  await bootstrapAccount(database, secretKeys(), accountId, apiKey);
});
afterAll(() => database.destroy());

it('says who did what, from where, with which key and outcome', async () => {
  const { requestId } = await send('POST', 'datasets', { datasetId: 'one' });
  const event = await eventOf(requestId);
  expect(event).toMatchObject({
    name: `accounts/${accountId}/auditEvents/${requestId}`,
    user: `accounts/${accountId}/users/admin`,
    email: `admin@${accountId}.local`,
    method: 'POST',
    path: `/v1/accounts/${accountId}/datasets`,
    resource: `accounts/${accountId}/datasets/one`,
    status: 200,
    reason: '',
    address: '127.0.0.1',
  });
  expect(event['keyId']).toMatch(/^key-[0-9a-f]{16}$/);
  expect(Math.abs(Date.parse(event['time'] as string) - Date.now())).toBeLessThan(60_000);
});

it('has refusals with their reason, and no reading', async () => {
  const refused = await send('PATCH', 'users/admin', { role: 'user' });
  expect(await eventOf(refused.requestId)).toMatchObject({
    status: 400,
    reason: 'ILLEGAL_STATE',
    resource: `accounts/${accountId}/users/admin`,
  });
  const read = await send('GET', 'datasets/one');
  await eventOf((await send('DELETE', 'datasets/one')).requestId);
  expect((await send('GET', `auditEvents/${read.requestId}`)).status).toBe(404);
});

it('is in the trail of the account that an operator acts on', async () => {
  const { requestId } = await send('POST', 'users?userId=helper', { role: 'user' }, stack().apiKey);
  expect(await eventOf(requestId)).toMatchObject({
    user: `accounts/${stack().accountId}/users/admin`,
    resource: `accounts/${accountId}/users/helper`,
  });
});

it('holds nothing of bodies and queries', async () => {
  const stored = await send('POST', 'secrets', { name: 'precious', keyName: canary, value: canary });
  await eventOf(stored.requestId);
  await eventOf((await send('PATCH', `secrets/precious?updateMask=value&x=${canary}`, { value: canary })).requestId);
  const { rows } = await sql`select * from audit_events where account_id = ${accountId}`.execute(database);
  expect(rows.length).toBeGreaterThan(4);
  expect(JSON.stringify(rows)).not.toContain(canary);
});

it('is listed newest first, filtered and ordered; by admins only', async () => {
  const all = (await send('GET', 'auditEvents')).body['auditEvents'] as Json[];
  expect(all.map(({ time }) => time as string)).toEqual(
    all
      .map(({ time }) => time as string)
      .sort()
      .reverse(),
  );
  const filter = encodeURIComponent('method = "POST" AND status < 300 AND resource : "datasets"');
  const some = (await send('GET', `auditEvents?filter=${filter}&orderBy=time`)).body;
  expect(some).toMatchObject({ totalSize: 1, auditEvents: [{ resource: `accounts/${accountId}/datasets/one` }] });
  const { key } = (await send('POST', 'users/helper/apiKeys', {})).body;
  expect((await send('GET', 'auditEvents', undefined, key as string)).status).toBe(403);
});

it('is read on the command line, as are quotas and accounts', async () => {
  const cli = path.join(import.meta.dirname, '..', '..', '..', 'cli', 'bin.js');
  const env = { PATH: process.env['PATH'], HOME: '/nowhere', TEMPER_API_URL: stack().apiUrl, TEMPER_API_KEY: apiKey };
  const temper = async (...args: string[]) => (await promisify(execFile)(process.execPath, [cli, ...args], { env })).stdout;
  const [events, quotas, accounts] = await Promise.all([
    temper('list', 'audit-events', '--filter', 'reason = "ILLEGAL_STATE"'),
    temper('list', 'quotas'),
    temper('list', 'accounts', '--quiet'),
  ]);
  expect(events).toMatch(/PATCH +users\/admin +400 ILLEGAL_STATE +127\.0\.0\.1/);
  expect(quotas).toMatch(/queued-jobs +0 +20,000/);
  expect(accounts.trim()).toBe(accountId);
});

it('cannot be changed or shortened', async () => {
  for (const statement of [sql`update audit_events set reason = 'x'`, sql`delete from audit_events`])
    await expect(statement.execute(database)).rejects.toThrow('only added to');
});
