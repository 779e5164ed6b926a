/** Creating and steering jobs: what is refused and why, once only under one ID, two views of one job. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../../schemas/baseModels.js';
import type { Lineage } from '../../../schemas/lineage.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { publishModel, reserveModel } from '../../../stores/models.js';
import { call, events, freshId, jobState, ok, stack, toJsonl, until, uploadDataset, type Json } from '../../temper.js';

const rows = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    text: `text ${index}`,
    label: index % 2 ? 'a' : 'b',
    number: index,
    ...(index !== 3 ? { rare: 'x' } : {}),
  }));
const chats = Array.from({ length: 20 }, (_, index) => ({
  messages: [
    { role: 'user', content: `q${index}` },
    { role: 'assistant', content: `a${index}` },
  ],
}));

const table = freshId('table');
const chat = freshId('chat');
const single = freshId('single');
const empty = freshId('empty');
const adapter = freshId('adapter');
const unready = freshId('unready');
let database: Database;

/** A job that waits for a model this machine does not have: nothing is trained. */
const WAITING = { baseModel: 'accounts/fireworks/models/llama-v3p2-1b-instruct' };
const classification = { textClassification: { text: 'text', label: 'label' } };

const reasonOf = (reply: { body: Json }) => reply.body['details']?.[0]?.reason as string;
const dataset = (id: string) => `accounts/${stack().accountId}/datasets/${id}`;

beforeAll(async () => {
  const { accountId } = stack();
  database = openDatabase(stack().databaseUrl);
  await Promise.all([
    uploadDataset(table, toJsonl(rows(20))),
    uploadDataset(chat, toJsonl(chats)),
    uploadDataset(single, toJsonl(rows(1))),
  ]);
  await ok('POST', 'datasets', { datasetId: empty });
  for (const id of [adapter, unready]) {
    const jobUid = randomUUID();
    const uid = randomUUID();
    await reserveModel(database, { uid, accountId, id, jobName: 'a job', jobUid, createdBy: '' });
    if (id === unready) continue;
    const peft = { baseModel: TINY_MODEL_NAME, r: 4, targetModules: ['q_proj'] };
    await publishModel(database, {
      accountId,
      id,
      displayName: '',
      baseModel: TINY_MODEL_NAME,
      peft,
      conversation: null,
      files: [],
      contextLength: 512,
      jobUid,
      metrics: null,
      lineage: {} as Lineage,
    });
  }
});

afterAll(() => database.destroy());

/** Of those that were there before, some may go meanwhile: what other tests deleted. */
async function countMadeSince(collection: string, time: Date): Promise<number> {
  const filter = encodeURIComponent(`createTime > "${time.toISOString()}"`);
  return (await ok('GET', `${collection}?pageSize=1&filter=${filter}`))['totalSize'] as number;
}

