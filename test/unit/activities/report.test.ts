/** Reporting a job from its records: what the tracker gets, what the job shows afterwards, and that the key stays where it is. */
import { randomBytes, randomUUID } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { reportJob } from '../../../activities/report.js';
import { keepPorts } from '../../../dev/ports.js';
import { createDatabase, databaseUrl, describePostgres, postgresFolder } from '../../../dev/postgres.js';
import { supervise, type SupervisedProcess } from '../../../dev/supervise.js';
import type { JobState } from '../../../schemas/states.js';
import type { JobSettings } from '../../../schemas/task.js';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { migrate, openDatabase, type Database } from '../../../stores/database.js';
import { listEvents } from '../../../stores/events.js';
import { createJob, findJobByUid, recordEvaluation, recordMetrics } from '../../../stores/jobs.js';
import { readSecretKeys } from '../../../stores/secretKeys.js';
import { deleteSecret, putSecret } from '../../../stores/secrets.js';
import { startWandbServer, type WandbTestServer } from '../../wandbServer.js';

const apiKey = 'c0ffee'.padEnd(40, '0');
const secretKeys = readSecretKeys(randomBytes(32).toString('base64'));
const signal = new AbortController().signal;
let home: string;
let postgres: SupervisedProcess;
let database: Database;
let wandb: WandbTestServer;

beforeAll(async () => {
  home = mkdtempSync(path.join(tmpdir(), 'temper-report-'));
  chmodSync(home, 0o711);
  const port = (await keepPorts(home, ['postgres'])).postgres;
  const context = { logsFolder: path.join(home, 'logs'), progress: () => {}, onSpawn: () => {}, onRestart: () => {} };
  postgres = await supervise(await describePostgres({ home, port, password: 'secret' }), context);
  await createDatabase(port, 'secret');
  database = openDatabase(databaseUrl(port, 'secret'));
  await migrate(database);
  await bootstrapAccount(database, secretKeys, 'ada', 'tk_test');
});
afterAll(async () => {
  await database.destroy();
  await postgres.stop();
  rmSync(postgresFolder(home), { recursive: true, force: true });
  rmSync(home, { recursive: true });
});
beforeEach(async () => {
  wandb = await startWandbServer({ apiKey, entity: 'ada', teams: [] });
  vi.stubEnv('WANDB_BASE_URL', wandb.url);
  await putSecret(database, secretKeys, { accountId: 'ada', id: 'wandb', value: apiKey });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await wandb.stop();
});

it('delivers metrics, settings and evaluation of the job, and links to the run', async () => {
  const uid = await makeJob(40);
  const { url } = await report(uid, 'COMPLETED');
  expect(url).toBe(`${wandb.url}/ada/trials/runs/run-${uid}`);
  const run = wandb.runs.get(`ada/trials/run-${uid}`)!;
  expect(run.history.map((row) => row['_step'])).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
  expect(run.history[9]).toMatchObject({
    'train/loss': 0.1,
    'train/learning_rate': 1e-4,
    'train/tokens_per_second': 900,
    'train/epoch': 0.25,
    'eval/loss': 0.7,
  });
  expect(run.history[9]).not.toHaveProperty('train/grad_norm'); // not known for that step
  expect(run.config).toMatchObject({
    learningRate: { value: 1e-4 },
    loraRank: { value: 8 },
    baseModel: { value: 'accounts/ada/models/tiny' },
    kind: { value: 'conversation' },
    settingOrigins: { value: { epochs: 'given' } },
    tags: { value: ['conversation', 'accounts/ada/models/tiny', 'accounts/ada/datasets/rows'] },
  });
  expect(run.summary).toMatchObject({ job_state: 'COMPLETED', final_loss: 1 / 40, 'eval/base_accuracy': 0.4, 'eval/tuned_accuracy': 0.9 });
  expect(run.state).toBe('finished');
  expect((await findJobByUid(database, uid))!.wandb).toMatchObject({ state: 'DELIVERED', url });
  expect(await reportEvents(uid)).toEqual(['report/delivered']);
});

