/** What the API answers while something it needs is away: a server of its own here, with one address that nobody answers. */
import type { FastifyInstance } from 'fastify';
import { afterEach, describe, expect, it } from 'vitest';
import { freshId, jobState, ok, stack, twoRowJob, until } from '../../temper.js';
import { NOWHERE, startApi } from './server.js';

const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function serverWithout(missing?: 'temporal' | 'database' | 'objects'): Promise<FastifyInstance> {
  const { server, close } = await startApi({}, missing);
  closers.push(close);
  return server;
}

async function request(server: FastifyInstance, method: 'GET' | 'POST', route: string, payload?: object) {
  const { accountId, apiKey } = stack();
  const reply = await server.inject({
    method,
    url: `/v1/accounts/${accountId}/${route}`,
    headers: { authorization: `Bearer ${apiKey}` },
    payload,
  });
  return { status: reply.statusCode, body: reply.json<Record<string, any>>(), retryAfter: reply.headers['retry-after'] };
}

function upload(server: FastifyInstance, id: string, rows: string) {
  const { accountId, apiKey } = stack();
  return server.inject({
    method: 'POST',
    url: `/v1/accounts/${accountId}/datasets/${id}:upload`,
    payload: ['--x', 'Content-Disposition: form-data; name="file"; filename="a.jsonl"', '', rows, '--x--', ''].join('\r\n'),
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'multipart/form-data; boundary=x' },
  });
}

describe('without Temporal', () => {
  it('a job is accepted, and begins when Temporal is back', async () => {
    const id = freshId('outage');
    const job = await twoRowJob(id);
    const server = await serverWithout('temporal');
    const body = { ...job, baseModel: 'temper-tiny' };
    const created = await request(server, 'POST', 'fineTuningJobs', body);
    expect([created.status, created.body['state']]).toEqual([200, 'CREATING']);
    // The stack's own API looks for such jobs.
    await until('the job to begin', async () => (await jobState(id)) !== 'JOB_STATE_CREATING');
    await ok('DELETE', `fineTuningJobs/${id}`);
  });

  it('an upload is accepted, and validated when Temporal is back; an import, too', async () => {
    const server = await serverWithout('temporal');
    const id = freshId('away');
    expect((await request(server, 'POST', 'datasets', { datasetId: id })).status).toBe(200);
    const reply = await upload(server, id, '{"prompt": "a", "completion": "b"}');
    expect(reply.statusCode).toBe(200);
    const model = { modelId: id, model: { kind: 'HF_PEFT_ADDON', peftDetails: { baseModel: 'temper-tiny' } } };
    expect((await request(server, 'POST', 'models', { ...model, importFrom: { repository: 'nobody/nothing' } })).status).toBe(200);
    // The stack's own API looks for both.
    await until('the dataset to be judged', async () => (await ok('GET', `datasets/${id}`))['state'] === 'READY');
    await until('the import to begin', async () => (await ok('GET', `models/${id}`))['status'].message !== '');
    await ok('DELETE', `models/${id}`);
    await ok('DELETE', `datasets/${id}`);
  });

  it('what needs a workflow now is refused for the moment, and what does not goes on', async () => {
    const id = freshId('steer');
    const job = await twoRowJob(id);
    await ok('POST', 'fineTuningJobs', { ...job, baseModel: 'accounts/fireworks/models/mistral-7b' });
    const server = await serverWithout('temporal');
    expect((await request(server, 'GET', `fineTuningJobs/${id}`)).status).toBe(200);
    const refused = await request(server, 'POST', `fineTuningJobs/${id}:cancel`, {});
    expect([refused.status, refused.body['details'][0].reason, refused.retryAfter]).toEqual([503, 'TEMPORAL_UNAVAILABLE', '2']);
    await ok('DELETE', `fineTuningJobs/${id}`);
  });
});

it('without the database nothing is known, and the answer says to come again', async () => {
  const server = await serverWithout('database');
  const refused = await request(server, 'GET', 'datasets');
  expect([refused.status, refused.body['details'][0].reason, refused.retryAfter]).toEqual([503, 'DATABASE_UNAVAILABLE', '2']);
  expect(JSON.stringify(refused.body)).not.toContain(NOWHERE);
});

it('without the object store an upload is refused for the moment, and the dataset waits', async () => {
  const id = freshId('store');
  await ok('POST', 'datasets', { datasetId: id });
  const server = await serverWithout('objects');
  const reply = await upload(server, id, '{"a": "b"}');
  expect([reply.statusCode, reply.json<any>().details[0].reason]).toEqual([503, 'OBJECT_STORE_UNAVAILABLE']);
  expect(await ok('GET', `datasets/${id}`)).toMatchObject({ state: 'UPLOADING', status: { code: 'OK' } });
});

it.each(['temporal', 'database', 'objects'] as const)('is not ready without %s, and up all the same', async (missing) => {
  const server = await serverWithout(missing);
  const ready = await server.inject({ url: '/readyz' });
  expect([ready.statusCode, ready.json<any>().details.map((detail: { field: string }) => detail.field)]).toEqual([
    503,
    [missing === 'objects' ? 'objectStore' : missing],
  ]);
  expect((await server.inject({ url: '/healthz' })).statusCode).toBe(200);
});

it('is ready when all of them answer', async () => {
  expect((await (await serverWithout()).inject({ url: '/readyz' })).statusCode).toBe(200);
});
