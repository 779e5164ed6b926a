/** The main job, end to end: upload, validate, render, train, evaluate, register, download, for all three kinds, LoRA and QLoRA. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { GetObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import { describe, expect, it } from 'vitest';
import { loadSecrets } from '../../dev/secrets.js';
import { rootFolder } from '../../dev/stack.js';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { call, downloadModel, events, freshId, metrics, ok, stack, toJsonl, untilState, uploadDataset, type Json } from '../temper.js';

const run = promisify(execFile);

const COLOURS = ['red', 'green', 'blue', 'yellow'];
const sentences = (count: number) =>
  Array.from({ length: count }, (_, index) => `the thing number ${index} that I saw today was painted ${COLOURS[index % 4]} all over`);

const classification = (count: number) => sentences(count).map((text, index) => ({ text, colour: COLOURS[index % 4] }));
const completion = (count: number) => sentences(count).map((text, index) => ({ question: `what was number ${index}?`, answer: text }));
const conversation = (count: number) =>
  sentences(count).map((text, index) => ({
    messages: [
      ...(index % 3 === 0 ? [{ role: 'system', content: 'Answer in one sentence.' }] : []),
      { role: 'user', content: `what was number ${index}?` },
      { role: 'assistant', content: text },
    ],
  }));

interface Case {
  kind: string;
  rows: object[];
  task: Json;
  settings: Json;
  metric: string;
}

const CASES: Case[] = [
  {
    kind: 'classification',
    rows: classification(80),
    task: { textClassification: { text: 'text', label: 'colour' } },
    settings: { evaluationSplit: 0.2, epochs: 4 },
    metric: 'accuracy',
  },
  {
    kind: 'completion',
    rows: completion(60),
    task: { textCompletion: { inputTemplate: 'Q: {question}\nA: ', outputTemplate: '{answer}' } },
    settings: { epochs: 1.5 },
    metric: 'perplexity',
  },
  { kind: 'conversation', rows: conversation(60), task: { conversation: {} }, settings: { quantization: 'nf4' }, metric: 'perplexity' },
];

it('ends early when the held-out loss rises, with the model of the best step', async () => {
  const id = freshId('early');
  const dataset = await uploadDataset(id, toJsonl(completion(24)));
  await ok('POST', 'fineTuningJobs', {
    jobId: id,
    modelId: id,
    dataset: dataset['name'],
    baseModel: TINY_MODEL_NAME,
    textCompletion: { inputTemplate: '{question}', outputTemplate: ' {answer}' },
    epochs: 40,
    batchSize: 4,
    learningRate: 0.02,
    earlyStop: true,
    evaluationSteps: 2,
  });
  await untilState(id, 'JOB_STATE_EARLY_STOPPED');
  const job = await ok('GET', `fineTuningJobs/${id}`);
  expect(job).toMatchObject({ state: 'COMPLETED', earlyStop: true, progress: { percent: 100 } });
  const curve = await metrics(id);
  const measured = curve.filter((row) => row['evaluationLoss'] !== undefined);
  const best = measured.reduce((least, row) => (row['evaluationLoss'] < least['evaluationLoss'] ? row : least));
  expect(curve.length).toBeLessThan(200);
  expect(measured.slice(-3).every((row) => row['evaluationLoss'] >= best['evaluationLoss'])).toBe(true);
  const lineage = JSON.parse((await downloadModel(id))['lineage.json']!.toString()) as Json;
  expect(lineage['training']).toMatchObject({ steps: curve.length, bestStep: best['step'], bestLoss: best['evaluationLoss'] });
  // The evaluation of the registered adapter agrees: its perplexity is that of the best step, not of the last.
  expect(Math.log(job['evaluationResult'].tuned)).toBeCloseTo(best['evaluationLoss'] as number, 4);
});

describe.each(CASES)('a $kind job', ({ kind, rows, task, settings, metric }) => {
  const id = freshId(kind);

  it('goes from an upload to a registered model', async () => {
    const dataset = await uploadDataset(id, toJsonl(rows));
    expect(dataset).toMatchObject({ state: 'READY', exampleCount: String(rows.length) });
    const job = await ok('POST', 'fineTuningJobs', {
      jobId: id,
      modelId: id,
      dataset: dataset['name'],
      baseModel: TINY_MODEL_NAME,
      batchSize: 8,
      loraRank: 8,
      learningRate: 0.002,
      ...task,
      ...settings,
    });
    expect(job['state']).toBe('CREATING');
    await untilState(id, 'JOB_STATE_COMPLETED');
    const done = await ok('GET', `fineTuningJobs/${id}`);
    expect(done['evaluationResult']).toMatchObject({ metric });
    expect(await ok('GET', `models/${id}`)).toMatchObject({
      state: 'READY',
      kind: 'HF_PEFT_ADDON',
      peftDetails: { baseModel: TINY_MODEL_NAME, r: 8 },
    });
  });

  it('tells its life in events, in order, without gap, and its losses step by step', async () => {
    const told = await events(id);
    expect(told.map((event) => Number(event['sequence']))).toEqual(told.map((_, index) => index + 1));
    const states = told.filter((event) => event['type'] === 'state').map((event) => event['state']);
    expect(states).toEqual(['CREATING', 'VALIDATING', 'PENDING', 'RUNNING', 'WRITING_RESULTS', 'COMPLETED']);
    const steps = (await metrics(id)).map((row) => row['step'] as number);
    expect(steps.length).toBeGreaterThan(1);
    expect(steps).toEqual(steps.map((_, index) => index + 1));
    // Once an epoch and after the last step, the loss on the held-out rows.
    const measured = (await metrics(id)).filter((row) => row['evaluationLoss'] !== undefined);
    expect(measured).toHaveLength(Math.ceil((settings['epochs'] as number | undefined) ?? 1));
  });

  it('gives files that plain PEFT loads, and that give the evaluation again', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'temper-model-'));
    try {
      const files = await downloadModel(id);
      expect(Object.keys(files)).toEqual(
        expect.arrayContaining(['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'lineage.json', 'tokenizer.json']),
      );
      for (const [name, content] of Object.entries(files)) writeFileSync(path.join(folder, name), content);
      const lineage = JSON.parse(files['lineage.json']!.toString()) as Json;
      writeFileSync(
        path.join(folder, 'eval.jsonl'),
        await readObject(`prepared/${stack().accountId}/${lineage['prepared'].hash}/eval.jsonl`),
      );
      await bringBaseModel(path.join(folder, 'base'));
      const python = path.join(rootFolder, 'trainer', '.venv', 'bin', 'python');
      const { stdout } = await run(python, [
        path.join(rootFolder, 'test', 'integration', 'evaluateWithPeft.py'),
        folder,
        metric,
        kind === 'conversation' ? 'nf4' : 'none',
        kind,
      ]);
      const again = JSON.parse(stdout.trim().split('\n').at(-1)!) as { base: number; tuned: number };
      const { base, tuned } = (await ok('GET', `fineTuningJobs/${id}`))['evaluationResult'] as { base: number; tuned: number };
      // Of perplexities the logarithms are compared: mean losses a token. A 4-bit model that plain PEFT loads differs a little from ours.
      const tolerance = metric === 'accuracy' ? 1e-6 : kind === 'conversation' ? 1e-3 : 1e-4;
      const difference = (one: number, other: number) => Math.abs(metric === 'accuracy' ? one - other : Math.log(one) - Math.log(other));
      expect(difference(again.base, base)).toBeLessThan(tolerance);
      expect(difference(again.tuned, tuned)).toBeLessThan(tolerance);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('history', () => {
  it('stays small, carries no data, and ends a job before another like it begins', async () => {
    const connection = await Connection.connect({ address: stack().temporalAddress });
    const client = new Client({ connection });
    const { body } = await call('GET', 'fineTuningJobs?pageSize=1&filter=state%3D%22COMPLETED%22');
    const history = await client.workflow.getHandle(body['fineTuningJobs'][0].name as string).fetchHistory();
    const sizes = (history.events ?? []).map((event) => Buffer.byteLength(JSON.stringify(event)));
    expect(sizes.length).toBeLessThan(200);
    expect(Math.max(...sizes)).toBeLessThan(16_384);
    const scheduled = (history.events ?? []).flatMap((event) => event.activityTaskScheduledEventAttributes ?? []);
    const priorities = (...names: string[]) =>
      scheduled.filter(({ activityType }) => names.includes(activityType!.name!)).map(({ priority }) => priority?.priorityKey);
    const trained = priorities('train').at(-1)!;
    expect(priorities('evaluate', 'verifyModel')).toEqual([Math.max(1, trained - 1)]);
    await connection.close();
  });
});

function objectStore(): { client: S3Client; bucket: string } {
  const { home, s3Endpoint, s3Bucket } = stack();
  const secrets = loadSecrets(home);
  const credentials = { accessKeyId: secrets.s3AccessKeyId, secretAccessKey: secrets.s3SecretAccessKey };
  return { client: new S3Client({ endpoint: s3Endpoint, region: 'us-east-1', forcePathStyle: true, credentials }), bucket: s3Bucket };
}

async function readObject(key: string): Promise<Uint8Array> {
  const { client, bucket } = objectStore();
  return (await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }))).Body!.transformToByteArray();
}

async function bringBaseModel(folder: string): Promise<void> {
  mkdirSync(folder);
  const { client, bucket } = objectStore();
  const listed = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: 'base-models/temper-tiny/' }));
  for (const { Key: key } of listed.Contents ?? []) writeFileSync(path.join(folder, path.basename(key!)), await readObject(key!));
}
