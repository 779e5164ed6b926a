/** Lists against a real database: filters mean what they say, and pages neither skip nor repeat while rows come and go. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JOB_TRANSITIONS, type JobState } from '../../../schemas/states.js';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { deleteJob } from '../../../stores/jobs.js';
import { insertJob } from '../../jobRows.js';
import { freshId, secretKeys, stack, type Json } from '../../temper.js';

const account = freshId('lists');
const apiKey = `tk_${randomUUID()}`;
let database: Database;

async function list(parameters: Record<string, string>, collection = 'datasets'): Promise<{ status: number; body: Json }> {
  const reply = await fetch(`${stack().apiUrl}/v1/accounts/${account}/${collection}?${new URLSearchParams(parameters)}`, {
    headers: { 'x-api-key': apiKey },
  });
  return { status: reply.status, body: (await reply.json()) as Json };
}

async function ids(parameters: Record<string, string>): Promise<string[]> {
  const { body } = await list({ pageSize: '200', ...parameters });
  if (!body['datasets']) throw new Error(JSON.stringify(body));
  return (body['datasets'] as Json[]).map((dataset) => (dataset['name'] as string).split('/').at(-1)!);
}

async function insert(
  id: string,
  fields: { name?: string; state?: 'READY' | 'UPLOADING'; examples?: number; time?: string } = {},
): Promise<void> {
  await database
    .insertInto('datasets')
    .values({
      uid: randomUUID(),
      account_id: account,
      id,
      display_name: fields.name ?? '',
      state: fields.state ?? 'READY',
      request: '{}',
      request_hash: '',
      examples: fields.examples ?? 0,
      ...(fields.time ? { create_time: new Date(fields.time) } : {}),
      sha256: null,
      object_key: null,
      report_key: null,
      average_turns: null,
    })
    .execute();
}

beforeAll(async () => {
  database = openDatabase(stack().databaseUrl);
  await bootstrapAccount(database, secretKeys(), account, apiKey);
  await insert('a', { name: 'Night run', examples: 10, time: '2026-01-01T00:00:00Z' });
  await insert('b', { name: '100% done', examples: 20, time: '2026-01-02T00:00:00Z' });
  await insert('c', { name: 'night_shift', examples: 20, state: 'UPLOADING', time: '2026-01-03T00:00:00Z' });
  await insert('d', { name: '', examples: 5, time: '2026-01-04T00:00:00Z' });
});

afterAll(() => database.destroy());

describe('filters', () => {
  it.each([
    ['state = "READY"', 'abd'],
    ['state != READY', 'c'],
    ['exampleCount >= 10 AND exampleCount < 20', 'a'],
    ['exampleCount = 20 state = READY', 'b'],
    ['exampleCount = 5 OR exampleCount = 10', 'ad'],
    ['state = READY AND exampleCount = 5 OR exampleCount = 20', 'bd'],
    ['NOT (state = READY)', 'c'],
    ['-state = READY', 'c'],
    ['NOT exampleCount > 5 OR displayName = "night_shift"', 'cd'],
    ['displayName: night', 'ac'],
    ['display_name:"NIGHT"', 'ac'],
    ['displayName = "night*"', 'c'],
    ['displayName = "*i*t*"', 'ac'],
    ['displayName = "100% done"', 'b'],
    ['displayName = "10_% done"', ''],
    ['displayName = "10*% done"', 'b'],
    ['displayName = "night\\*"', ''],
    ['displayName:*', 'abc'],
    ['displayName = ""', 'd'],
    ['createTime > "2026-01-02T12:00:00Z"', 'cd'],
    ['createTime >= 2026-01-02 AND createTime <= "2026-01-03T01:00:00+01:00"', 'bc'],
    [`name = "accounts/${account}/datasets/a"`, 'a'],
    [`name != "accounts/${account}/datasets/a"`, 'bcd'],
    [`NOT name = "accounts/${account}/datasets/a"`, 'bcd'],
    [`name = "accounts/${account}/models/a"`, ''],
    [`name = "accounts/${account}x/datasets/a"`, ''],
    [`name = "accounts/*/datasets/b"`, 'b'],
    ["displayName = \"x' or '1'='1\"", ''],
    ['', 'abcd'],
  ])('%s', async (filter, expected) => {
    expect((await ids({ filter })).join('')).toBe(expected);
  });
});

