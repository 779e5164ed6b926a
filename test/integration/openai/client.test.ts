/** The official JavaScript client, unpatched, is the judge of OpenAI's protocol: only its base URL and key are given. */
import { createHash, randomBytes } from 'node:crypto';
import OpenAI, { toFile } from 'openai';
import { beforeAll, describe, expect, it } from 'vitest';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { openDatabase } from '../../../stores/database.js';
import { call, freshId, ok, secretKeys, stack, toJsonl, until, type Json } from '../../temper.js';

let client: OpenAI;
beforeAll(() => {
  const { apiUrl, apiKey } = stack();
  client = new OpenAI({ baseURL: `${apiUrl}/v1`, apiKey, organization: 'org-ignored', project: 'proj-ignored', maxRetries: 0 });
});

const row = (index: number) => ({
  messages: [
    { role: 'system', content: 'You answer briefly.' },
    { role: 'user', content: `What is ${index} plus one?` },
    { role: 'assistant', content: `It is ${index + 1}.`, weight: 1 },
  ],
});
const rows = (count: number) => Array.from({ length: count }, (_, index) => row(index));
const upload = (content: string, name = 'rows.jsonl') =>
  toFile(Buffer.from(content), name).then((file) => client.files.create({ file, purpose: 'fine-tune' }));

/** What a call is refused with: the status, the code and the parameter. */
async function refusal(
  call: () => PromiseLike<unknown>,
): Promise<{ status: number; code: string; param: string | null; message: string; name: string }> {
  const error = await Promise.resolve(call()).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof OpenAI.APIError)) throw new Error(`was not refused by the API: ${String(error)}`);
  expect(error.requestID).toBeTruthy();
  return {
    status: error.status as number,
    code: error.code!,
    param: error.param ?? null,
    message: error.message,
    name: error.constructor.name,
  };
}

describe('files', () => {
  it('are created, processed, listed, read back byte for byte and deleted', async () => {
    const content = toJsonl(rows(12));
    const file = await toFile(Buffer.from(content), 'täglich.jsonl').then((data) =>
      client.files.create({ file: data, purpose: 'fine-tune', expires_after: { anchor: 'created_at', seconds: 7200 } }),
    );
    expect(file).toMatchObject({ object: 'file', bytes: Buffer.byteLength(content), filename: 'täglich.jsonl', purpose: 'fine-tune' });
    expect(file.id).toMatch(/^file-[a-z0-9]+$/);
    expect(file.expires_at! - file.created_at).toBeCloseTo(7200, -1);
    const processed = await client.files.waitForProcessing(file.id, { pollInterval: 100 });
    expect(processed.status).toBe('processed');
    expect(await (await client.files.content(file.id)).text()).toBe(content);
    // A file is a dataset of the account, with its ID.
    expect(await ok('GET', `datasets/${file.id}`)).toMatchObject({ state: 'READY', exampleCount: '12', format: 'CHAT' });
    const listed = [];
    for await (const one of client.files.list({ limit: 1, purpose: 'fine-tune' })) listed.push(one.id);
    expect(listed.filter((id) => id === file.id)).toEqual([file.id]);
    expect(new Set(listed).size).toBe(listed.length);
    expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: 'file', deleted: true });
    expect(await refusal(() => client.files.retrieve(file.id))).toMatchObject({ status: 404, name: 'NotFoundError', param: 'file_id' });
  });

  it('that are not valid say what is wrong where', async () => {
    const file = await upload(`${toJsonl([row(1)])}{"messages": [{"role": "user"\n`);
    const judged = await until('the file to be judged', async () => {
      const found = await client.files.retrieve(file.id);
      return found.status !== 'uploaded' && found;
    });
    expect(judged.status).toBe('error');
    expect(judged.status_details).toMatch(/Line 2/);
    const job = () => client.fineTuning.jobs.create({ model: 'temper-tiny', training_file: file.id });
    expect(await refusal(job)).toMatchObject({ status: 400, code: 'dataset_not_ready', param: 'training_file' });
  });

  it('are refused for other purposes, and with fields that nobody knows', async () => {
    const file = await toFile(Buffer.from('x'), 'x.jsonl');
    expect(await refusal(() => client.files.create({ file, purpose: 'assistants' }))).toMatchObject({ status: 400, param: 'purpose' });
    const unknown = () => client.files.create({ file, purpose: 'fine-tune', colour: 'red' } as never);
    expect(await refusal(unknown)).toMatchObject({ status: 400, code: 'unknown_parameter', param: 'colour' });
    expect(await refusal(() => client.files.list({ after: 'file-nowhere' }))).toMatchObject({ status: 400, param: 'after' });
    expect(await refusal(() => client.files.list({ limit: 0 }))).toMatchObject({ status: 400, param: 'limit' });
  });

  it('sent again by a client that lost the answer are the same file', async () => {
    const form = () => {
      const data = new FormData();
      data.append('purpose', 'fine-tune');
      data.append('file', new Blob([content]), 'rows.jsonl');
      return data;
    };
    const content = toJsonl([row(randomBytes(4).readUInt32LE())]);
    const { apiUrl, apiKey } = stack();
    const send = async (retries: number) => {
      const headers = { authorization: `Bearer ${apiKey}`, 'x-stainless-retry-count': String(retries) };
      return ((await (await fetch(`${apiUrl}/v1/files`, { method: 'POST', headers, body: form() })).json()) as { id: string }).id;
    };
    const first = await send(0);
    expect([await send(1), await send(0)]).toEqual([first, expect.not.stringMatching(first)]);
  });
});

