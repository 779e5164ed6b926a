/** Servers and workers that are away while a job trains: the trainer goes on, and no step is made twice. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import {
  call,
  devFile,
  events,
  freeze,
  freshId,
  gpuWorkerPid,
  jobState,
  metrics,
  ok,
  toJsonl,
  trainerPids,
  until,
  untilState,
  uploadDataset,
  type Json,
} from '../temper.js';

const rows = Array.from({ length: 96 }, (_, index) => ({ text: `row ${index}`, mood: ['sad', 'glad', 'mad'][index % 3] }));
/** The time-out of an attempt's heartbeats (workflows/activityOptions.ts), and a little more. */
const LONGER_THAN_HEARTBEATS_MS = 18_000;

const id = freshId('outages');
/** The job's one trainer, from its first step to its end. */
let trainer: number;

beforeAll(async () => {
  const dataset = (await uploadDataset(id, toJsonl(rows)))['name'] as string;
  await ok('POST', 'fineTuningJobs', {
    jobId: id,
    modelId: id,
    dataset,
    baseModel: TINY_MODEL_NAME,
    textClassification: { text: 'text', label: 'mood' },
    batchSize: 8,
    epochs: 1000,
    evaluation: false,
  });
  await untilState(id, 'JOB_STATE_RUNNING');
  trainer = trainerPids()[0]!;
});

// It would keep the GPU from the tests that follow.
afterAll(() => call('POST', `fineTuningJobs/${id}:cancel`, {}));

const lastStep = async () => Number((await metrics(id)).at(-1)?.['step'] ?? 0);
const attempts = async () => (await ok('GET', `fineTuningJobs/${id}:listAttempts`))['attempts'] as Json[];

async function untilMoreSteps(): Promise<void> {
  const before = await lastStep();
  await until('more steps', async () => (await lastStep()) > before + 1);
  expect(trainerPids()).toEqual([trainer]);
}

async function expectWholeCurve(): Promise<void> {
  const curve = await metrics(id);
  expect(curve.map((row) => row['step'])).toEqual(curve.map((_, index) => index + 1));
}

it('Temporal away, Postgres and S3 meanwhile: the same trainer goes on', async () => {
  const { temporal, database, s3 } = devFile().pids;
  const thawTemporal = freeze(temporal!);
  const thaws = [freeze(database!), freeze(s3!)];
  try {
    await sleep(4_000).finally(() => thaws.forEach((thaw) => thaw()));
    await untilMoreSteps();
    await sleep(LONGER_THAN_HEARTBEATS_MS - 4_000);
  } finally {
    thawTemporal();
  }
  await untilMoreSteps();
  await expectWholeCurve();
});

it('a worker that Temporal takes for lost: the next attempt takes over its trainer, which kept running', async () => {
  const before = await attempts();
  const thaw = freeze(gpuWorkerPid(), [trainer]);
  const lost = () => attempts().then((found) => found.at(before.length - 1)?.['outcome'] === 'failed');
  await until('the attempt to be lost', lost).finally(thaw);
  const [ended, next] = (await until('the next attempt', async () => (await attempts()).length > before.length && attempts())).slice(-2);
  expect(ended).toMatchObject({ outcome: 'failed', failure: { code: 'WORKER_LOST' } });
  expect(Number(next!['startStep'])).toBeGreaterThanOrEqual(Number(ended!['endStep']) - 1);
  await untilState(id, 'JOB_STATE_RUNNING');
  await untilMoreSteps();
  expect((await events(id)).some((event) => /Attempt \d+ goes on at step \d+ with the trainer/.test(event['message'] as string))).toBe(
    true,
  );
  await expectWholeCurve();

  await ok('POST', `fineTuningJobs/${id}:cancel`, {});
  await until('the end', async () => (await jobState(id)) === 'JOB_STATE_CANCELLED');
  expect(trainerPids()).toEqual([]);
});