it.each(['fineTuningJobs', 'supervisedFineTuningJobs'])('a filter of %s by state means the state that is shown', async (collection) => {
  const uids = await Promise.all(
    (Object.keys(JOB_TRANSITIONS) as JobState[]).map((state) => insertJob(database, { accountId: account, id: freshId('state'), state })),
  );
  try {
    const jobs = async (filter: string) => (await list({ pageSize: '200', filter }, collection)).body[collection] as Json[];
    const all = await jobs('');
    expect(all).toHaveLength(uids.length);
    for (const shown of new Set(all.map((job) => job['state'] as string))) {
      const [those, others] = [all.filter((job) => job['state'] === shown), all.filter((job) => job['state'] !== shown)];
      expect([await jobs(`state = "${shown}"`), await jobs(`state != "${shown}"`)]).toEqual([those, others]);
      expect([await jobs(`NOT state != "${shown}"`), await jobs(`NOT state = "${shown}"`)]).toEqual([those, others]);
    }
  } finally {
    await Promise.all(uids.map((uid) => deleteJob(database, uid)));
  }
});

describe('order', () => {
  it.each([
    ['', 'abcd'],
    ['name desc', 'dcba'],
    ['exampleCount desc', 'bcad'],
    ['exampleCount desc, createTime desc', 'cbad'],
    ['create_time desc,name', 'dcba'],
    ['displayName', 'dbac'],
  ])('%j', async (orderBy, expected) => {
    expect((await ids({ orderBy })).join('')).toBe(expected);
  });

  it.each(['nope', 'name up', 'name desc desc', 'account_id', 'name;drop table jobs', 'createTime,', 'uid'])(
    'refuses %j',
    async (orderBy) => {
      const reply = await list({ orderBy });
      expect([reply.status, reply.body['details'][0].reason]).toEqual([400, 'INVALID_ORDER_BY']);
    },
  );
});

describe('pages', () => {
  it('cover everything once, also when rows are added and removed on the way', async () => {
    for (let index = 0; index < 25; index++) await insert(`page-${String(index).padStart(2, '0')}`, { examples: index % 3, name: 'paged' });
    const query = { filter: 'displayName = "paged"', orderBy: 'exampleCount desc, createTime', pageSize: '4' };
    const whole = await ids({ filter: query.filter, orderBy: query.orderBy });
    const seen: string[] = [];
    let pageToken = '';
    do {
      const { body } = await list({ ...query, ...(pageToken ? { pageToken } : {}) });
      seen.push(...(body['datasets'] as Json[]).map((dataset) => (dataset['name'] as string).split('/').at(-1)!));
      pageToken = body['nextPageToken'] as string;
      // Before the position and after it: neither moves what is still to come.
      await insert(`page-x${seen.length}`, { examples: 3, name: 'paged' });
      await database.deleteFrom('datasets').where('account_id', '=', account).where('id', '=', seen[0]!).execute();
    } while (pageToken);
    expect(seen).toEqual(whole);
  });

  it('belong to the query that gave them', async () => {
    const { nextPageToken } = (await list({ pageSize: '1', filter: 'state = READY' })).body;
    expect((await list({ pageSize: '3', filter: 'state = READY', pageToken: nextPageToken })).status).toBe(200);
    for (const parameters of [{ filter: '' }, { filter: 'state = READY', orderBy: 'name desc' }]) {
      const reply = await list({ ...parameters, pageToken: nextPageToken } as Record<string, string>);
      expect([reply.status, reply.body['details'][0].reason]).toEqual([400, 'INVALID_PAGE_TOKEN']);
    }
  });

  it('count all that match, and give at most what was asked for', async () => {
    const { body } = await list({ pageSize: '2', filter: 'exampleCount = 20' });
    expect([body['datasets'].length, body['totalSize'], body['nextPageToken']]).toEqual([2, 2, '']);
    for (const pageSize of ['-1', 'x']) expect((await list({ pageSize })).status).toBe(400);
  });
});

it('names a misspelt parameter rather than listing everything', async () => {
  const reply = await list({ fitler: 'state = READY' });
  expect([reply.status, reply.body['message']]).toEqual([400, 'unknown query parameter fitler, did you mean filter']);
});

it.each([
  ['GET', '/datasets/a:getValidationReport', 'unknown query parameter readmask: none is known here'],
  ['DELETE', '/datasets/a', expect.stringMatching(/^unknown query parameter readmask/)],
])('names a parameter that the route does not take: %s %s', async (method, path, message) => {
  const reply = await fetch(`${stack().apiUrl}/v1/accounts/${account}${path}?readmask=name`, { method, headers: { 'x-api-key': apiKey } });
  expect([reply.status, ((await reply.json()) as Json)['message']]).toEqual([400, message]);
  expect(await ids({ filter: `name = "accounts/${account}/datasets/a"` })).toEqual(['a']);
});
