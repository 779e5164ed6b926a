/** A deadline and a budget of GPU seconds: the best so far becomes the model; a job that never trained fails and says why. */
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import {
  call,
  downloadModel,
  events,
  freeze,
  freshId,
  metrics,
  ok,
  stack,
  toJsonl,
  until,
  untilState,
  uploadDataset,
  type Json,
} from '../temper.js';

const rows = Array.from({ length: 200 }, (_, index) => ({ text: `row ${index} has ${index * 7} words`, label: ['a', 'b'][index % 2] }));
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();
let dataset: string;

beforeAll(async () => {
  dataset = (await uploadDataset(freshId('limits'), toJsonl(rows)))['name'] as string;
});

/** Far longer than any limit of these tests. */
async function start(changes: Json): Promise<string> {
  const id = freshId('limited');
  const settings = { textClassification: { text: 'text', label: 'label' }, baseModel: TINY_MODEL_NAME, epochs: 1000, batchSize: 8 };
  await ok('POST', 'fineTuningJobs', { jobId: id, modelId: id, dataset, evaluation: false, ...settings, ...changes });
  return id;
}

async function expectModelSoFar(id: string, why: string): Promise<void> {
  await untilState(id, 'JOB_STATE_EARLY_STOPPED');
  const { length: steps } = await metrics(id);
  expect(steps).toBeGreaterThan(0);
  expect((await events(id)).at(-1)!['message']).toContain(`Training ended at step ${steps}: ${why}`);
  expect(Object.keys(await downloadModel(id))).toContain('adapter_model.safetensors');
}

it('ends with the best so far when the GPU seconds are spent', async () => {
  const id = await start({ maxGpuSeconds: 9 });
  await expectModelSoFar(id, 'its GPU seconds were spent');
  const job = await ok('GET', `fineTuningJobs/${id}`);
  expect([job['maxGpuSeconds'], job['settingOrigins']['maxGpuSeconds']]).toEqual([9, 'given']);

  // Made once more: to the same step, however long that takes.
  const again = freshId('again');
  await ok('POST', `models/${id}:reproduce`, { jobId: again });
  await untilState(again, 'JOB_STATE_COMPLETED');
  const repeated = await ok('GET', `fineTuningJobs/${again}`);
  expect(repeated['reproduction']).toMatchObject({ equal: true, differingFiles: [] });
  expect(repeated['settings']).toMatchObject({ stopAtStep: job['progress'].step });
  expect(repeated).not.toHaveProperty('maxGpuSeconds');
});

it('ends a paused job at its deadline with what it had reached', async () => {
  const id = await start({ deadline: inSeconds(3600) });
  await untilState(id, 'JOB_STATE_RUNNING');
  await ok('POST', `fineTuningJobs/${id}:pause`);
  await untilState(id, 'JOB_STATE_PAUSED');
  await ok('PATCH', `fineTuningJobs/${id}`, { deadline: inSeconds(5) });
  await expectModelSoFar(id, 'its deadline had come');
  expect((await events(id)).map((event) => event['message'])).toContain('Resumed by its deadline; waiting for a GPU.');
});

it('fails at its deadline when it never began to train', async () => {
  // No machine here has this model.
  const id = await start({ baseModel: 'accounts/fireworks/models/llama-v3p2-1b-instruct', deadline: inSeconds(4) });
  const failed = await until('the deadline', async () => {
    const job = await ok('GET', `fineTuningJobs/${id}`);
    return job['state'] === 'FAILED' && job;
  });
  expect(failed['failure']).toMatchObject({ code: 'DEADLINE_PASSED', domain: 'CONFIG', retryable: false });
});

it('ends a job whose deadline comes between two of its steps, rather than wait for anybody', async () => {
  const many = await uploadDataset(freshId('many'), toJsonl(Array.from({ length: 150 }, () => rows).flat()));
  const id = await start({ dataset: many['name'], epochs: 1, requireApproval: true, deadline: inSeconds(5) });
  const letGo = await until('the job to be rendered', async () => {
    const job = await ok('GET', `fineTuningJobs/${id}`);
    return job['stage'] === 'rendering' && freeze(stack().pids.workers[0]!);
  });
  try {
    // The rendering ends meanwhile; the workflow hears of both at once.
    await sleep(6_000);
  } finally {
    letGo();
  }
  await untilState(id, 'JOB_STATE_FAILED');
  expect((await ok('GET', `fineTuningJobs/${id}`))['failure']).toMatchObject({ code: 'DEADLINE_PASSED' });
});

it('refuses a deadline that has passed', async () => {
  const { status, body } = await call('POST', 'fineTuningJobs', {
    dataset,
    baseModel: TINY_MODEL_NAME,
    textClassification: { text: 'text', label: 'label' },
    deadline: '2020-01-01T00:00:00Z',
  });
  expect([status, body['details'][0]['field']]).toEqual([400, 'deadline']);
});