describe('uploads', () => {
  const content = Buffer.from(toJsonl(rows(200)));
  const third = Math.ceil(content.length / 3);
  const pieces = [0, 1, 2].map((index) => content.subarray(index * third, (index + 1) * third));
  const begin = () =>
    client.uploads.create({ bytes: content.length, filename: 'big.jsonl', mime_type: 'application/jsonl', purpose: 'fine-tune' });
  const send = async (id: string, piece: Buffer) => (await client.uploads.parts.create(id, { data: await toFile(piece, 'part') })).id;

  it('join their parts in the order of the completion', async () => {
    const { id } = await begin();
    const ids = [await send(id, pieces[2]!), await send(id, pieces[0]!), await send(id, pieces[1]!)] as const;
    const order = [ids[1], ids[2], ids[0]];
    const md5 = createHash('md5').update(content).digest('hex');
    expect(await refusal(() => client.uploads.complete(id, { part_ids: [...ids], md5 }))).toMatchObject({ status: 400, param: 'md5' });
    expect(await refusal(() => client.uploads.complete(id, { part_ids: [ids[1]] }))).toMatchObject({ status: 400, param: 'part_ids' });
    expect(await refusal(() => client.uploads.complete(id, { part_ids: [ids[1], ids[1]] }))).toMatchObject({ param: 'part_ids[1]' });
    const done = await client.uploads.complete(id, { part_ids: order, md5 });
    expect(done).toMatchObject({ status: 'completed', file: { filename: 'big.jsonl', bytes: content.length } });
    expect((await client.uploads.complete(id, { part_ids: order, md5 })).file!.id).toBe(done.file!.id);
    expect((await client.files.waitForProcessing(done.file!.id, { pollInterval: 100 })).status).toBe('processed');
    expect(Buffer.from(await (await client.files.content(done.file!.id)).arrayBuffer()).equals(content)).toBe(true);
    expect(await refusal(() => send(id, pieces[0]!))).toMatchObject({ status: 400, code: 'illegal_state' });
  });

  it('are cancelled', async () => {
    const { id } = await begin();
    const part = await send(id, pieces[0]!);
    expect((await client.uploads.cancel(id)).status).toBe('cancelled');
    expect(await refusal(() => client.uploads.complete(id, { part_ids: [part] }))).toMatchObject({ code: 'illegal_state' });
  });
});