it('shows the job as degraded while the tracker is away, and fills in when it is back', async () => {
  const uid = await makeJob(3);
  wandb.fault = { on: 'everything', how: 500 };
  for (let attempt = 0; attempt < 2; attempt++) await expect(report(uid, 'COMPLETED')).rejects.toMatchObject({ code: 'TRACKER_FAILED' });
  expect((await findJobByUid(database, uid))!.wandb).toMatchObject({
    state: 'DEGRADED',
    reason: expect.stringContaining('HTTP 500') as string,
  });
  wandb.fault = null;
  await report(uid, 'COMPLETED');
  const settings = (await findJobByUid(database, uid))!.wandb!;
  expect(settings.state).toBe('DELIVERED');
  expect(settings.reason).toBeUndefined();
  expect(await reportEvents(uid)).toEqual(['report/degraded/SERVER_ERROR', 'report/delivered']);
});

it('says what to do about a key that is refused or gone, and puts no key into records and errors', async () => {
  const uid = await makeJob(3);
  const wrong = 'badbad'.padEnd(40, '1');
  await putSecret(database, secretKeys, { accountId: 'ada', id: 'wandb', value: wrong });
  const refused: unknown = await report(uid, 'COMPLETED').catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: 'TRACKER_REFUSED', details: [{ reason: 'KEY_REFUSED' }] });
  await deleteSecret(database, 'ada', 'wandb');
  await expect(report(uid, 'COMPLETED')).rejects.toMatchObject({ code: 'TRACKER_REFUSED', details: [{ reason: 'KEY_MISSING' }] });
  const { rows } = await sql<{ text: string }>`select jobs::text || coalesce(string_agg(job_events::text, ''), '') as text
    from jobs left join job_events on job_uid = uid where uid = ${uid} group by jobs.uid`.execute(database);
  const written = rows[0]!.text + JSON.stringify(refused) + String((refused as Error).stack);
  for (const key of [apiKey, wrong]) expect(written).not.toContain(key);
  expect(await reportEvents(uid)).toEqual(['report/degraded/KEY_REFUSED', 'report/degraded/KEY_MISSING']);
});

it('reports nothing for a job that asked for no run', async () => {
  const uid = await makeJob(3, null);
  expect(await report(uid, 'COMPLETED')).toEqual({ url: null });
  expect(wandb.requests).toEqual([]);
});

function report(uid: string, outcome: JobState) {
  return reportJob({ database, secretKeys }, { uid, name: `accounts/ada/fineTuningJobs/${uid}`, outcome }, signal);
}

async function reportEvents(uid: string): Promise<string[]> {
  return (await listEvents(database, uid)).filter((event) => event.type === 'report').map((event) => event.key);
}

/** A job with metrics of so many steps, and an evaluation. */
async function makeJob(steps: number, wandbOf: { project: string } | null = { project: 'trials' }): Promise<string> {
  const uid = randomUUID();
  const settings: JobSettings = {
    task: { kind: 'conversation' },
    baseModel: 'accounts/ada/models/tiny',
    epochs: 1,
    learningRate: 1e-4,
    batchSize: 8,
    loraRank: 8,
    loraAlpha: 16,
    loraDropout: 0,
    quantization: 'none',
    warmupSteps: null,
    schedule: 'linear',
    weightDecay: 0,
    maxGradNorm: 1,
    cutoffLength: 512,
    seed: 42,
    evaluation: true,
    evaluationSplit: 0.15,
  };
  const job = {
    uid,
    accountId: 'ada',
    id: uid,
    collection: 'fineTuningJobs',
    displayName: '',
    request: {},
    requestHash: uid,
    settings,
    settingOrigins: { epochs: 'given' },
    datasetName: 'accounts/ada/datasets/rows',
    datasetUid: randomUUID(),
    modelId: `tuned-${uid}`,
    priority: 3,
    createdBy: '',
    estimate: { tokens: null, seconds: null, prices: null },
    wandb: wandbOf && { ...wandbOf, runId: `run-${uid}`, secretId: 'wandb' },
  } as const;
  await database.transaction().execute((transaction) => createJob(transaction, job));
  await recordMetrics(
    database,
    uid,
    Array.from({ length: steps }, (_, index) => ({
      step: index + 1,
      attempt: 1,
      epoch: (index + 1) / steps,
      loss: 1 / (index + 1),
      learning_rate: 1e-4,
      grad_norm: index === 9 ? null : 0.5,
      tokens: 100,
      trained_tokens: 60,
      tokens_per_second: 900,
      evaluation_loss: index === 9 ? 0.7 : null,
    })),
  );
  await recordEvaluation(database, uid, { metric: 'accuracy', base: 0.4, tuned: 0.9, examples: 10, reportKey: 'r', trainerSeconds: 1 });
  return uid;
}
