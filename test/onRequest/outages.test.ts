/** Servers that are away while a job trains: the trainer goes on, and no attempt is lost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import {
  devFile,
  events,
  freeze,
  freshId,
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

it('Postgres, S3 and Temporal, each away while the same trainer goes on', async () => {
  const id = freshId('outages');
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
  const [trainer] = trainerPids();
  const lastStep = async () => Number((await metrics(id)).at(-1)?.['step'] ?? 0);
  const pids = devFile().pids;

  // Temporal for longer than its heartbeat time-out: it takes the attempt for lost.
  for (const [pid, seconds] of [
    [pids.database, 4],
    [pids.s3, 4],
    [pids.temporal, 18],
  ] as const) {
    const before = await lastStep();
    const thaw = freeze(pid!);
    await sleep(seconds * 1000).finally(thaw);
    await until('steps after the outage', async () => (await lastStep()) > before + 1);
    expect(trainerPids()).toEqual([trainer]);
  }
  const attempts = await until('the next attempt', async () => {
    const found = (await ok('GET', `fineTuningJobs/${id}:listAttempts`))['attempts'] as Json[];
    return found.length === 2 && found;
  });
  expect(attempts[0]).toMatchObject({ outcome: 'failed', failure: { code: 'WORKER_LOST' } });
  expect(Number(attempts[1]!['startStep'])).toBeGreaterThanOrEqual(Number(attempts[0]!['endStep']) - 1);
  await untilState(id, 'JOB_STATE_RUNNING');
  const step = await lastStep();
  await until('steps of the next attempt', async () => (await lastStep()) > step);
  expect(trainerPids()).toEqual([trainer]);
  expect((await events(id)).some((event) => /Attempt 2 goes on at step \d+ with the trainer/.test(event['message'] as string))).toBe(true);
  const curve = await metrics(id);
  expect(curve.map((row) => row['step'])).toEqual(curve.map((_, index) => index + 1));

  await ok('POST', `fineTuningJobs/${id}:cancel`, {});
  await until('the end', async () => (await jobState(id)) === 'JOB_STATE_CANCELLED');
  expect(trainerPids()).toEqual([]);
});