describe('a job', () => {
  let trainingFile: string;
  let validationFile: string;

  it('is made right after its files were uploaded, queued at once, and paused and resumed', async () => {
    trainingFile = (await upload(toJsonl(rows(64)))).id;
    validationFile = (await upload(toJsonl(rows(70).slice(64)))).id;
    const job = await client.fineTuning.jobs.create({
      model: 'gpt-4o-mini-2024-07-18',
      training_file: trainingFile,
      validation_file: validationFile,
      suffix: 'My Support Bot',
      seed: 7,
      metadata: { team: 'support', run: freshId('run') },
      method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 3, batch_size: 5, learning_rate_multiplier: 0.5 } } },
    });
    expect(job).toMatchObject({
      object: 'fine_tuning.job',
      model: 'temper-tiny',
      status: 'queued',
      training_file: trainingFile,
      validation_file: validationFile,
      seed: 7,
      fine_tuned_model: null,
      finished_at: null,
      error: null,
      result_files: [],
      trained_tokens: null,
      hyperparameters: { n_epochs: 3, batch_size: 5, learning_rate_multiplier: 0.5 },
    });
    expect(job.id).toMatch(/^ftjob-[a-z0-9]+$/);
    expect(await refusal(() => client.fineTuning.jobs.resume(job.id))).toMatchObject({ status: 400, code: 'illegal_state' });
    expect((await client.fineTuning.jobs.pause(job.id)).status).toBe('paused');
    expect((await client.fineTuning.jobs.resume(job.id)).status).not.toBe('paused');

    // The loop of OpenAI's own examples: anything but these two states ends it.
    let current = job;
    while (['queued', 'running'].includes(current.status)) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      current = await client.fineTuning.jobs.retrieve(job.id);
    }
    expect(current.status).toBe('succeeded');
    const tuned = current.fine_tuned_model!;
    expect(tuned).toBe(`ft:temper-tiny:${stack().accountId}:My-Support-Bot:${job.id.slice('ftjob-'.length)}`);
    expect(current.trained_tokens).toBeGreaterThan(0);
    expect(current.finished_at).toBeGreaterThanOrEqual(current.created_at);

    // The same job on the other routes; half the base model's own rate.
    const ours = await ok('GET', `supervisedFineTuningJobs/${job.id}`);
    expect(ours).toMatchObject({ state: 'JOB_STATE_COMPLETED', batchSizeSamples: 5, learningRate: 0.001, jobProgress: { percent: 100 } });
    expect(ours['evaluationResult'].examples).toBe(6);
    expect(ours['progress'].trainExamples).toBe(64);

    const metadata = { run: job.metadata!['run']! };
    expect((await client.fineTuning.jobs.list({ metadata })).data.map(({ id }) => id)).toEqual([job.id]);
    expect((await client.fineTuning.jobs.list({ metadata: { ...metadata, team: 'other' } })).data).toEqual([]);

    const events = [];
    for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 7 })) events.push(event);
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    expect(events.at(-1)!.message).toBe('The job was accepted.');
    expect(events.map(({ created_at }) => created_at)).toEqual(events.map(({ created_at }) => created_at).sort((a, b) => b - a));
    const steps = events.filter(({ type }) => type === 'metrics');
    expect(steps).toHaveLength(39);
    expect(steps[0]).toMatchObject({ level: 'info', data: { step: 39, total_steps: 39, train_loss: expect.any(Number) } });
    const measured = steps.map(({ data }) => data as Json).filter((data) => data['valid_loss'] !== undefined);
    expect(measured.length).toBeGreaterThan(0);

    const checkpoints = [];
    for await (const checkpoint of client.fineTuning.jobs.checkpoints.list(job.id, { limit: 1 })) checkpoints.push(checkpoint);
    expect(checkpoints[0]).toMatchObject({
      object: 'fine_tuning.job.checkpoint',
      fine_tuning_job_id: job.id,
      step_number: 39,
      fine_tuned_model_checkpoint: `${tuned}:ckpt-step-39`,
      metrics: { step: 39, train_loss: expect.any(Number), full_valid_loss: expect.any(Number) },
    });
    expect(checkpoints.map(({ id }) => id)).toEqual([...new Set(checkpoints.map(({ id }) => id))]);

    const [results] = current.result_files;
    const file = await client.files.retrieve(results!);
    expect(file).toMatchObject({ purpose: 'fine-tune-results', status: 'processed' });
    const csv = await (await client.files.content(results!)).text();
    expect(csv.length).toBe(file.bytes);
    expect(csv.split('\n')[0]).toBe('step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy');
    expect(csv.trim().split('\n')).toHaveLength(40);
    const lossAt = new Map(csv.split('\n').map((line) => [line.split(',')[0], line.split(',')[3]]));
    for (const data of measured) expect(Number(lossAt.get(String(data['step'])))).toBeCloseTo(data['valid_loss'] as number, 5);
    expect(lossAt.get('39')).not.toBe('');
    expect((await client.files.list({ purpose: 'fine-tune-results' })).data.map(({ id }) => id)).toContain(results);

    // Its model is listed, may be gone on from by its name, and is deleted when nothing needs it.
    expect((await client.models.retrieve(tuned)).owned_by).toBe(stack().accountId);
    const next = await client.fineTuning.jobs.create({ model: tuned, training_file: trainingFile });
    expect(next).toMatchObject({ model: tuned, validation_file: null, hyperparameters: { learning_rate_multiplier: 1 } });
    expect(await refusal(() => client.files.delete(trainingFile))).toMatchObject({ status: 400, code: 'resource_in_use' });
    expect(await refusal(() => client.models.delete(tuned))).toMatchObject({ status: 400, code: 'resource_in_use' });
    await client.fineTuning.jobs.cancel(next.id);
    await until('the job to be cancelled', async () => (await client.fineTuning.jobs.retrieve(next.id)).status === 'cancelled');
    expect(await refusal(() => client.fineTuning.jobs.cancel(next.id))).toMatchObject({ status: 400, code: 'illegal_state' });
    expect(await client.models.delete(tuned)).toEqual({ id: tuned, object: 'model', deleted: true });
    expect(await refusal(() => client.models.retrieve(tuned))).toMatchObject({ status: 404, code: 'model_not_found' });
  });

  it('is refused with the parameter and what to do', async () => {
    const create = (body: object) =>
      refusal(() => client.fineTuning.jobs.create({ model: 'temper-tiny', training_file: trainingFile, ...body }));
    const unknownModel = await create({ model: 'gpt-5' });
    expect(unknownModel).toMatchObject({ status: 404, code: 'model_not_found', param: 'model', name: 'NotFoundError' });
    expect(unknownModel.message).toMatch(/temper-tiny, llama-v3p2-1b-instruct/);
    expect(await create({ training_file: 'file-none' })).toMatchObject({ status: 400, param: 'training_file' });
    expect(await create({ validation_file: 'file-none' })).toMatchObject({ status: 400, param: 'validation_file' });
    expect(await create({ method: { type: 'dpo', dpo: {} } })).toMatchObject({ status: 400, param: 'method.type' });
    expect(await create({ n_epoch: 3 })).toMatchObject({ status: 400, code: 'unknown_parameter', param: 'n_epoch' });
    expect(await create({ hyperparameters: { n_epochs: 0 } })).toMatchObject({ status: 400, param: 'hyperparameters.n_epochs' });
    expect(await create({ hyperparameters: { n_epochs: 'many' } })).toMatchObject({ status: 400, param: 'hyperparameters.n_epochs' });
    expect(await create({ suffix: 'x'.repeat(65) })).toMatchObject({ status: 400, param: 'suffix' });
    expect(await create({ metadata: Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`k${index}`, 'v'])) })).toMatchObject({
      param: 'metadata',
    });
    expect(await create({ integrations: [{ type: 'wandb', wandb: { project: 'p' } }] })).toMatchObject({
      status: 400,
      param: 'integrations',
    });
    expect(await refusal(() => client.fineTuning.jobs.retrieve('ftjob-none'))).toMatchObject({ status: 404, param: 'fine_tuning_job_id' });
    expect(await refusal(() => client.fineTuning.jobs.list({ after: 'ftjob-none' }))).toMatchObject({ status: 400, param: 'after' });
    const anonymous = new OpenAI({ baseURL: client.baseURL, apiKey: 'wrong', maxRetries: 0 });
    expect(await refusal(() => anonymous.models.list())).toMatchObject({
      status: 401,
      code: 'invalid_api_key',
      name: 'AuthenticationError',
    });
  });

  it('takes the deprecated hyperparameters, null and auto', async () => {
    const job = await client.fineTuning.jobs.create({
      model: 'llama-v3p2-1b-instruct',
      training_file: trainingFile,
      validation_file: null,
      suffix: null,
      seed: null,
      metadata: null,
      integrations: null,
      hyperparameters: { n_epochs: 2, batch_size: 'auto', learning_rate_multiplier: 'auto' },
    });
    expect(job).toMatchObject({
      model: 'llama-v3p2-1b-instruct',
      seed: 42,
      hyperparameters: { n_epochs: 2, batch_size: 32, learning_rate_multiplier: 1 },
    });
    await client.fineTuning.jobs.cancel(job.id);
  });

  it('asked for twice with a key, or by a client that says so, is one job', async () => {
    const body = { model: 'llama-v3p2-1b-instruct', training_file: trainingFile, metadata: { once: freshId('once') } };
    const headers = { 'Idempotency-Key': freshId('key') };
    const first = await client.fineTuning.jobs.create(body, { headers });
    expect((await client.fineTuning.jobs.create(body, { headers })).id).toBe(first.id);
    const { apiUrl, apiKey } = stack();
    const again = await fetch(`${apiUrl}/v1/fine_tuning/jobs`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', 'x-stainless-retry-count': '2' },
      body: JSON.stringify(body),
    });
    expect(((await again.json()) as { id: string }).id).toBe(first.id);
    expect(await refusal(() => client.fineTuning.jobs.create({ ...body, seed: 1 }, { headers }))).toMatchObject({
      status: 409,
      code: 'idempotency_key_reused',
    });
    await client.fineTuning.jobs.cancel(first.id);
  });

  it('says that checkpoints have no permissions, and is not asked again', async () => {
    let asked = 0;
    const patient = new OpenAI({
      baseURL: client.baseURL,
      apiKey: stack().apiKey,
      adminAPIKey: stack().apiKey,
      maxRetries: 2,
      fetch: (...request) => ((asked += 1), fetch(...request)),
    });
    expect(await refusal(() => patient.fineTuning.checkpoints.permissions.create('ftckpt_1', { project_ids: ['p'] }).then())).toMatchObject(
      { status: 501 },
    );
    expect(asked).toBe(1);
  });

  it('of another route is shown, too', async () => {
    const id = freshId('other');
    const body = {
      jobId: id,
      dataset: trainingFile,
      baseModel: 'accounts/fireworks/models/llama-v3p2-1b-instruct',
      conversation: {},
      learningRate: 2e-4,
    };
    expect((await call('POST', 'fineTuningJobs', body)).status).toBe(200);
    const found = await client.fineTuning.jobs.retrieve(id);
    expect(found).toMatchObject({ id, training_file: trainingFile, hyperparameters: { learning_rate_multiplier: 2 } });
    expect((await client.fineTuning.jobs.list({ limit: 1 })).data[0]!.id).toBe(id);
    await client.fineTuning.jobs.cancel(id);
  });
});

