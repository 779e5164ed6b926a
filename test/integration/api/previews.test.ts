/** Previews: rows as the trainer will have them, errors as creating the job would give them, estimates and costs; and nothing is created. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rootFolder } from '../../../dev/stack.js';
import { findBaseModel, TINY_MODEL_NAME } from '../../../schemas/baseModels.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { createJob, recordMetrics } from '../../../stores/jobs.js';
import { readModelFiles } from '../../../stores/modelFiles.js';
import { openObjectStore } from '../../../stores/objects.js';
import { openTokenizer, TOKENIZER_SOURCES } from '../../../tokens/tokenizer.js';
import { call, freshId, ok, stack, toJsonl, uploadDataset, type Json } from '../../temper.js';
import { startApi } from './server.js';

const QUESTIONS = ['what is my balance?', 'Grüße 🙂 from "Köln"', 'a <|end_of_turn|> in text', '  spaces   and\ttabs\n'];
const completions = Array.from({ length: 40 }, (_, index) => ({ question: QUESTIONS[index % 4], answer: `answer number ${index}` }));
const chats = completions.map(({ question, answer }) => ({
  messages: [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ],
}));
const completionId = freshId('preview');
const chatId = freshId('preview');
const completion = {
  dataset: completionId,
  baseModel: TINY_MODEL_NAME,
  textCompletion: { inputTemplate: 'Q: {question}\nA:', outputTemplate: ' {answer}' },
};
const chat = { dataset: chatId, baseModel: TINY_MODEL_NAME, conversation: {} };
let database: Database;
const folder = mkdtempSync(path.join(tmpdir(), 'temper-previews-'));

beforeAll(async () => {
  database = openDatabase(stack().databaseUrl);
  await Promise.all([uploadDataset(completionId, toJsonl(completions)), uploadDataset(chatId, toJsonl(chats))]);
});
afterAll(async () => {
  await database.destroy();
  rmSync(folder, { recursive: true });
});

describe('a preview', () => {
  it('shows rows with the token counts that the trainer gets', async () => {
    const previews = [
      await ok('POST', 'fineTuningJobs:preview', { ...completion, rows: 4, epochs: 2 }),
      await ok('POST', 'fineTuningJobs:preview', { ...chat, lines: [3, 1] }),
    ];
    const model = findBaseModel(TINY_MODEL_NAME)!;
    const objects = openObjectStore({ endpoint: stack().s3Endpoint, region: 'us-east-1', bucket: stack().s3Bucket });
    const files = await readModelFiles(model.source, TOKENIZER_SOURCES, objects);
    objects.close();
    for (const [name, text] of Object.entries(files)) if (text !== null) writeFileSync(path.join(folder, name), text);
    // Shown segments do not say which text is the row's: without look-alikes of control tokens it makes no difference.
    const shown = previews.flatMap((preview, index) =>
      (preview['rows'] as Json[]).map((row) => ({ row, kind: index === 0 ? 'textCompletion' : 'conversation' })),
    );
    const comparable = shown.filter(({ row }) => !JSON.stringify(row['segments']).includes('<|end_of_turn|> in'));
    const examples = comparable.map(({ row, kind }) => ({ kind, cutoff: model.cutoffLength, segments: row['segments'] as unknown }));
    writeFileSync(path.join(folder, 'examples.json'), JSON.stringify(examples));
    const script = path.join(rootFolder, 'test', 'unit', 'tokens', 'trainerTokens.py');
    const python = process.env['TEMPER_PYTHON'] ?? path.join(rootFolder, 'trainer', '.venv', 'bin', 'python');
    const { stdout } = await promisify(execFile)(python, [script, 'encode', path.join(folder, 'examples.json'), folder]);
    const encoded = JSON.parse(stdout) as Record<string, [number[], boolean[]][]>;
    expect(comparable.map(({ row }) => [row['tokens'], row['trainedTokens']])).toEqual(
      encoded[folder]!.map(([ids, trained]) => [ids.length, trained.filter(Boolean).length]),
    );
    expect(comparable.length).toBe(4);

    const [table, talk] = previews as [Json, Json];
    expect(table['rows'].map(({ line }: Json) => line)).toEqual([1, 2, 3, 4]);
    expect(table['rows'][0]['segments']).toEqual([
      ['Q: what is my balance?\nA:', false],
      [' answer number 0', true],
    ]);
    expect(table['settings']).toMatchObject({ epochs: 2, baseModel: TINY_MODEL_NAME });
    expect(table['settingOrigins']).toMatchObject({ epochs: 'given', batchSize: 'baseModel' });
    expect(table).toMatchObject({ template: 'job', tokenCounts: 'EXACT', sample: { rows: 40, problems: [] } });
    expect(table['estimate']).toMatchObject({
      trainExamples: 34,
      evalExamples: 6,
      totalSteps: 6,
      tokens: { basis: 'EXACT', rows: 40 },
      memory: { parameters: model.parameters, method: 'LORA' },
    });
    expect(talk['template']).toBe('baseModel');
    expect(talk['rows'].map(({ line }: Json) => line)).toEqual([3, 1]);
    expect(talk['rows'][0]['warnings']).toContainEqual(expect.objectContaining({ code: 'CONTROL_TOKENS', found: '<|end_of_turn|>' }));
  });

  it('refuses what creating the job refuses, in the same words, and creates nothing', async () => {
    const before = (await ok('GET', 'fineTuningJobs?pageSize=1'))['totalSize'];
    const bad: Json[] = [
      { ...completion, dataset: 'none' },
      { ...completion, epochs: -1 },
      { ...completion, textCompletion: { inputTemplate: '{nothing}', outputTemplate: '{answer}' } },
      { ...completion, baseModel: 'accounts/fireworks/models/none' },
      { ...completion, conversation: {} },
      { ...completion, batchSise: 4 },
      { ...completion, modelId: 'temper-tiny' },
      { ...chat, conversation: { jinjaTemplate: '{% for %}' } },
      { ...chat, conversation: { jinjaTemplate: '{{ raise_exception("no") }}' } },
    ];
    for (const body of bad) {
      const refused = await call('POST', 'fineTuningJobs', body);
      expect(refused.status, JSON.stringify(body)).toBeGreaterThanOrEqual(400);
      expect(await call('POST', 'fineTuningJobs:preview', body), JSON.stringify(body)).toEqual(refused);
    }
    for (const fields of [{ rows: 51 }, { lines: [0] }, { lines: [1000] }, { rows: 1, lines: [1] }, { row: 1 }])
      expect((await call('POST', 'fineTuningJobs:preview', { ...completion, ...fields })).status).toBe(400);
    expect((await ok('GET', 'fineTuningJobs?pageSize=1'))['totalSize']).toBe(before);
  });

  it('counts no tokens where the tokenizer cannot be had, and says so', async () => {
    const answer = await ok('POST', 'fineTuningJobs:preview', { ...completion, baseModel: 'llama-v3p2-1b-instruct', rows: 1 });
    expect(answer).toMatchObject({ tokenCounts: 'UNAVAILABLE', estimate: { tokens: null, memory: null, time: [] } });
    expect(answer['tokenCountsReason']).toContain('Hugging Face hub');
    expect(answer['rows']).toHaveLength(1);
  });

  it('of the newer shape has the same answer, with time and cost where jobs were measured and priced', async () => {
    const uid = randomUUID();
    const settings = (await ok('POST', 'fineTuningJobs:preview', { ...chat, rows: 1 }))['settings'] as never;
    const job = {
      uid,
      accountId: stack().accountId,
      id: freshId('measured'),
      collection: 'fineTuningJobs',
      displayName: '',
      request: {},
      requestHash: uid,
      settings,
      settingOrigins: {},
      datasetName: `accounts/${stack().accountId}/datasets/${chatId}`,
      datasetUid: randomUUID(),
      modelId: freshId('measured'),
      priority: 3,
      createdBy: '',
      estimate: { tokens: null, seconds: null, prices: { currency: 'USD', perHour: { X9: 3.6 } } },
      wandb: null,
    } as const;
    await database.transaction().execute(async (transaction) => {
      await createJob(transaction, job);
      const progress = JSON.stringify({ device: 'cuda: Test X9', trainerSeconds: 1250 });
      const done = { state: 'COMPLETED', workflow_started: true, completed_time: new Date(), progress } as const;
      await transaction.updateTable('jobs').set(done).where('uid', '=', uid).execute();
    });
    const step = { attempt: 1, epoch: 1, loss: 1, learning_rate: 1, grad_norm: null, trained_tokens: 10, evaluation_loss: null };
    await recordMetrics(database, uid, [
      { ...step, step: 1, tokens: 100, tokens_per_second: 10 },
      { ...step, step: 2, tokens: 300, tokens_per_second: 30 },
    ]);
    const view = await ok('GET', `supervisedFineTuningJobs/${job.id}`);
    expect(view['estimatedCost']).toEqual({ currencyCode: 'USD', units: '1', nanos: 250_000_000 });

    const api = await startApi({ prices: { currency: 'EUR', perHour: { '*': 7200 } } });
    try {
      const reply = await api.server.inject({
        method: 'POST',
        url: `/v1/accounts/${stack().accountId}/supervisedFineTuningJobs:preview`,
        headers: { authorization: `Bearer ${stack().apiKey}` },
        payload: { dataset: chatId, baseModel: TINY_MODEL_NAME, rows: 1 },
      });
      const { estimate, rows } = reply.json<Json>();
      expect(rows).toHaveLength(1);
      // 400 tokens in 20 s.
      const measured = estimate['time'].find(({ device }: Json) => device === 'cuda: Test X9') as Json;
      expect(measured).toMatchObject({ tokensPerSecond: 20, jobs: 1, seconds: Math.round(estimate['tokens']['total'] / 20) });
      expect(Number(measured['cost']['units'])).toBe(Math.floor(measured['seconds'] * 2));
    } finally {
      await api.close();
      await database.deleteFrom('jobs').where('uid', '=', uid).execute();
    }
  });
});

describe('a dataset', () => {
  it('has its tokens counted when it is validated, with the model that its upload names', async () => {
    const dataset = await ok('GET', `datasets/${completionId}`);
    const { tokens } = await ok('GET', `datasets/${completionId}:getValidationReport`);
    const objects = openObjectStore({ endpoint: stack().s3Endpoint, region: 'us-east-1', bucket: stack().s3Bucket });
    const tokenizer = openTokenizer(await readModelFiles(findBaseModel(TINY_MODEL_NAME)!.source, TOKENIZER_SOURCES, objects));
    objects.close();
    const lengths = completions.map(
      ({ question, answer }) => tokenizer.encode(question!, true).length + tokenizer.encode(answer, true).length,
    );
    const total = lengths.reduce((sum, length) => sum + length, 0);
    expect(tokens).toMatchObject({
      baseModel: TINY_MODEL_NAME,
      counts: { tokenCounts: 'EXACT', rows: 40, total, max: Math.max(...lengths) },
    });
    expect(dataset['estimatedTokenCount']).toBe(String(total));

    const named = freshId('named');
    await ok('POST', 'datasets', { datasetId: named, dataset: {} });
    const form = new FormData();
    form.append('baseModel', 'none');
    form.append('file', new Blob([toJsonl(completions)]), 'data.jsonl');
    const { apiUrl, apiKey, accountId } = stack();
    const reply = await fetch(`${apiUrl}/v1/accounts/${accountId}/datasets/${named}:upload`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}` },
      body: form,
    });
    expect([reply.status, ((await reply.json()) as Json)['details'][0]['reason']]).toEqual([404, 'BASE_MODEL_NOT_FOUND']);
  });
});