describe('a request that cannot become a job', () => {
  const REFUSED: [field: Json, status: number, reason: string, says: string | RegExp][] = [
    [{ batchSize: 3 }, 400, 'BATCH_SIZE_NOT_POWER_OF_TWO', 'a power of two from 1 to 512, not 3'],
    [{ batch_size: 1024 }, 400, 'BATCH_SIZE_NOT_POWER_OF_TWO', 'not 1024'],
    [{ batchSize: 0 }, 400, 'BATCH_SIZE_NOT_POWER_OF_TWO', 'not 0'],
    [{ batchSize: '32' }, 400, 'BATCH_SIZE_NOT_POWER_OF_TWO', 'not "32"'],
    [{ batchSize: null }, 400, 'BATCH_SIZE_NOT_POWER_OF_TWO', 'not null'],
    [{ epochs: 0 }, 400, 'EPOCHS_NOT_POSITIVE', 'above 0'],
    [{ epochs: -1 }, 400, 'EPOCHS_NOT_POSITIVE', 'above 0'],
    [{ epochs: 0.01 }, 400, 'EPOCHS_NOT_POSITIVE', 'less than one example'],
    [{ epochs: 200_000 }, 400, 'EXAMPLES_TIMES_EPOCHS_TOO_LARGE', '20 examples × 200000 epochs are 4000000'],
    [{ loraRank: 33 }, 400, 'LORA_RANK_OUT_OF_RANGE', 'from 1 to 32, not 33'],
    [{ loraRank: 8.5 }, 400, 'LORA_RANK_OUT_OF_RANGE', 'not 8.5'],
    [{ learningRate: 0 }, 400, 'LEARNING_RATE_OUT_OF_RANGE', 'above 0'],
    [{ learningRate: 1.5 }, 400, 'LEARNING_RATE_OUT_OF_RANGE', 'at most 1'],
    [{ evaluationSplit: 1 }, 400, 'EVALUATION_SPLIT_OUT_OF_RANGE', 'below 1'],
    [{ evaluation: false, evaluationSplit: 0.2 }, 400, 'EVALUATION_SPLIT_WITHOUT_EVALUATION', 'evaluation: false'],
    [{ dataset: single, evaluation: true }, 400, 'DATASET_TOO_SMALL_TO_SPLIT', 'one example'],
    [{ warmStartFrom: adapter }, 400, 'BASE_MODEL_AND_WARM_START', 'not both'],
    [{ baseModel: undefined }, 400, 'BASE_MODEL_MISSING', 'give baseModel'],
    [
      { baseModel: 'accounts/fireworks/models/llama-v3p1-8b-instrukt' },
      404,
      'BASE_MODEL_NOT_FOUND',
      'did you mean accounts/fireworks/models/llama-v3p1-8b-instruct',
    ],
    [{ baseModel: adapter }, 400, 'BASE_MODEL_NOT_TUNABLE', 'warmStartFrom'],
    [{ baseModel: 'accounts/fireworks/models/mixtral-8x7b', quantization: 'nf4' }, 400, 'QUANTIZATION_UNSUPPORTED', 'mixture of experts'],
    [{ baseModel: undefined, warmStartFrom: 'absent' }, 404, 'WARM_START_NOT_FOUND', 'not found'],
    [{ baseModel: undefined, warmStartFrom: unready }, 400, 'WARM_START_NOT_READY', 'UPLOADING'],
    [{ baseModel: undefined, warmStartFrom: TINY_MODEL_NAME }, 400, 'WARM_START_NOT_READY', 'base model'],
    [{ baseModel: undefined, warmStartFrom: adapter, loraRank: 8 }, 400, 'WARM_START_MISMATCH', /loraRank 8 .* rank 4/],
    [{ conversation: {} }, 400, 'JOB_KIND_AMBIGUOUS', 'textClassification and conversation'],
    [{ textClassification: undefined }, 400, 'JOB_KIND_MISSING', 'textCompletion'],
    [{ textClassification: undefined, conversation: {} }, 400, 'DATASET_KIND_MISMATCH', 'messages'],
    [{ textClassification: { text: 'text', label: 'nope' } }, 400, 'DATASET_FIELD_MISSING', 'No row has the field'],
    [{ textClassification: { text: 'rare', label: 'label' } }, 400, 'DATASET_FIELD_MISSING', 'line 4'],
    [{ textClassification: { text: 'number', label: 'label' } }, 400, 'DATASET_FIELD_TYPE', 'integer'],
    [
      { textClassification: undefined, textCompletion: { inputTemplate: '{txt}', outputTemplate: 'label' } },
      400,
      'TEMPLATE_FIELD_UNKNOWN',
      'did you mean text',
    ],
    [
      { textClassification: undefined, textCompletion: { inputTemplate: '{text', outputTemplate: 'label' } },
      400,
      'TEMPLATE_INVALID',
      'column 1',
    ],
    [
      { textClassification: undefined, textCompletion: { inputTemplate: '{text.__class__}', outputTemplate: 'label' } },
      400,
      'TEMPLATE_INVALID',
      'plain field names',
    ],
    [
      { textClassification: undefined, textCompletion: { inputTemplate: 'x'.repeat(70_000), outputTemplate: 'label' } },
      400,
      'TEMPLATE_INVALID',
      '65536',
    ],
    [
      { dataset: chat, textClassification: undefined, conversation: { jinjaTemplate: '{% for m in messages %}' } },
      400,
      'TEMPLATE_INVALID',
      'does not parse',
    ],
    [
      { dataset: chat, textClassification: undefined, conversation: { jinjaTemplate: '{{ messages[0].content }}' } },
      400,
      'TEMPLATE_INVALID',
      'does not work on this dataset',
    ],
    [{ dataset: undefined }, 400, 'MISSING_FIELD', 'dataset is missing'],
    [{ dataset: 'absent' }, 404, 'DATASET_NOT_FOUND', 'was not found'],
    [{ dataset: 'accounts/another/datasets/d' }, 404, 'DATASET_NOT_FOUND', 'was not found'],
    [{ dataset: empty }, 400, 'DATASET_NOT_READY', 'upload its file'],
    [{ wandbProject: 'p' }, 400, 'WANDB_CONFIG_INVALID', 'wandbApiKey is missing'],
    [{ wandbApiKey: '0123456789' }, 400, 'WANDB_CONFIG_INVALID', 'wandbProject is missing'],
    [{ wandbApiKey: 'canary\ncanary', wandbProject: 'p' }, 400, 'WANDB_CONFIG_INVALID', 'not a key'],
    [{ wandbApiKey: '0123456789', wandbProject: 'p', wandbEntity: '../x' }, 400, 'WANDB_CONFIG_INVALID', 'wandbEntity'],
    [{ modelId: adapter }, 409, 'RESOURCE_ALREADY_EXISTS', 'already exists'],
    [{ displayName: 'x'.repeat(64) }, 400, 'INVALID_FIELD', 'at most 63'],
    [{ displayName: 'a\u202eb' }, 400, 'INVALID_FIELD', 'plain text'],
    [{ lora_rnak: 8 }, 400, 'UNKNOWN_FIELD', 'did you mean lora_rank'],
    [{ quantization: 'int3' }, 400, 'INVALID_FIELD', 'none, nf4'],
    [{ priority: 9 }, 400, 'INVALID_FIELD', '1 (first) to 5'],
  ];

  it('is answered with its own reason, and leaves nothing behind', async () => {
    const before = new Date(Date.now() + 1); // the database counts microseconds
    for (const [field, status, reason, says] of REFUSED) {
      const reply = await call('POST', 'fineTuningJobs', { dataset: dataset(table), ...WAITING, ...classification, ...field });
      expect([field, reply.status, reasonOf(reply)]).toEqual([field, status, reason]);
      expect(reply.body['message']).toMatch(says);
      expect(JSON.stringify(reply.body)).not.toContain('canary');
    }
    for (const collection of ['fineTuningJobs', 'models'])
      expect([collection, await countMadeSince(collection, before)]).toEqual([collection, 0]);
  });

  it('in the newer shape is refused for the same reasons', async () => {
    for (const [field, reason] of [
      [{ batchSizeSamples: 3 }, 'BATCH_SIZE_NOT_POWER_OF_TWO'],
      [{ batchSize: 100 }, 'BATCH_SIZE_NOT_POWER_OF_TWO'],
      [{ maxContextLength: 10 ** 6 }, 'INVALID_FIELD'],
      [{ wandbConfig: { enabled: true, project: 'p' } }, 'WANDB_CONFIG_INVALID'],
      [{ outputModel: 'accounts/another/models/m' }, 'INVALID_ID'],
      [{ conversation: {} }, 'UNKNOWN_FIELD'],
      [{ dataset: dataset(table) }, 'DATASET_KIND_MISMATCH'],
    ] as [Json, string][]) {
      const reply = await call('POST', 'supervisedFineTuningJobs', { dataset: dataset(chat), ...WAITING, ...field });
      expect([field, reply.status, reasonOf(reply)]).toEqual([field, 400, reason]);
    }
  });
});

