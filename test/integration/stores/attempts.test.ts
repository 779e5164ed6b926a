/** What an attempt may still write when another has taken its job over: nothing, however late it arrives. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { openDatabase, type Database } from '../../../stores/database.js';
import { beginAttempt, deleteJob, listMetrics, recordMetrics, writeAsAttempt } from '../../../stores/jobs.js';
import { insertJob } from '../../jobRows.js';
import { freshId, stack } from '../../temper.js';

let database: Database;
let uid: string;

beforeAll(() => {
  database = openDatabase(stack().databaseUrl);
});
afterAll(() => database.destroy());

beforeEach(async () => {
  uid = await insertJob(database, { accountId: stack().accountId, id: freshId('attempts'), state: 'RUNNING' });
  return () => deleteJob(database, uid);
});

const begin = (attempt: number) => beginAttempt(database, uid, { attempt, worker: 'w', reason: 'r', startStep: 0, resumedFrom: null });
const writeStep = (attempt: number, step: number, before: Promise<unknown> = Promise.resolve()) =>
  writeAsAttempt(database, uid, attempt, async (transaction) => {
    await before;
    const measured = { epoch: 1, loss: 1, learning_rate: 1, grad_norm: null, tokens: 1, trained_tokens: 1, tokens_per_second: 1 };
    await recordMetrics(transaction, uid, [{ step, attempt, ...measured, evaluation_loss: null }]);
  });
const steps = async () => (await listMetrics(database, uid)).map(({ step, attempt }) => `${step} by ${attempt}`);

it('steps of an attempt that another has followed are refused, also those that the other has not reached', async () => {
  await begin(1);
  expect(await writeStep(1, 1)).toBe(true);
  expect(await begin(2)).toBe(true);
  expect(await writeStep(1, 500)).toBe(false);
  expect(await writeStep(2, 1)).toBe(true);
  expect(await steps()).toEqual(['1 by 2']);
  expect(await begin(1)).toBe(false);
});

it('another attempt takes the job over after what is just being written, not in its midst', async () => {
  await begin(1);
  let release: (value?: unknown) => void;
  const held = new Promise((resolve) => (release = resolve));
  const order: string[] = [];
  const writing = writeStep(1, 1, held).then(() => order.push('written'));
  await new Promise((resolve) => setTimeout(resolve, 100));
  const taking = begin(2).then(() => order.push('taken over'));
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(order).toEqual([]);
  release!();
  await Promise.all([writing, taking]);
  expect(order).toEqual(['written', 'taken over']);
});

it('nothing is written for a job that has ended, or is gone', async () => {
  await begin(1);
  await database.updateTable('jobs').set({ state: 'CANCELLED', completed_time: new Date() }).where('uid', '=', uid).execute();
  expect(await writeStep(1, 1)).toBe(false);
  await deleteJob(database, uid);
  expect(await writeStep(1, 1)).toBe(false);
  expect(await steps()).toEqual([]);
});
