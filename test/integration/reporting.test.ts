/** A job that reports to Weights & Biases: delivered while it trains, never in the job's way, and its key is nowhere but encrypted. */
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { call, events, freshId, metrics, ok, stack, toJsonl, until, untilState, uploadDataset } from '../temper.js';
import { startWandbServer, type WandbTestServer } from '../wandbServer.js';

const KEY = 'c0ffee'.repeat(6) + 'abcd';

let server: WandbTestServer;
let dataset: string;

beforeAll(async () => {
  server = await startWandbServer({ apiKey: KEY, entity: 'someone', teams: ['team'] }, stack().wandbPort);
  const rows = Array.from({ length: 40 }, (_, index) => ({ prompt: `what is ${index}?`, completion: `it is ${index * 3}` }));
  dataset = (await uploadDataset(freshId('reported'), toJsonl(rows)))['name'] as string;
});
afterAll(() => server.stop());

async function start(id: string, wandbApiKey = KEY): Promise<void> {
  await ok('POST', 'fineTuningJobs', {
    jobId: id,
    modelId: id,
    dataset,
    baseModel: TINY_MODEL_NAME,
    textCompletion: { inputTemplate: 'prompt', outputTemplate: 'completion' },
    batchSize: 8,
    wandbEntity: 'team',
    wandbProject: 'temper',
    wandbApiKey,
  });
}

const reported = (id: string, state: string) =>
  until(`${id} to be ${state}`, async () => (await ok('GET', `fineTuningJobs/${id}`))['wandbState'] === state);

describe('reporting', () => {
  const id = freshId('reports');

  it('delivers every step, the settings and the evaluation', async () => {
    await start(id);
    await untilState(id, 'JOB_STATE_COMPLETED');
    await reported(id, 'DELIVERED');
    const job = await ok('GET', `fineTuningJobs/${id}`);
    const run = server.runs.get(`team/temper/${job['uid']}`)!;
    expect(run.history.map((row) => row['train/loss'])).toEqual((await metrics(id)).map((row) => row['loss']));
    expect(run).toMatchObject({ state: 'finished', summary: { 'eval/tuned_perplexity': job['evaluationResult'].tuned } });
    expect(JSON.stringify(run.config)).toContain('learningRate');
    expect(job['wandbUrl']).toContain(job['uid']);
  });

  it('leaves the key, and other secrets of the account, in no history, memo, event, answer, log or file', async () => {
    const stored = `canary-${randomUUID()}`;
    await ok('POST', 'secrets', { name: freshId('stored'), keyName: 'TOKEN', value: stored });
    const { key } = await ok('POST', 'users/admin/apiKeys', {});
    // Wrong ones are looked at, too: in errors.
    await call('POST', 'secrets', { name: 'Not An ID', keyName: 'TOKEN', value: stored, valeu: stored });
    await call('GET', `datasets?filter=${stored}`, undefined, { authorization: `Bearer ${stored}` });
    const secrets = [KEY, stored, key as string];

    const connection = await Connection.connect({ address: stack().temporalAddress });
    const client = new Client({ connection });
    const name = (await ok('GET', `fineTuningJobs/${id}`))['name'] as string;
    const handle = client.workflow.getHandle(name);
    const { raw } = await handle.describe();
    const reporter = client.workflow.getHandle(`${name}/reports/wandb`);
    const histories = [await handle.fetchHistory(), await reporter.fetchHistory()];
    const told = [...histories, raw, await events(id), await ok('GET', `fineTuningJobs/${id}`), await ok('GET', 'secrets')];
    await connection.close();
    // Payloads are bytes: looked at as text, with everything else.
    const text = JSON.stringify(told, (_name, value: unknown) => bytesAsText(value));
    expect(text).toContain(id);
    expect(secrets.filter((secret) => text.includes(secret))).toEqual([]);

    const files = filesUnder(stack().home);
    expect(files.length).toBeGreaterThan(20);
    expect(files.some((file) => file.endsWith('api.log'))).toBe(true);
    const found = files.filter((file) => {
      const content = readIfThere(file);
      return secrets.some((secret) => content.includes(secret) || content.includes(Buffer.from(secret).toString('base64').slice(0, -4)));
    });
    expect(found).toEqual([]);
  });

  it('costs a job nothing while the key is wrong or the tracker away; another key and a word are enough for the run to fill in', async () => {
    // Asked for as OpenAI's clients do: the key is the account's secret at that time.
    const { apiUrl, apiKey } = stack();
    const { jobs } = new OpenAI({ baseURL: `${apiUrl}/v1`, apiKey }).fineTuning;
    await ok('POST', 'secrets', { name: 'wandb-api-key', keyName: 'WANDB_API_KEY', value: 'badbad'.repeat(6) });
    const integrations = [{ type: 'wandb' as const, wandb: { project: 'moved', entity: 'team', name: 'First run' } }];
    const created = await jobs.create({ model: 'temper-tiny', training_file: dataset.split('/').at(-1)!, integrations });
    const other = created.id;
    await ok('DELETE', 'secrets/wandb-api-key');
    expect(created.integrations).toMatchObject(integrations);
    const job = `fineTuningJobs/${other}`;
    const reason = (text: string) => until(`the reason ${text}`, async () => String((await ok('GET', job))['wandbReason']).includes(text));
    await untilState(other, 'JOB_STATE_COMPLETED');
    await reported(other, 'DEGRADED');
    await reason('HTTP 401');
    server.fault = { on: 'everything', how: 500 };
    await ok('PATCH', job, { wandbApiKey: KEY });
    await reason('HTTP 500');
    server.fault = null;
    await ok('POST', `${job}:report`, {});
    await reported(other, 'DELIVERED');
    const { uid, displayName } = await ok('GET', job);
    expect(displayName).toBe('First run');
    expect(server.runs.get(`team/moved/${uid}`)).toMatchObject({ state: 'finished' });
    const steps = server.runs.get(`team/moved/${uid}`)!.history.map((row) => row['_step']);
    expect(steps).toEqual((await metrics(other)).map((row) => row['step']));
    expect((await ok('GET', `${job}:listAttempts`))['attempts']).toHaveLength(1);
  });
});

/** A `Buffer` is JSON already when a replacer sees it. */
function bytesAsText(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  const { type, data } = (value ?? {}) as { type?: unknown; data?: unknown };
  return type === 'Buffer' && Array.isArray(data) ? Buffer.from(data as number[]).toString('utf8') : value;
}

/** The stack goes on meanwhile: what is gone by now is passed over. */
function filesUnder(folder: string): string[] {
  const entries = ifThere(() => readdirSync(folder, { withFileTypes: true })) ?? [];
  return entries.flatMap((entry) => {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) return filesUnder(name);
    return entry.isFile() ? [name] : [];
  });
}

function readIfThere(file: string): Buffer {
  return ifThere(() => readFileSync(file)) ?? Buffer.alloc(0);
}

function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