describe('a job', () => {
  it('is one job however often it is asked for, and in both shapes', async () => {
    const jobId = freshId('once');
    const body = { jobId, dataset: table, ...WAITING, ...classification, epochs: 1.5, batchSize: 64, quantization: 'nf4' };
    const replies = await Promise.all(Array.from({ length: 10 }, () => call('POST', 'fineTuningJobs', body)));
    expect(replies.map((reply) => reply.status)).toEqual(Array(10).fill(200));
    expect(new Set(replies.map((reply) => reply.body['uid'])).size).toBe(1);
    const other = await call('POST', 'fineTuningJobs', { ...body, epochs: 2 });
    expect([other.status, reasonOf(other)]).toEqual([409, 'RESOURCE_ALREADY_EXISTS']);

    const legacy = await ok('GET', `fineTuningJobs/${jobId}`);
    expect(legacy).toMatchObject({
      name: `accounts/${stack().accountId}/fineTuningJobs/${jobId}`,
      fineTuningJobId: jobId,
      modelId: jobId,
      dataset: dataset(table),
      ...WAITING,
      ...classification,
      epochs: 1.5,
      batchSize: 64,
      loraRank: 4,
      learningRate: 0.0001,
      evaluation: true,
      evaluationSplit: 0.15,
      quantization: 'nf4',
      settingOrigins: { epochs: 'given', loraRank: 'baseModel', evaluation: 'default' },
    });
    const newer = await ok('GET', `supervisedFineTuningJobs/${jobId}`);
    expect(newer).toMatchObject({
      name: `accounts/${stack().accountId}/supervisedFineTuningJobs/${jobId}`,
      batchSizeSamples: 64,
      outputModel: `accounts/${stack().accountId}/models/${jobId}`,
    });
    expect(newer['state']).toMatch(/^JOB_STATE_/);
    await ok('DELETE', `fineTuningJobs/${jobId}`);
  });

  it('without an ID is one job for one Idempotency-Key', async () => {
    const headers = { 'idempotency-key': freshId('key') };
    const body = { dataset: table, ...WAITING, ...classification };
    const replies = await Promise.all(Array.from({ length: 4 }, () => call('POST', 'fineTuningJobs', body, headers)));
    expect(new Set(replies.map((reply) => reply.body['name'])).size).toBe(1);
    const reused = await call('POST', 'fineTuningJobs', { ...body, epochs: 2 }, headers);
    expect([reused.status, reasonOf(reused)]).toEqual([409, 'IDEMPOTENCY_KEY_REUSED']);
    expect((await call('POST', 'fineTuningJobs', body, { 'idempotency-key': 'x'.repeat(300) })).status).toBe(400);
    await ok('DELETE', `fineTuningJobs/${replies[0]!.body['jobId'] as string}`);
  });

  it('goes on from an adapter with its base model and rank', async () => {
    const job = await ok('POST', 'fineTuningJobs', { dataset: table, warmStartFrom: adapter, ...classification });
    expect(job).toMatchObject({
      baseModel: TINY_MODEL_NAME,
      loraRank: 4,
      warmStartFrom: `accounts/${stack().accountId}/models/${adapter}`,
    });
    const inUse = await call('DELETE', `models/${adapter}`);
    expect([inUse.status, reasonOf(inUse)]).toEqual([400, 'RESOURCE_IN_USE']);
    await ok('DELETE', `fineTuningJobs/${job['jobId'] as string}`);
  });

  it('says what it was given in vain', async () => {
    const job = await ok('POST', 'supervisedFineTuningJobs', {
      dataset: chat,
      ...WAITING,
      batchSize: 32_768,
      region: 'US_OHIO_1',
      isTurbo: true,
    });
    const warnings = (await events(job['modelId'] as string)).filter((event) => event['type'] === 'warning');
    expect(warnings.map((event) => event['message'])).toEqual([expect.stringContaining('batchSize 32768')]);
    await ok('DELETE', `supervisedFineTuningJobs/${job['modelId'] as string}`);
  });

  it('takes the tracker key from the account’s secret when it is given none', async () => {
    await ok('POST', 'secrets', { name: 'wandb-api-key', keyName: 'WANDB_API_KEY', value: '0123456789' });
    try {
      const wandbConfig = { enabled: true, project: 'p' };
      const [older, newer] = [
        await ok('POST', 'fineTuningJobs', { dataset: table, ...WAITING, ...classification, wandbProject: 'p' }),
        await ok('POST', 'supervisedFineTuningJobs', { dataset: chat, ...WAITING, wandbConfig }),
      ];
      for (const { name } of [older, newer]) {
        const id = (name as string).split('/').at(-1)!;
        expect(await ok('GET', `fineTuningJobs/${id}`)).toMatchObject({ wandbProject: 'p', wandbState: 'PENDING' });
        await ok('DELETE', `fineTuningJobs/${id}`);
      }
    } finally {
      await ok('DELETE', 'secrets/wandb-api-key');
    }
  });

  it('never shows the tracker key it was given', async () => {
    const jobId = freshId('tracked');
    const wandbApiKey = `canary${randomUUID().replaceAll('-', '')}`;
    const created = await ok('POST', 'fineTuningJobs', {
      jobId,
      dataset: table,
      ...WAITING,
      ...classification,
      wandbApiKey,
      wandbProject: 'My Project',
      wandbEntity: 'team',
    });
    expect(created).toMatchObject({ wandbProject: 'My Project', wandbEntity: 'team' });
    const shown = [
      created,
      await ok('GET', `supervisedFineTuningJobs/${jobId}`),
      await events(jobId),
      await ok('GET', 'fineTuningJobs'),
      await ok('GET', 'secrets'),
    ];
    expect(JSON.stringify(shown)).not.toContain('canary');
    const row = await database
      .selectFrom('jobs')
      .select(['request', 'settings', 'wandb'])
      .where('id', '=', jobId)
      .executeTakeFirstOrThrow();
    expect(JSON.stringify(row)).not.toContain('canary');
    await ok('DELETE', `fineTuningJobs/${jobId}`);
    await until(
      'the key to be gone with the job',
      async () => !JSON.stringify(await ok('GET', 'secrets')).includes(created['uid'] as string),
    );
  });

  it('are listed as they are now, also after a change that left their update time alone', async () => {
    const id = freshId('listed');
    await ok('POST', 'fineTuningJobs', { jobId: id, dataset: table, ...WAITING, ...classification });
    for (const displayName of [`${id} first`, `${id} second`]) {
      await database.updateTable('jobs').set({ display_name: displayName }).where('id', '=', id).execute();
      for (const family of ['fineTuningJobs', 'supervisedFineTuningJobs'])
        for (const more of ['', '', '&readMask=name,displayName']) {
          const body = await ok('GET', `${family}?filter=${encodeURIComponent(`displayName = "${displayName}"`)}${more}`);
          expect(body).toMatchObject({ nextPageToken: '', totalSize: 1 });
          expect(body[family]).toEqual([expect.objectContaining({ name: expect.stringContaining(`${family}/${id}`), displayName })]);
        }
    }
    await ok('DELETE', `fineTuningJobs/${id}`);
  });

  it('can be renamed, moved in the queue, cancelled and deleted; what is not possible is refused', async () => {
    const id = freshId('steered');
    const job = await ok('POST', 'fineTuningJobs', { jobId: id, dataset: table, ...WAITING, ...classification });
    expect(await ok('PATCH', `fineTuningJobs/${id}`, { displayName: 'New name', priority: 1 })).toMatchObject({
      displayName: 'New name',
      priority: 1,
    });
    expect(reasonOf(await call('POST', `fineTuningJobs/${id}:resume`, {}))).toBe('ILLEGAL_STATE');
    const inUse = await call('DELETE', `datasets/${table}`);
    expect([inUse.status, reasonOf(inUse), inUse.body['message']]).toEqual([
      400,
      'RESOURCE_IN_USE',
      expect.stringContaining(job['name'] as string),
    ]);

    await ok('POST', `supervisedFineTuningJobs/${id}:cancel`, {});
    await until('CANCELLED', async () => (await jobState(id)) === 'JOB_STATE_CANCELLED');
    expect(await ok('GET', `fineTuningJobs/${id}`)).toMatchObject({ state: 'FAILED', status: { code: 'CANCELLED' } });
    for (const verb of ['cancel', 'pause', 'resume'])
      expect(reasonOf(await call('POST', `fineTuningJobs/${id}:${verb}`))).toBe('ILLEGAL_STATE');

    await ok('DELETE', `fineTuningJobs/${id}`);
    await until('the job to be gone', async () => (await call('GET', `fineTuningJobs/${id}`)).status === 404);
    expect((await call('DELETE', `fineTuningJobs/${id}`)).status).toBe(404);
    // The name is free again, for another job with a workflow of its own.
    const again = await ok('POST', 'fineTuningJobs', { jobId: id, dataset: table, ...WAITING, ...classification });
    expect(again['uid']).not.toBe(job['uid']);
    await until('the new workflow to begin', async () => (await jobState(id)) !== 'JOB_STATE_CREATING');
    await ok('DELETE', `fineTuningJobs/${id}`);
  });
});
