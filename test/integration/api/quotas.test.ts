/** Quotas: what they count, that they hold under parallel requests, and who may change them. An account of its own, so that nothing else counts. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createApiKey, generateApiKey } from '../../../stores/apiKeys.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { freshId, secretKeys, stack, toJsonl, until, type Json } from '../../temper.js';

const accountId = freshId('quotas');
const apiKey = `tk_${randomUUID()}`;
let database: Database;

async function send(method: string, path: string, body?: object, key = apiKey): Promise<{ status: number; body: Json; headers: Headers }> {
  const headers = { authorization: `Bearer ${key}`, ...(body ? { 'content-type': 'application/json' } : {}) };
  const reply = await fetch(`${stack().apiUrl}/v1/accounts/${accountId}/${path}`, { method, headers, body: body && JSON.stringify(body) });
  return { status: reply.status, body: (await reply.json()) as Json, headers: reply.headers };
}
const grant = async (quota: string, maxValue: number | null) => {
  const body = maxValue === null ? {} : { maxValue: String(maxValue) };
  const reply = await send('PATCH', `quotas/${quota}?updateMask=maxValue`, body, stack().apiKey);
  expect(reply.status).toBe(200);
  return reply.body;
};
const hasAskedInVain = async (id: string) =>
  ((await send('GET', `fineTuningJobs/${id}:listEvents`)).body['events'] as Json[]).some(({ message }) =>
    (message as string).includes('as many as its quota running-jobs allows'),
  );
/** The first in line asks by itself after 30 s. */
const CALLED_WITHIN_MS = 12_000;
const usage = async (quota: string) => (await send('GET', `quotas/${quota}`)).body['usage'] as number;

async function upload(id: string, content: string): Promise<{ status: number; body: Json }> {
  await send('POST', 'datasets', { datasetId: id });
  const form = new FormData();
  form.append('file', new Blob([content]), 'data.jsonl');
  const url = `${stack().apiUrl}/v1/accounts/${accountId}/datasets/${id}:upload`;
  const reply = await fetch(url, { method: 'POST', headers: { authorization: `Bearer ${apiKey}` }, body: form });
  return { status: reply.status, body: (await reply.json()) as Json };
}

const ROWS = toJsonl([
  { text: 'a', label: 'x' },
  { text: 'b', label: 'y' },
]);
const job = (jobId: string) => ({
  jobId,
  dataset: 'two',
  baseModel: `accounts/temper/models/temper-tiny`,
  textClassification: { text: 'text', label: 'label' },
  evaluation: false,
});

beforeAll(async () => {
  database = openDatabase(stack().databaseUrl);
  await bootstrapAccount(database, secretKeys(), accountId, apiKey);
  await upload('two', ROWS);
  await until('the dataset to be READY', async () => (await send('GET', 'datasets/two')).body['state'] === 'READY');
});
afterAll(() => database.destroy());

it('lists every quota with its default, and what is used of it', async () => {
  const { quotas, totalSize } = (await send('GET', 'quotas')).body;
  expect(totalSize).toBe(6);
  const stored = (quotas as Json[]).find(({ name }) => name === `accounts/${accountId}/quotas/stored-bytes`);
  expect(stored).toMatchObject({ value: String(1024 ** 4), maxValue: String(1024 ** 4), usage: ROWS.length });
});

it('admins lower what is enforced, operators say what is granted', async () => {
  expect((await send('PATCH', 'quotas/queued-jobs', { value: '10' })).body).toMatchObject({ value: '10', maxValue: '20000' });
  expect((await send('PATCH', 'quotas/queued-jobs', { value: '20001' })).body['message']).toContain('at most maxValue, 20000');
  expect((await send('PATCH', 'quotas/queued-jobs', { maxValue: '30000' })).status).toBe(403);
  expect(await grant('queued-jobs', 5)).toMatchObject({ value: '5', maxValue: '5' });
  expect(await grant('queued-jobs', null)).toMatchObject({ value: '10', maxValue: '20000' });
  expect((await send('PATCH', 'quotas/queued-jobs?updateMask=value', {})).body).toMatchObject({ value: '20000' });
  expect((await send('PATCH', 'quotas/absent', { value: '1' })).status).toBe(404);
  expect((await send('PATCH', 'quotas/queued-jobs', { value: '-1' })).status).toBe(400);
});

