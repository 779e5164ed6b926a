/** A job is made longer while it trains, another starts from its checkpoint, and failed ones go on from the stage that failed. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { openDatabase } from '../../stores/database.js';
import { releaseModel } from '../../stores/models.js';
import {
  call,
  downloadModel,
  events,
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

const rows = Array.from({ length: 96 }, (_, index) => ({ text: `row ${index} has ${index * 7} words`, label: ['a', 'b'][index % 2] }));

async function start(changes: Json): Promise<string> {
  const id = freshId('steered');
  await uploadDataset(id, toJsonl(rows));
  const settings = { textClassification: { text: 'text', label: 'label' }, baseModel: TINY_MODEL_NAME, batchSize: 8, loraRank: 4 };
  await ok('POST', 'fineTuningJobs', { jobId: id, modelId: id, dataset: id, evaluation: false, ...settings, ...changes });
  return id;
}

it('trains for more epochs, from where it is, and the model can still be made once more', async () => {
  const id = await start({ epochs: 12, maxGpuSeconds: 3000 });
  const refused = await call('PATCH', `fineTuningJobs/${id}`, { epochs: 11 });
  expect([refused.status, refused.body['details'][0].reason]).toEqual([400, 'INVALID_FIELD']);
  await untilState(id, 'JOB_STATE_RUNNING');
  const longer = await ok('PATCH', `fineTuningJobs/${id}?updateMask=epochs,maxGpuSeconds`, { epochs: 14 });
  expect([longer['epochs'], longer['maxGpuSeconds'], longer['settingOrigins'].epochs]).toEqual([14, undefined, 'given']);

  await untilState(id, 'JOB_STATE_COMPLETED');
  expect((await metrics(id)).map((row) => row['step'] as number)).toEqual(Array.from({ length: 14 * 12 }, (_, index) => index + 1));
  const { attempts } = (await ok('GET', `fineTuningJobs/${id}:listAttempts`)) as { attempts: Json[] };
  expect(attempts).toMatchObject([{ attempt: 1, outcome: 'completed', endStep: 14 * 12 }]);
  const first = await downloadModel(id);
  const { settings } = JSON.parse(first['lineage.json']!.toString()) as Json;
  const [extension] = settings.extensions as Json[];
  expect(extension).toEqual({ fromEpochs: 12, toEpochs: 14, step: expect.any(Number) as number });
  expect((await events(id)).map((event) => event['message'])).toContain(`From step ${extension!['step']} on it trains for 14 epochs.`);
  expect((await call('PATCH', `fineTuningJobs/${id}`, { epochs: 20 })).body['message']).toContain('it cannot be extended any more');

  // Another job, from where this one was.
  const fork = freshId('fork');
  await temper(
    'create',
    'fine-tuning-job',
    '--from-checkpoint',
    `${id}@${14 * 12}`,
    '--epochs',
    '0.5',
    '--job-id',
    fork,
    '--model-id',
    fork,
  );
  const other = await call('POST', 'fineTuningJobs', {
    dataset: id,
    fromCheckpoint: `${id}@1`,
    textClassification: { text: 'text', label: 'label' },
  });
  expect([other.status, other.body['details'][0].reason]).toEqual([404, 'CHECKPOINT_NOT_FOUND']);
  expect(other.body['message']).toContain(`${14 * 12}`);

  const again = freshId('again');
  await ok('POST', `models/${id}:reproduce`, { jobId: again });
  await untilState(again, 'JOB_STATE_COMPLETED');
  expect((await downloadModel(again))['adapter_model.safetensors']!.equals(first['adapter_model.safetensors']!)).toBe(true);

  await untilState(fork, 'JOB_STATE_COMPLETED');
  const forked = JSON.parse((await downloadModel(fork))['lineage.json']!.toString()) as Json;
  expect(forked['warmStart']).toEqual({
    name: `accounts/${stack().accountId}/fineTuningJobs/${id}/checkpoints/${14 * 12}`,
    sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
  });
  expect((await metrics(fork)).map((row) => row['step'] as number)).toEqual([1, 2, 3, 4, 5, 6]);
  expect((await metrics(fork))[0]!['loss']).toBeLessThan((await metrics(id))[0]!['loss'] as number);
});

it('goes on from the stage that failed when it is resumed, and repeats nothing that was done', async () => {
  const id = await start({ epochs: 2, evaluation: true });
  await untilState(id, 'JOB_STATE_RUNNING');
  const { uid } = await ok('GET', `fineTuningJobs/${id}`);
  const database = openDatabase(stack().databaseUrl);
  await releaseModel(database, uid as string).finally(() => database.destroy());
  const failed = await untilFailed(id);
  expect(failed['failure']).toMatchObject({ code: 'MODEL_NOT_FOUND' });
  const { attempts } = await ok('GET', `fineTuningJobs/${id}:listAttempts`);

  expect(await ok('POST', `fineTuningJobs/${id}:resume`)).toMatchObject({ state: 'CREATING', status: { code: 'OK' } });
  expect((await call('POST', `fineTuningJobs/${id}:resume`)).status).toBe(400);
  await untilState(id, 'JOB_STATE_COMPLETED');
  expect((await ok('GET', `fineTuningJobs/${id}:listAttempts`))['attempts']).toEqual(attempts);
  const told = await events(id);
  expect(told.filter(({ type }) => type === 'state').map(({ state }) => state as string)).toEqual([
    ...['CREATING', 'VALIDATING', 'PENDING', 'RUNNING', 'WRITING_RESULTS', 'FAILED'],
    ...['CREATING', 'VALIDATING', 'RUNNING', 'WRITING_RESULTS', 'COMPLETED'],
  ]);
  expect(told.map((event) => Number(event['sequence']))).toEqual(told.map((_, index) => index + 1));
  expect(Object.keys(await downloadModel(id))).toContain('adapter_model.safetensors');
});

it('trains a job that missed its deadline once it has more time', async () => {
  const id = await start({ epochs: 1, requireApproval: true });
  await ok('PATCH', `fineTuningJobs/${id}`, { deadline: new Date(Date.now() + 5000).toISOString() });
  expect((await untilFailed(id))['failure']).toMatchObject({ code: 'DEADLINE_PASSED' });
  await temper('update', 'fine-tuning-job', id, '--deadline', 'none');
  await temper('resume', 'fine-tuning-job', id);
  await until('the gate', async () => (await ok('GET', `fineTuningJobs/${id}`))['stage'] === 'approval');
  await temper('approve', 'fine-tuning-job', id);
  await untilState(id, 'JOB_STATE_COMPLETED');
  expect(await metrics(id)).toHaveLength(12);
});

function untilFailed(id: string): Promise<Json> {
  return until(`job ${id} to fail`, async () => {
    const job = await ok('GET', `fineTuningJobs/${id}`);
    return job['state'] === 'FAILED' && job;
  });
}

function temper(...args: string[]): Promise<unknown> {
  const env = { PATH: process.env['PATH'], HOME: '/nowhere', TEMPER_API_URL: stack().apiUrl, TEMPER_API_KEY: stack().apiKey };
  return promisify(execFile)(process.execPath, [path.join(import.meta.dirname, '..', '..', 'cli', 'bin.js'), ...args], { env });
}