it('shows nothing of other accounts', async () => {
  const { apiUrl, databaseUrl } = stack();
  const key = freshId('tk_other');
  const database = openDatabase(databaseUrl);
  await bootstrapAccount(database, secretKeys(), freshId('other'), key).finally(() => database.destroy());
  const other = new OpenAI({ baseURL: `${apiUrl}/v1`, apiKey: key, maxRetries: 0 });
  const file = await upload(toJsonl(rows(2)));
  const [job] = (await client.fineTuning.jobs.list({ limit: 1 })).data;
  for (const look of [
    () => other.files.retrieve(file.id),
    () => other.files.content(file.id),
    () => other.files.delete(file.id),
    () => other.fineTuning.jobs.retrieve(job!.id),
    () => other.fineTuning.jobs.listEvents(job!.id),
    () => other.fineTuning.jobs.cancel(job!.id),
  ])
    expect(await refusal(look)).toMatchObject({ status: 404 });
  const steal = () => other.fineTuning.jobs.create({ model: 'temper-tiny', training_file: file.id });
  expect(await refusal(steal)).toMatchObject({ status: 400, param: 'training_file' });
  expect((await other.files.list()).data).toEqual([]);
  expect((await other.fineTuning.jobs.list()).data).toEqual([]);
});

it('lists base models and aliases', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  expect(ids).toEqual(expect.arrayContaining(['temper-tiny', 'mistral-7b', 'gpt-4o-mini-2024-07-18']));
  expect((await client.models.retrieve('mistral-7b')).owned_by).toBe('fireworks');
  expect(await refusal(() => client.models.delete('mistral-7b'))).toMatchObject({ status: 403 });
});
