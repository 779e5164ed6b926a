/**
 * Sharing the GPU, with real jobs on the one slot of the stack: a job waits for approval and holds nothing, a more urgent one has
 * another step aside and none of its work is lost, one account's long queue does not hold up another's job, and who waits sees for how long.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { bootstrapAccount } from '../../stores/accounts.js';
import { openDatabase, type Database } from '../../stores/database.js';
import {
  call,
  events,
  freshId,
  ok,
  removeObject,
  secretKeys,
  stack,
  toJsonl,
  until,
  untilState,
  uploadDataset,
  type Json,
} from '../temper.js';

const rows = Array.from({ length: 160 }, (_, index) => ({ text: `row ${index} has ${index * 7} words`, label: ['a', 'b'][index % 2] }));
const other = { accountId: freshId('other'), apiKey: `tk_${randomUUID()}` };
let dataset: string;
let database: Database;

beforeAll(async () => {
  dataset = (await uploadDataset(freshId('shared'), toJsonl(rows)))['name'] as string;
  database = openDatabase(stack().databaseUrl);
  await bootstrapAccount(database, secretKeys(), other.accountId, other.apiKey);
});
afterAll(() => database.destroy());

const settings = { textClassification: { text: 'text', label: 'label' }, baseModel: TINY_MODEL_NAME, batchSize: 8, evaluation: false };
async function start(name: string, changes: Json = {}): Promise<string> {
  const id = freshId(name);
  await ok('POST', 'fineTuningJobs', { jobId: id, modelId: id, dataset, ...settings, ...changes });
  return id;
}
const states = async (id: string) => (await events(id)).filter(({ type }) => type === 'state').map(({ state }) => state as string);
const get = (id: string) => ok('GET', `supervisedFineTuningJobs/${id}`);

it('a job that asks first waits for approval; a decision is made once; a set that is gone meanwhile is rendered again', async () => {
  const id = await start('asks', { requireApproval: true });
  const rejected = await start('rejected', { requireApproval: true });
  for (const one of [id, rejected]) await until('the gate', async () => (await get(one))['stage'] === 'approval');
  expect(await get(id)).toMatchObject({ state: 'JOB_STATE_PAUSED', attempt: 0, requireApproval: true });
  expect((await call('POST', `fineTuningJobs/${id}:resume`, {})).body['details'][0].reason).toBe('ILLEGAL_STATE');
  const rendered = (await events(id)).find(({ message }) => /^Rendered/.test(message as string))!;
  await removeObject(`prepared/${stack().accountId}/${rendered['data'].hash}/manifest.json`);
  await ok('POST', `fineTuningJobs/${id}:approve`, { note: 'in budget' });
  await ok('POST', `fineTuningJobs/${rejected}:reject`, {});
  expect((await call('POST', `fineTuningJobs/${id}:reject`, {})).body['message']).toMatch(/waits for no approval/);
  await untilState(rejected, 'JOB_STATE_CANCELLED');
  await until('the attempt after it', async () => (await get(id))['attempt'] === 2);
  await ok('POST', `fineTuningJobs/${id}:cancel`, {});
  await untilState(id, 'JOB_STATE_CANCELLED');
  const said = (await events(id)).map(({ message }) => message as string);
  expect(said).toEqual(expect.arrayContaining([expect.stringMatching(/Approved by .*\(in budget\)/), 'The examples are rendered again.']));
  expect((await ok('GET', `fineTuningJobs/${rejected}:listAttempts`))['attempts'] ?? []).toEqual([]);
});

it('a more urgent job of the account goes first, another account’s job before the rest of this one’s, and no step is lost', async () => {
  const long = await start('long', { epochs: 500, priority: 4 });
  await untilState(long, 'JOB_STATE_RUNNING');
  const urgent = await start('urgent', { epochs: 500, priority: 1 });
  const queued = [await start('queued', { priority: 4 }), await start('queued', { priority: 4 }), await start('queued', { priority: 4 })];
  const foreign = await startElsewhere({ priority: 4 });
  const place = await until('a place in the queue', async () => {
    const job = await get(queued[2]!);
    return Number(job['queuePosition']) > 1 && job;
  });
  expect(place).toMatchObject({
    state: 'JOB_STATE_PENDING',
    waitReason: expect.stringMatching(/^Waits for a GPU; \d jobs? goe?s? before it\.$/),
  });

  await untilState(urgent, 'JOB_STATE_RUNNING');
  await ok('POST', `fineTuningJobs/${urgent}:cancel`, {});
  const { attempts } = (await ok('GET', `fineTuningJobs/${long}:listAttempts`)) as { attempts: Json[] };
  expect(attempts[0]).toMatchObject({ attempt: 1, outcome: 'preempted' });
  expect(await states(long)).toEqual(expect.arrayContaining(['RUNNING', 'RE_QUEUEING']));

  // Four of the first account's wait since before; its turn is after one of them at most.
  await until('the other account’s job', async () => (await elsewhere('GET', `fineTuningJobs/${foreign}`))['attempt'] === 1);
  const begun = await Promise.all([long, ...queued].map(async (id) => ((await get(id))['attempt'] as number) - (id === long ? 1 : 0)));
  expect(begun.reduce((sum, count) => sum + count)).toBeLessThanOrEqual(2);

  for (const id of queued) await ok('POST', `fineTuningJobs/${id}:cancel`, {});
  const second = await until('the next attempt', async () => {
    const listed = (await ok('GET', `fineTuningJobs/${long}:listAttempts`)) as { attempts: Json[] };
    return listed.attempts[1];
  });
  // A checkpoint was made at the very step where it stopped.
  expect(second['startStep']).toBe(attempts[0]!['endStep']);
  expect(second['reason']).toBe('preempted');
  await ok('POST', `fineTuningJobs/${long}:cancel`, {});
  await untilState(long, 'JOB_STATE_CANCELLED');
}, 400_000);

/** The other account's API. */
async function elsewhere(method: string, route: string, body?: Json | FormData): Promise<Json> {
  const isForm = body instanceof FormData;
  const reply = await fetch(`${stack().apiUrl}/v1/accounts/${other.accountId}/${route}`, {
    method,
    headers: { authorization: `Bearer ${other.apiKey}`, ...(body && !isForm ? { 'content-type': 'application/json' } : {}) },
    body: isForm ? body : body && JSON.stringify(body),
  });
  if (!reply.ok) throw new Error(`${method} ${route}: ${reply.status} ${await reply.text()}`);
  return (await reply.json()) as Json;
}

async function startElsewhere(changes: Json): Promise<string> {
  await elsewhere('POST', 'datasets', { datasetId: 'rows', dataset: { userUploaded: {} } });
  const form = new FormData();
  form.append('file', new Blob([toJsonl(rows)]), 'rows.jsonl');
  await elsewhere('POST', 'datasets/rows:upload', form);
  await until('the dataset', async () => (await elsewhere('GET', 'datasets/rows'))['state'] === 'READY');
  await elsewhere('POST', 'fineTuningJobs', { jobId: 'one', modelId: 'one', dataset: 'rows', ...settings, ...changes });
  return 'one';
}
