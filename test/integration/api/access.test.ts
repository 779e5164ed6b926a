/** Who may do what, over every route that the API's own description lists: a route that is forgotten here cannot be forgotten there. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { reserveModel } from '../../../stores/models.js';
import { call, freshId, ok, stack, type Json } from '../../temper.js';

interface Route {
  method: string;
  path: string;
}

const PUBLIC = ['/healthz', '/readyz'];

let routes: Route[];
let database: Database;
const other = { accountId: freshId('other'), apiKey: `tk_${randomUUID()}` };
const datasetId = freshId('access');

async function request(
  route: Route,
  ids: Record<string, string>,
  headers: Record<string, string>,
): Promise<{ status: number; body: string }> {
  const path = route.path.replace(/\{(\w+)\}/g, (_match, name: string) => ids[name] ?? 'absent');
  const reply = await fetch(stack().apiUrl + path, { method: route.method, headers });
  return { status: reply.status, body: await reply.text() };
}

beforeAll(async () => {
  const description = (await (await fetch(`${stack().apiUrl}/openapi.json`)).json()) as { paths: Record<string, Json> };
  routes = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })),
  );
  routes = routes.filter(({ path }) => !PUBLIC.includes(path));
  database = openDatabase(stack().databaseUrl);
  await bootstrapAccount(database, other.accountId, other.apiKey);
  await ok('POST', 'datasets', { datasetId });
});

afterAll(() => database.destroy());

it('covers the whole API', () => {
  expect(routes.length).toBeGreaterThan(50);
});

it('answers every route without a valid key alike: 401', async () => {
  const bodies = new Set<string>();
  for (const route of routes) {
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { 'x-api-key': '' }, { authorization: stack().apiKey }] as Record<
      string,
      string
    >[]) {
      const reply = await request(route, { account: stack().accountId, id: datasetId }, headers);
      expect([route, reply.status]).toEqual([route, 401]);
      bodies.add(reply.body);
    }
  }
  expect(bodies.size).toBe(1);
});

it("answers for another account's resources as for absent ones: 404, word for word", async () => {
  const headers = { authorization: `Bearer ${other.apiKey}` };
  // What the catalogue's accounts show is there for everyone; a private model among it is looked at below.
  const scoped = routes.filter(({ path, method }) => path.includes('{account}') && !(method === 'GET' && path.includes('/models')));
  expect(scoped.length).toBeGreaterThan(40);
  for (const route of scoped) {
    const ids = { id: datasetId, user: 'admin' };
    const theirs = await request(route, { account: stack().accountId, ...ids }, headers);
    const absent = await request(route, { account: 'absent-account', ...ids }, headers);
    expect([route, theirs.status]).toEqual([route, 404]);
    expect(theirs.body).toBe(absent.body.replaceAll('absent-account', stack().accountId));
  }
  const own = await call('GET', 'datasets/absent-dataset');
  const foreign = await request({ method: 'GET', path: `/v1/accounts/${stack().accountId}/datasets/absent-dataset` }, {}, headers);
  expect(JSON.parse(foreign.body)).toEqual(own.body);
});

it('shows the models of the public catalogue to everyone, and the private ones beside them to nobody else', async () => {
  const { accountId } = stack();
  const headers = { authorization: `Bearer ${other.apiKey}` };
  const id = freshId('private');
  await reserveModel(database, { uid: randomUUID(), accountId, id, jobName: 'a job', jobUid: randomUUID(), createdBy: '' });
  const read = async (path: string) =>
    JSON.parse((await request({ method: 'GET', path: `/v1/accounts/${path}` }, {}, headers)).body) as Json;
  expect(await read('fireworks/models/llama-v3p1-8b-instruct')).toMatchObject({ kind: 'HF_BASE_MODEL', public: true });
  expect((await read('fireworks/models'))['totalSize']).toBe(23);
  expect(await read(`${accountId}/models/${id}`)).toMatchObject({ code: 5 });
  expect(JSON.stringify(await read(`${accountId}/models`))).not.toContain(id);
});

describe('a key of a user who is no admin', () => {
  const userId = freshId('user');
  let headers: Record<string, string>;

  beforeAll(async () => {
    await ok('POST', `users?userId=${userId}`, { role: 'user', email: 'someone@example.org' });
    const { key } = await ok('POST', `users/${userId}/apiKeys`, {});
    headers = { authorization: `Bearer ${key as string}` };
  });

  it('works with datasets, jobs and models', async () => {
    for (const collection of ['datasets', 'fineTuningJobs', 'models', 'users', 'secrets']) {
      expect((await call('GET', collection, undefined, headers)).status).toBe(200);
    }
  });

  it.each([
    ['POST', 'users', { role: 'admin', userId: 'mallory' }],
    ['PATCH', `users/${userId}`, { role: 'admin' }],
    ['DELETE', 'users/admin', undefined],
    ['POST', 'users/admin/apiKeys', {}],
    ['GET', 'users/admin/apiKeys', undefined],
    ['POST', 'users/admin/apiKeys:delete', { keyId: 'x' }],
    ['POST', 'secrets', { name: 'x', keyName: 'X', value: 'x' }],
    ['DELETE', 'secrets/x', undefined],
  ])('may not %s %s', async (method, route, body) => {
    const reply = await call(method, route, body, headers);
    expect([reply.status, reply.body['details'][0].reason]).toEqual([403, 'PERMISSION_DENIED']);
  });

  it('may make and take back keys of its own, and one taken back works no more', async () => {
    const { key, keyId } = (await call('POST', `users/${userId}/apiKeys`, { apiKey: { displayName: 'second' } }, headers)).body;
    const second = { authorization: `Bearer ${key as string}` };
    expect((await call('GET', 'datasets', undefined, second)).status).toBe(200);
    const listed = (await call('GET', `users/${userId}/apiKeys`, undefined, headers)).body['apiKeys'] as Json[];
    expect(listed.map((one) => one['displayName'])).toContain('second');
    expect(JSON.stringify(listed)).not.toContain(key);
    expect((await call('POST', `users/${userId}/apiKeys:delete`, { keyId }, headers)).status).toBe(200);
    expect((await call('GET', 'datasets', undefined, second)).status).toBe(401);
  });
});

it('refuses a key that has expired', async () => {
  const expireTime = new Date(Date.now() + 1_000).toISOString();
  const { key } = await ok('POST', 'users/admin/apiKeys', { apiKey: { expireTime } });
  const headers = { authorization: `Bearer ${key as string}` };
  expect((await call('GET', 'datasets', undefined, headers)).status).toBe(200);
  await expect.poll(async () => (await call('GET', 'datasets', undefined, headers)).status, { timeout: 5_000 }).toBe(401);
  expect((await call('POST', 'users/admin/apiKeys', { apiKey: { expireTime: '2020-01-01T00:00:00Z' } })).status).toBe(400);
});

it("keeps an account's last admin", async () => {
  for (const [method, body] of [
    ['DELETE', undefined],
    ['PATCH', { role: 'user' }],
  ] as const) {
    const reply = await call(method, 'users/admin', body);
    expect([reply.status, reply.body['details'][0].reason]).toEqual([400, 'ILLEGAL_STATE']);
  }
});

it('never shows a secret that it was given', async () => {
  const id = freshId('secret');
  const value = `canary-${randomUUID()}`;
  const created = await ok('POST', 'secrets', { name: id, keyName: 'KEY', value });
  const changed = await ok('PATCH', `secrets/${id}`, { keyName: 'OTHER', value: `${value}-2` });
  const read = await ok('GET', `secrets/${id}`);
  expect(read).toMatchObject({ name: `accounts/${stack().accountId}/secrets/${id}`, keyName: 'OTHER' });
  expect(JSON.stringify([created, changed, read, await ok('GET', 'secrets')])).not.toContain('canary');
  expect((await call('POST', 'secrets', { name: id, keyName: 'KEY', value: 'another' })).status).toBe(409);
  await ok('DELETE', `secrets/${id}`);
  expect((await call('GET', `secrets/${id}`)).status).toBe(404);
});
