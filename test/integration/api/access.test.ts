/**
 * Who may do what, over every route that the API's own description lists: every route without a key, every route with every
 * role, every route on another account. A route that is new is among them without a change here.
 */
import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PERMISSIONS, ROLES, type Permission, type Role } from '../../../schemas/roles.js';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { createApiKey, generateApiKey } from '../../../stores/apiKeys.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { reserveModel } from '../../../stores/models.js';
import { createUser } from '../../../stores/users.js';
import { call, freshId, ok, secretKeys, stack, type Json } from '../../temper.js';

interface Route {
  method: string;
  path: string;
  /** Undefined: public. */
  permission?: Permission;
}

const PUBLIC = ['/healthz', '/readyz'];

let routes: Route[];
let database: Database;
const other = { accountId: freshId('other'), apiKey: `tk_${randomUUID()}` };
const datasetId = freshId('access');
const keys = {} as Record<Role | 'expired' | 'revoked', string>;

async function request(
  route: Pick<Route, 'method' | 'path'>,
  ids: Record<string, string>,
  headers: Record<string, string>,
): Promise<{ status: number; body: string }> {
  const path = route.path.replace(/\{(\w+)\}/g, (_match, name: string) => ids[name] ?? 'absent');
  // A body where one may be, so that nothing fails for want of it before it fails for what it is.
  const withBody = ['POST', 'PATCH', 'PUT'].includes(route.method);
  const reply = await fetch(stack().apiUrl + path, {
    method: route.method,
    headers: { ...headers, ...(withBody ? { 'content-type': 'application/json' } : {}) },
    body: withBody ? '{}' : undefined,
  });
  return { status: reply.status, body: await reply.text() };
}

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const title = ({ method, path }: Route) => `${method} ${path}`;

/** A user of the other account, with a key. */
async function makeUser(role: Role): Promise<string> {
  await createUser(database, { accountId: other.accountId, id: role, email: '', displayName: '', role, serviceAccount: false });
  return makeKey(role, null);
}

async function makeKey(userId: string, expireTime: Date | null): Promise<string> {
  const { key, stored } = generateApiKey(secretKeys());
  await createApiKey(database, { ...stored, accountId: other.accountId, userId, displayName: '', expireTime });
  return key;
}

beforeAll(async () => {
  const description = (await (await fetch(`${stack().apiUrl}/openapi.json`)).json()) as { paths: Record<string, Record<string, Json>> };
  routes = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      permission: operation['x-permission'] as Permission | undefined,
    })),
  );
  database = openDatabase(stack().databaseUrl);
  await bootstrapAccount(database, secretKeys(), other.accountId, other.apiKey);
  for (const role of ROLES) keys[role] = await makeUser(role);
  keys.expired = await makeKey('user', new Date(Date.now() - 1000));
  keys.revoked = await makeKey('user', null);
  expect((await request({ method: 'GET', path: '/verifyApiKey' }, {}, bearer(keys.revoked))).status).toBe(200);
  await database.deleteFrom('api_keys').where('prefix', '=', keys.revoked.slice(0, 7)).where('account_id', '=', other.accountId).execute();
  await ok('POST', 'datasets', { datasetId });
});

afterAll(() => database.destroy());

it('covers the whole API, of which only the probes are public', () => {
  expect(routes.length).toBeGreaterThan(50);
  expect(routes.filter(({ permission }) => permission === undefined).map(({ path }) => path)).toEqual(PUBLIC);
});

it('names every operation, each by a name of its own', async () => {
  const { paths } = (await (await fetch(`${stack().apiUrl}/openapi.json`)).json()) as { paths: Record<string, Record<string, Json>> };
  const operations = Object.values(paths).flatMap((methods) => Object.values(methods));
  const ids = operations.map((operation) => operation['operationId'] as string);
  expect(ids.filter((id, index) => !/^[a-z][A-Za-z0-9]+$/.test(id) || ids.indexOf(id) !== index)).toEqual([]);
  expect(operations.every((operation) => operation['summary'])).toBe(true);
  expect(paths['/v1/accounts/{account}/fineTuningJobs/{id}:pause']!['post']!['operationId']).toBe('pauseFineTuningJob');
});

it('answers every route without a valid key alike: 401', async () => {
  const bodies = new Set<string>();
  for (const route of routes.filter(({ permission }) => permission !== undefined)) {
    for (const headers of [
      {},
      bearer('wrong'),
      bearer(keys.expired),
      bearer(keys.revoked),
      { 'x-api-key': '' },
      { authorization: stack().apiKey },
    ] as Record<string, string>[]) {
      const reply = await request(route, { account: stack().accountId, id: datasetId }, headers);
      expect([title(route), reply.status]).toEqual([title(route), 401]);
      bodies.add(reply.body);
    }
  }
  // In our words, and in OpenAI's.
  expect(bodies.size).toBe(2);
});

it('gives every role the routes that the table of roles gives it, and refuses the rest with 403', async () => {
  for (const role of ROLES) {
    for (const route of routes.filter(({ permission }) => permission !== undefined)) {
      // Nothing has the ID `absent`: what the role may do ends in 404 or 400, and changes nothing.
      const reply = await request(route, { account: other.accountId, user: 'absent', id: 'absent' }, bearer(keys[role]));
      const permission = route.permission!;
      const isAllowed = permission !== 'operator' && (PERMISSIONS[permission] as readonly Role[]).includes(role);
      expect([role, title(route), [401, 403].includes(reply.status) ? reply.status : 'allowed']).toEqual([
        role,
        title(route),
        // A user's keys are theirs: that is decided by the handler, which has a test of its own below.
        isAllowed && !(role === 'user' && reply.status === 403 && route.path.includes('/apiKeys')) ? 'allowed' : 403,
      ]);
      expect([title(route), reply.status < 500 || reply.status === 501]).toEqual([title(route), true]);
    }
  }
});

