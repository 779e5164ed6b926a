/** Thousands of requests that are wrong, over every route: each is refused with its reason, and nothing comes of any of them. */
import { randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { seededRandom } from '../../../chaos/random.js';
import { isErrorCode } from '../../../schemas/errors.js';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { freshId, secretKeys, stack, type Json } from '../../temper.js';
import { badRequests, readOperations, type BadRequest } from './badRequests.js';

/** Of those that can be made of one fault each; another seed takes others. */
const CASES = 2200;
const SEED = 1;
const IN_PARALLEL = 16;
const STATUSES = [400, 404, 405, 409, 413, 415];

const accountId = freshId('bad');
const apiKey = `tk_${randomUUID()}`;
const foreignAccountId = freshId('foreign');
const agent = new Agent({ keepAlive: true, maxSockets: IN_PARALLEL });
let database: Database;

interface Reply {
  status: number;
  text: string;
}

function send(method: string, path: string, body?: Buffer, headers: Record<string, string> = {}): Promise<Reply> {
  const length = body ? { 'content-length': String(body.length) } : {};
  return new Promise((resolve, reject) => {
    const sent = request(stack().apiUrl + path, { method, agent, headers: { ...length, ...headers } }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => (text += piece));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** What the account has of everything, so that the routes of one resource find it. */
const EXISTING: Record<string, string> = { datasets: 'one', quotas: 'stored-bytes', secrets: 'one', aliases: 'one@production' };

function sendBad({ operation, ids, query, body, contentType = 'application/json' }: BadRequest): Promise<Reply> {
  const collection = /\{account\}\/(\w+)\//.exec(operation.path)?.[1] ?? '';
  const usual: Record<string, string> = { account: accountId, id: EXISTING[collection] ?? 'absent', user: 'admin' };
  const path = operation.path.replace(/\{(\w+)\}/g, (_match, name: string) => ids?.[name] ?? usual[name] ?? 'absent');
  const key = operation.permission === 'operator' ? stack().apiKey : apiKey;
  const headers = { authorization: `Bearer ${key}`, ...(body && contentType ? { 'content-type': contentType } : {}) };
  return send(operation.method, query ? `${path}?${query}` : path, body, headers);
}

/** What is wrong with the answer; undefined: nothing. */
function faultOf({ operation, field }: BadRequest, { status, text }: Reply): string | undefined {
  if (!STATUSES.includes(status)) return `status ${status}`;
  let body: Json;
  try {
    body = JSON.parse(text) as Json;
  } catch {
    return 'no JSON';
  }
  if (!operation.path.startsWith('/v1/accounts') && body['error']) {
    const { message, type, code, param } = body['error'] as Json;
    if (!message || !type || !code || param === undefined) return 'not the error of the protocol';
    return /at .*\.(ts|js):\d|node_modules/.test(message as string) ? 'a stack trace' : undefined;
  }
  if (!body['message'] || !Number.isInteger(body['code'])) return 'no message or no code';
  const details = body['details'] as Json[];
  if (!details?.length || !details.every(({ reason }) => isErrorCode(reason))) return 'no reason';
  if (/at .*\.(ts|js):\d|node_modules/.test(text)) return 'a stack trace';
  const named = details.some((detail) => detail['field'] === field || String(detail['field']).startsWith(`${field}.`));
  return field === undefined || named ? undefined : `the field ${field} is not named`;
}

/** Rows of the account in every table, but for the trail of its requests; accounts themselves in all. */
async function countRows(): Promise<Record<string, number>> {
  const { rows } = await sql<{ table: string }>`
    select table_name as table from information_schema.columns
    where table_schema = 'public' and column_name = 'account_id' and table_name <> 'audit_events'`.execute(database);
  const counts: Record<string, number> = {};
  for (const { table } of rows) {
    const found = await sql<{
      count: number;
    }>`select count(*)::int as count from ${sql.table(table)} where account_id = ${accountId}`.execute(database);
    counts[table] = found.rows[0]!.count;
  }
  const accounts = await sql<{ count: number }>`select count(*)::int as count from accounts`.execute(database);
  return { ...counts, accounts: accounts.rows[0]!.count };
}

/** `count` of them, each time the same. */
function sample<T>(all: T[], count: number, seed: number): T[] {
  const random = seededRandom(seed);
  return all
    .map((item) => ({ item, at: random.next() }))
    .sort((a, b) => a.at - b.at)
    .slice(0, count)
    .map(({ item }) => item);
}

beforeAll(async () => {
  database = openDatabase(stack().databaseUrl);
  await bootstrapAccount(database, secretKeys(), accountId, apiKey);
  await bootstrapAccount(database, secretKeys(), foreignAccountId, `tk_${randomUUID()}`);
  const create = async (collection: string, body: object) => {
    const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' };
    const reply = await send('POST', `/v1/accounts/${accountId}/${collection}`, Buffer.from(JSON.stringify(body)), headers);
    if (reply.status !== 200) throw new Error(`${collection}: ${reply.text}`);
  };
  await create('datasets', { datasetId: 'one' });
  await create('secrets', { name: `accounts/${accountId}/secrets/one`, keyName: 'one', value: 'x' });
});

afterAll(async () => {
  agent.destroy();
  await database.destroy();
});

it('refuses them with a reason each, and makes nothing of them', async () => {
  const description = JSON.parse((await send('GET', '/openapi.json')).text) as Json;
  const all = readOperations(description).flatMap((operation) => badRequests(operation, foreignAccountId));
  const count = Number(process.env['TEMPER_BAD_CASES'] ?? CASES);
  const cases = sample(all, count, SEED);
  expect(cases.length).toBe(Math.min(count, all.length));
  const before = await countRows();
  const faults: Json[] = [];
  const waiting = cases.values();
  await Promise.all(
    Array.from({ length: IN_PARALLEL }, async () => {
      for (const one of waiting) {
        const reply = await sendBad(one);
        const fault = faultOf(one, reply);
        const { method, path } = one.operation;
        if (fault) faults.push({ request: `${method} ${path}`, wrong: one.wrong.slice(0, 80), fault, answer: reply.text.slice(0, 300) });
      }
    }),
  );
  expect(faults).toEqual([]);
  expect(await countRows()).toEqual(before);
});
