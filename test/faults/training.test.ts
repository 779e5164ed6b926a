/** Killing what trains: the job still ends, with one model, the same bytes, and a loss curve without gap. */
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { beforeAll, describe, expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import {
  call,
  devFile,
  downloadModel,
  events,
  freshId,
  gpuWorkerPid,
  jobState,
  killProcess,
  metrics,
  ok,
  stack,
  toJsonl,
  trainerPids,
  until,
  untilState,
  uploadDataset,
  whileTrainerIsHeld,
  type Json,
} from '../temper.js';

const rows = Array.from({ length: 320 }, (_, index) => ({
  text: `row ${index}: a ${['sad', 'glad', 'mad'][index % 3]} tale of ${index * 7} words`,
  mood: ['sad', 'glad', 'mad'][index % 3],
}));

let dataset: string;
let undisturbed: { adapter: Buffer; losses: number[] };

async function start(id: string, changes: Json = {}): Promise<void> {
  await ok('POST', 'fineTuningJobs', {
    jobId: id,
    modelId: id,
    dataset,
    baseModel: TINY_MODEL_NAME,
    textClassification: { text: 'text', label: 'mood' },
    batchSize: 8,
    loraRank: 4,
    learningRate: 0.001,
    epochs: 3,
    seed: 11,
    evaluation: false,
    ...changes,
  });
}

const losses = async (id: string) => (await metrics(id)).map((row) => row['loss'] as number);
const adapter = async (id: string) => (await downloadModel(id))['adapter_model.safetensors']!;

/** The trainer has made a checkpoint and is some steps past it. */
function untilPastCheckpoint(id: string): Promise<unknown> {
  return until('a checkpoint', async () => {
    const { checkpoints } = await ok('GET', `fineTuningJobs/${id}/checkpoints`);
    return (checkpoints as Json[] | undefined)?.length;
  });
}

/** What an operator does to a job's workflow in the Temporal UI. */
async function inTemporal(id: string, act: (workflow: WorkflowHandle) => Promise<unknown>): Promise<void> {
  const { accountId, temporalAddress, temporalNamespace: namespace } = stack();
  const connection = await Connection.connect({ address: temporalAddress });
  const client = new Client({ connection, namespace });
  await act(client.workflow.getHandle(`accounts/${accountId}/fineTuningJobs/${id}`)).finally(() => connection.close());
}

async function expectSameAsUndisturbed(id: string): Promise<void> {
  const curve = await metrics(id);
  expect(curve.map((row) => row['step'])).toEqual(undisturbed.losses.map((_, index) => index + 1));
  expect(curve.map((row) => row['loss'])).toEqual(undisturbed.losses);
  expect((await adapter(id)).equals(undisturbed.adapter)).toBe(true);
  const { body } = await call('GET', 'models?pageSize=200');
  expect((body['models'] as Json[]).filter((model) => (model['name'] as string).endsWith(`/${id}`))).toHaveLength(1);
  const told = await events(id);
  expect(told.map((event) => Number(event['sequence']))).toEqual(told.map((_, index) => index + 1));
}

beforeAll(async () => {
  const id = freshId('moods');
  dataset = (await uploadDataset(id, toJsonl(rows)))['name'] as string;
  await start(id);
  await untilState(id, 'JOB_STATE_COMPLETED');
  undisturbed = { adapter: await adapter(id), losses: await losses(id) };
  expect(undisturbed.losses.length).toBeGreaterThan(100);
});

describe('kill -9', () => {
  it('of the trainer: the next attempt goes on from the last checkpoint', async () => {
    const id = freshId('killed-trainer');
    await start(id);
    await untilPastCheckpoint(id);
    trainerPids().forEach(killProcess);
    await untilState(id, 'JOB_STATE_COMPLETED');
    await expectSameAsUndisturbed(id);
    const attempts = (await ok('GET', `fineTuningJobs/${id}:listAttempts`))['attempts'] as Json[];
    expect(attempts).toHaveLength(2);
    expect(Number(attempts[1]!['startStep'])).toBeGreaterThan(0);
    const states = (await events(id)).filter((event) => event['type'] === 'state').map((event) => event['state']);
    expect(states).toEqual(['CREATING', 'VALIDATING', 'PENDING', 'RUNNING', 'RE_QUEUEING', 'RUNNING', 'WRITING_RESULTS', 'COMPLETED']);
  });

  it('of the GPU worker: its trainer dies with it, and another worker goes on', async () => {
    const id = freshId('killed-worker');
    await start(id);
    await untilPastCheckpoint(id);
    const [orphan] = trainerPids();
    killProcess(gpuWorkerPid());
    await until('the trainer to die', async () => !trainerPids().includes(orphan!), 5_000);
    await untilState(id, 'JOB_STATE_COMPLETED');
    await expectSameAsUndisturbed(id);
  });

  it('of every process at once', async () => {
    const id = freshId('killed-all');
    await start(id);
    await untilPastCheckpoint(id);
    const { api, temporal, s3, database, workers } = devFile().pids;
    [api!, temporal!, s3!, database!, ...workers].forEach(killProcess);
    await untilState(id, 'JOB_STATE_COMPLETED');
    await expectSameAsUndisturbed(id);
  });
});

describe('SIGTERM', () => {
  it('of the GPU worker: it checkpoints, and the job goes on from there', async () => {
    const id = freshId('stopped-worker');
    await start(id);
    await untilPastCheckpoint(id);
    process.kill(gpuWorkerPid(), 'SIGTERM');
    await untilState(id, 'JOB_STATE_COMPLETED');
    await expectSameAsUndisturbed(id);
    const attempts = (await ok('GET', `fineTuningJobs/${id}:listAttempts`))['attempts'] as Json[];
    expect(attempts).toHaveLength(2);
    expect(attempts[0]).toMatchObject({ outcome: 'failed', failure: { code: 'TRAINER_INTERRUPTED' } });
    expect(attempts[1]!['startStep']).toBe(attempts[0]!['endStep']);
  });
});

describe('steering', () => {
  it('pauses with a checkpoint, frees the GPU, and goes on to the same model', async () => {
    const id = freshId('paused');
    await start(id);
    await untilPastCheckpoint(id);
    expect(await whileTrainerIsHeld(() => call('POST', `fineTuningJobs/${id}:pause`, {}))).toMatchObject({ status: 200 });
    await untilState(id, 'JOB_STATE_PAUSED');
    expect(trainerPids()).toEqual([]);
    await inTemporal(id, (workflow) => workflow.signal('resume'));
    await untilState(id, 'JOB_STATE_COMPLETED');
    await expectSameAsUndisturbed(id);
  });

  it.each<[string, (id: string) => Promise<unknown>]>([
    ['by the API', (id) => whileTrainerIsHeld(() => ok('POST', `fineTuningJobs/${id}:cancel`, {}))],
    ['by a cancellation in Temporal', (id) => whileTrainerIsHeld(() => inTemporal(id, (workflow) => workflow.cancel()))],
    [
      'by an update without input in Temporal',
      (id) => whileTrainerIsHeld(() => inTemporal(id, (workflow) => workflow.executeUpdate('cancel'))),
    ],
    ['by an end of its workflow in Temporal', (id) => whileTrainerIsHeld(() => inTemporal(id, (workflow) => workflow.terminate('enough')))],
  ])('is cancelled %s: the trainer stops, and neither model nor files stay', async (_, cancel) => {
    const id = freshId('cancelled');
    await start(id);
    await untilPastCheckpoint(id);
    await cancel(id);
    await until('the end', async () => (await jobState(id)) === 'JOB_STATE_CANCELLED');
    await until('the trainer to stop', async () => trainerPids().length === 0);
    const told = await events(id);
    expect(told.map((event) => Number(event['sequence']))).toEqual(told.map((_, index) => index + 1));
    const { attempts } = await ok('GET', `fineTuningJobs/${id}:listAttempts`);
    expect((attempts as Json[]).map(({ outcome }) => outcome as string)).toEqual(['cancelled']);
    expect(await call('GET', `models/${id}`)).toMatchObject({ status: 404 });
    expect((await ok('GET', `fineTuningJobs/${id}/checkpoints`))['checkpoints'] ?? []).toEqual([]);
    expect(await call('POST', `fineTuningJobs/${id}:pause`, {})).toMatchObject({ status: 400 });
  });

  it('deletes a running job: nothing of it stays', async () => {
    const id = freshId('deleted');
    await start(id);
    await untilState(id, 'JOB_STATE_RUNNING');
    expect(await call('DELETE', `fineTuningJobs/${id}`)).toMatchObject({ status: 200 });
    await until('the record to go', async () => (await call('GET', `fineTuningJobs/${id}`)).status === 404);
    expect(await call('GET', `models/${id}`)).toMatchObject({ status: 404 });
  });
});