it("answers for another account's resources as for absent ones: 404, word for word, whatever the role", async () => {
  // What the catalogue's accounts show is there for everyone; a private model among it is looked at below.
  const scoped = routes.filter(({ path, method }) => path.includes('{account}') && !(method === 'GET' && path.includes('/models')));
  expect(scoped.length).toBeGreaterThan(40);
  for (const role of ROLES) {
    for (const route of scoped) {
      const ids = { id: datasetId, user: 'admin' };
      const theirs = await request(route, { account: stack().accountId, ...ids }, bearer(keys[role]));
      const absent = await request(route, { account: 'absent-account', ...ids }, bearer(keys[role]));
      expect([title(route), theirs.status]).toEqual([title(route), 404]);
      expect(theirs.body).toBe(absent.body.replaceAll('absent-account', stack().accountId));
    }
  }
  const own = await call('GET', 'datasets/absent-dataset');
  const foreign = await request(
    { method: 'GET', path: `/v1/accounts/${stack().accountId}/datasets/absent-dataset` },
    {},
    bearer(other.apiKey),
  );
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
  const expireTime = new Date(Date.now() + 3_000).toISOString();
  const { key } = await ok('POST', 'users/admin/apiKeys', { apiKey: { expireTime } });
  const headers = { authorization: `Bearer ${key as string}` };
  expect((await call('GET', 'datasets', undefined, headers)).status).toBe(200);
  await expect.poll(async () => (await call('GET', 'datasets', undefined, headers)).status, { timeout: 15_000 }).toBe(401);
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

describe('operators, the admins of the deployment’s own account', () => {
  const accountId = freshId('tenant');
  const send = async (method: string, path: string, body?: object, key = stack().apiKey) => {
    const headers = { ...bearer(key), ...(body ? { 'content-type': 'application/json' } : {}) };
    const reply = await fetch(`${stack().apiUrl}/v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
    return { status: reply.status, body: (await reply.json()) as Json };
  };

  it('make accounts and their first keys, and see them all; others see their own', async () => {
    const created = await send('POST', 'accounts', { accountId, account: { displayName: 'A tenant', email: 'a@example.org' } });
    expect(created).toMatchObject({ status: 200, body: { name: `accounts/${accountId}`, displayName: 'A tenant' } });
    const { body } = await send('POST', `accounts/${accountId}/users/admin/apiKeys`, {});
    const key = body['key'] as string;
    expect((await send('GET', 'accounts', undefined, key)).body['accounts']).toMatchObject([{ name: `accounts/${accountId}` }]);
    const all = (await send('GET', 'accounts?allAccounts=true&pageSize=200')).body['accounts'] as Json[];
    expect(all.map(({ name }) => name as string)).toEqual(
      expect.arrayContaining([`accounts/${accountId}`, `accounts/${stack().accountId}`]),
    );
    expect((await send('GET', 'accounts?allAccounts=true', undefined, key)).status).toBe(403);
    expect((await send('POST', 'accounts', { accountId: freshId('tenant') }, key)).status).toBe(403);
  });

  it('do not reach what the accounts work with, nor accounts that do not exist', async () => {
    for (const collection of ['datasets', 'fineTuningJobs', 'secrets']) {
      expect([collection, (await send('GET', `accounts/${accountId}/${collection}`)).status]).toEqual([collection, 404]);
    }
    expect((await send('GET', 'accounts/absent-account/users')).status).toBe(404);
  });
});

it('keeps of a key only a hash that the database alone cannot check', async () => {
  const { key, keyId, prefix } = await ok('POST', 'users/admin/apiKeys', {});
  expect(key).toMatch(/^tk_[\w-]{43}$/);
  const stored = await database
    .selectFrom('api_keys')
    .selectAll()
    .where('key_id', '=', keyId as string)
    .executeTakeFirstOrThrow();
  expect(stored.prefix).toBe(prefix);
  const digests = ['sha256', 'sha512', 'sha1'].map((name) =>
    createHash(name)
      .update(key as string)
      .digest('hex'),
  );
  expect(digests).not.toContain(stored.hash);
  expect(JSON.stringify(stored)).not.toContain((key as string).slice(7));
});

it('writes the last use of a key down once a minute at most', async () => {
  const { key, keyId } = await ok('POST', 'users/admin/apiKeys', {});
  const used = async () => {
    expect((await call('GET', 'datasets?pageSize=1', undefined, bearer(key as string))).status).toBe(200);
    return (await ok('GET', `users/admin/apiKeys/${keyId as string}`))['lastUsedTime'] as string;
  };
  const first = await used();
  expect(Date.now() - Date.parse(first)).toBeLessThan(60_000);
  expect(await used()).toBe(first);
  await database
    .updateTable('api_keys')
    .set({ last_used_time: new Date(Date.now() - 61_000) })
    .where('key_id', '=', keyId as string)
    .execute();
  expect(Date.parse(await used())).toBeGreaterThanOrEqual(Date.parse(first));
});