it('of 20 jobs created at the same time, as many are made as there is room for, and none begins to run without its turn', async () => {
  await grant('running-jobs', 0);
  await grant('queued-jobs', 3);
  const ids = Array.from({ length: 20 }, () => freshId('parallel'));
  const replies = await Promise.all(ids.map((id) => send('POST', 'fineTuningJobs', job(id))));
  const made = ids.filter((_, index) => replies[index]!.status === 200);
  expect(made.length).toBe(3);
  const refused = replies.filter(({ status }) => status === 429);
  expect(refused.length).toBe(17);
  expect(refused[0]!.body).toMatchObject({ code: 8, details: [{ reason: 'QUOTA_EXCEEDED' }] });
  expect(refused[0]!.body['message']).toContain('queued-jobs would be exceeded: 4 jobs where 3 are allowed');
  expect(await usage('queued-jobs')).toBe(3);
  // Nothing of the refused ones stays.
  expect((await send('GET', 'fineTuningJobs')).body['totalSize']).toBe(3);
  expect((await send('GET', 'models')).body['totalSize']).toBe(3);

  await until('the first job to wait for its turn', () => hasAskedInVain(made[0]!));
  expect(await usage('running-jobs')).toBe(0);
  await Promise.all(made.slice(1).map((id) => send('DELETE', `fineTuningJobs/${id}`)));
  await grant('running-jobs', null);
  await until('the job to take its turn', async () => (await usage('running-jobs')) === 1);
  await until('the others to be gone', async () => (await usage('queued-jobs')) === 0);
  // While it ends it may be in the queue once more.
  await grant('queued-jobs', null);
  await send('DELETE', `fineTuningJobs/${made[0]!}`);
});

it('the next in line is called when there is room, long before it would ask again by itself', async () => {
  await grant('running-jobs', 0);
  const ids = [freshId('first'), freshId('second'), freshId('third')] as const;
  for (const id of ids) expect((await send('POST', 'fineTuningJobs', job(id))).status).toBe(200);
  const turns = async () => {
    const { rows } = await sql<{ id: string }>`
      select id from jobs where account_id = ${accountId} and is_running order by create_time`.execute(database);
    return rows.map(({ id }) => id);
  };
  for (const id of ids) await until('the job to have asked in vain', () => hasAskedInVain(id));
  expect((await send('GET', `fineTuningJobs/${ids[2]}`)).body['waitReason']).toBe(
    'The account runs 0 jobs, as many as its quota running-jobs allows; 2 wait before this one.',
  );
  await grant('running-jobs', 1);
  await until('the first to take its turn', async () => (await turns()).join() === ids[0], CALLED_WITHIN_MS);
  await send('POST', `fineTuningJobs/${ids[0]}:cancel`);
  await until('the second to take its turn', async () => (await turns()).join() === ids[1], CALLED_WITHIN_MS);
  await send('POST', `fineTuningJobs/${ids[1]}:pause`);
  await until('the third to take its turn', async () => (await turns()).join() === ids[2], CALLED_WITHIN_MS);
  await grant('running-jobs', null);
  for (const id of ids) await send('DELETE', `fineTuningJobs/${id}`);
});

it('stored bytes count what is there and what is declared, and are refused beyond the quota', async () => {
  await grant('stored-bytes', ROWS.length + 10);
  const refused = await upload('more', ROWS);
  expect([refused.status, refused.body['details'][0].reason]).toEqual([429, 'QUOTA_EXCEEDED']);
  expect(refused.body['message']).toContain(`${2 * ROWS.length} bytes where ${ROWS.length + 10} are allowed`);
  const declare = (id: string, bytes: number) =>
    send('POST', `datasets/${id}:getUploadEndpoint`, { filenameToSize: { 'data.jsonl': String(bytes) } });
  expect((await declare('more', 11)).status).toBe(429);
  expect((await declare('more', 10)).status).toBe(200);
  expect(await usage('stored-bytes')).toBe(ROWS.length + 10);
  await send('DELETE', 'datasets/more');
  expect(await usage('stored-bytes')).toBe(ROWS.length);
  await send('POST', 'models', { modelId: 'own', model: { kind: 'HF_BASE_MODEL' } });
  const files = (bytes: number) => ({ filenameToSize: { 'config.json': '4', 'model.safetensors': String(bytes) } });
  expect((await send('POST', 'models/own:getUploadEndpoint', files(7))).status).toBe(429);
  expect((await send('POST', 'models/own:getUploadEndpoint', files(6))).status).toBe(200);
  await send('DELETE', 'models/own');
});

it('examples × epochs of a job', async () => {
  await grant('examples-times-epochs', 20);
  const reply = await send('POST', 'fineTuningJobs', { ...job(freshId('long')), epochs: 11 });
  expect([reply.status, reply.body['details'][0].reason]).toEqual([400, 'EXAMPLES_TIMES_EPOCHS_TOO_LARGE']);
  expect(reply.body['message']).toContain('2 examples × 11 epochs are 22, more than the quota examples-times-epochs, 20');
});

it('requests a second: 429 with Retry-After for this account, while another goes on', async () => {
  const { key, stored } = generateApiKey(secretKeys());
  await createApiKey(database, { ...stored, accountId, userId: 'admin', displayName: '', expireTime: null });
  await grant('requests-per-second', 5);
  const limited = await until('the quota to hold', async () => {
    const replies = await Promise.all(Array.from({ length: 10 }, () => send('GET', 'datasets', undefined, key)));
    const refused = replies.filter(({ status }) => status === 429);
    return refused.length > 0 && refused;
  });
  expect(limited[0]!.headers.get('retry-after')).toBe('1');
  expect(limited[0]!.body).toMatchObject({ code: 8, details: [{ reason: 'RATE_LIMITED' }] });
  const other = await fetch(`${stack().apiUrl}/verifyApiKey`, { headers: { authorization: `Bearer ${stack().apiKey}` } });
  expect(other.status).toBe(200);
});
