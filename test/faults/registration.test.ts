/** Killing what makes a model while it does: at no moment is there half of one, and in the end there is all of it, once. */
import { expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import {
  call,
  devFile,
  downloadModel,
  events,
  freshId,
  killProcess,
  ok,
  toJsonl,
  trainerPids,
  until,
  untilState,
  uploadDataset,
} from '../temper.js';

const rows = Array.from({ length: 24 }, (_, index) => ({ text: `number ${index}`, parity: index % 2 ? 'odd' : 'even' }));

it('registers all of the model or nothing, whatever dies on the way', async () => {
  const id = freshId('half');
  const dataset = await uploadDataset(id, toJsonl(rows));
  await ok('POST', 'fineTuningJobs', {
    jobId: id,
    modelId: id,
    dataset: dataset['name'],
    baseModel: TINY_MODEL_NAME,
    textClassification: { text: 'text', label: 'parity' },
    loraRank: 4,
    evaluation: false,
  });
  const stage = async () => (await ok('GET', `fineTuningJobs/${id}`))['stage'] as string;
  /** What a user sees of the model: nothing to download, or every file of its record. */
  const isWhole = async () => {
    const { state, files } = await ok('GET', `models/${id}`);
    if (state === 'READY') return Object.keys(await downloadModel(id)).length === files.length && files.length >= 6;
    expect(files).toEqual([]);
    expect((await call('GET', `models/${id}:getDownloadEndpoint`)).body['details'][0].reason).toBe('MODEL_NOT_READY');
    return false;
  };

  await until('the verification', async () => (await stage()) === 'verifying' && trainerPids().length > 0);
  trainerPids().forEach(killProcess);
  expect(await isWhole()).toBe(false);

  // It takes a tenth of a second: asked without a pause.
  while (!['registering', 'done'].includes(await stage()));
  killProcess(devFile().pids.workers[1]!);
  await isWhole();

  await untilState(id, 'JOB_STATE_COMPLETED');
  expect(await isWhole()).toBe(true);
  const told = (await events(id)).filter((event) => event['type'] === 'model').map((event) => event['message'] as string);
  expect(told).toEqual([expect.stringContaining('finite losses on 4 rows'), expect.stringContaining('is registered with')]);
});
