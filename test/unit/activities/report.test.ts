/**
 * The delivery of a job from its records, with the real client of Weights & Biases, to a server that fails in every way that servers do: what
 * the tracker gets, what the job shows meanwhile and afterwards, and that the key stays where it is.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { reportJob, type ReportLimits } from '../../../activities/report.js';
import { keepPorts } from '../../../dev/ports.js';
import { createDatabase, databaseUrl, describePostgres, postgresFolder } from '../../../dev/postgres.js';
import { supervise, type SupervisedProcess } from '../../../dev/supervise.js';
import type { JobState } from '../../../schemas/states.js';
import type { JobSettings } from '../../../schemas/task.js';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { migrate, openDatabase, type Database } from '../../../stores/database.js';
import { listEvents } from '../../../stores/events.js';
import { createJob, findJobByUid, recordEvaluation, recordMetrics } from '../../../stores/jobs.js';
import type { ObjectStore } from '../../../stores/objects.js';
import { readSecretKeys } from '../../../stores/secretKeys.js';
import { deleteSecret, putSecret } from '../../../stores/secrets.js';
import { TrackerError, type TrackerProblem } from '../../../trackers/tracker.js';
import { WANDB_LIMITS } from '../../../trackers/wandb.js';
import { startWandbServer, type WandbFault, type WandbTestServer } from '../../wandbServer.js';

const python = process.env['TEMPER_REPORTER_PYTHON'] ?? fileURLToPath(new URL('../../../reporter/.venv/bin/python', import.meta.url));
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
}, 120_000);
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

const SAMPLES = /^media\/table\/samples.*\.table\.json$/;
const evaluationReport = { samples: [{ line: 3, prompt: 'p', expected: 'yes', base: 'no', tuned: 'yes', logLikelihoodGain: 1.5 }] };
const objects = { getText: async () => JSON.stringify(evaluationReport) } as unknown as ObjectStore;
const wandbLimits = { ...WANDB_LIMITS, askMs: 100, answerMs: 3_000 };
const limits: ReportLimits = { pollMs: 50, patienceMs: 60_000, wandb: wandbLimits };

it('delivers steps, settings, samples, evaluation and a link to the job, once, and shows the run on the job', async () => {
  const uid = await makeJob(40, 'COMPLETED');
  const { url } = await report(uid);
  expect(url).toBe(`${wandb.url}/ada/trials/runs/run-${uid}`);
  const run = runOf(uid);
  expect(stepsOf(uid)).toEqual(upTo(40));
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
  });
  expect(run.tags).toEqual(['conversation', 'tiny', 'rows']);
  expect(run.notes).toContain(`accounts/ada/fineTuningJobs/${uid}`);
  expect(run.summary).toMatchObject({ job_state: 'COMPLETED', final_loss: 1 / 40, 'eval/base_accuracy': 0.4, 'eval/tuned_accuracy': 0.9 });
  expect(run.summary['samples']).toMatchObject({ _type: 'table-file', nrows: 1, ncols: 6 });
  expect(wandb.stored.some((name) => SAMPLES.test(name))).toBe(true);
  expect(run.artifacts).toContain(`model/tuned-${uid}`);
  expect(run.state).toBe('finished');
  expect((await findJobByUid(database, uid))!.wandb).toMatchObject({ state: 'DELIVERED', url, reason: '', deliveredStep: 40 });
  expect(await reportEvents(uid)).toEqual(['report/wandb/run', 'report/wandb/delivered']);

  // Once more: nothing is doubled.
  await report(uid);
  expect(stepsOf(uid)).toEqual(upTo(40));
}, 180_000);

/** How each shows on the job when a delivery begins, before any client is started. */
const atTheStart: [WandbFault['how'], TrackerProblem][] = [
  [401, 'KEY_REFUSED'],
  [403, 'KEY_REFUSED'],
  [404, 'ENTITY_REFUSED'],
  [429, 'RATE_LIMITED'],
  [500, 'SERVER_ERROR'],
  [502, 'SERVER_ERROR'],
  [503, 'SERVER_ERROR'],
  ['errors', 'SERVER_ERROR'],
  ['badJson', 'SERVER_ERROR'],
  ['html', 'SERVER_ERROR'],
  ['redirect', 'ADDRESS_WRONG'],
  ['half', 'NO_ANSWER'],
  ['drop', 'NO_ANSWER'],
  ['hang', 'NO_ANSWER'],
];

it('takes a job through every fault of a server: each is shown with what to do, and in the end each step is there once', async () => {
  const uid = await makeJob(5, 'RUNNING');
  const shown = async (problem: TrackerProblem, delivery = report(uid)) => {
    await expect(delivery).rejects.toMatchObject({ details: [{ reason: problem }] });
    const { state, reason } = (await findJobByUid(database, uid))!.wandb!;
    expect(state).toBe('DEGRADED');
    expect(reason).not.toContain(apiKey);
  };
  for (const [how, problem] of atTheStart) {
    wandb.fault = { on: 'everything', how };
    await shown(problem);
  }
  wandb.fault = { on: 'everything', how: 429 };
  await expect(report(uid)).rejects.toMatchObject({ retryAfterMs: 1_000 });
  wandb.fault = null;
  for (const [url, problem] of [
    [wandb.url.replace('http:', 'https:'), 'TLS_FAILED'],
    ['http://127.0.0.1:1', 'NO_ANSWER'],
    ['nowhere', 'NO_ANSWER'],
  ] as const) {
    vi.stubEnv('WANDB_BASE_URL', url);
    await shown(problem);
  }
  vi.stubEnv('WANDB_BASE_URL', wandb.url);
  await putSecret(database, secretKeys, { accountId: 'ada', id: 'wandb', value: 'badbad'.padEnd(40, '1') });
  await shown('KEY_REFUSED');
  await deleteSecret(database, 'ada', 'wandb');
  await shown('KEY_MISSING');
  await putSecret(database, secretKeys, { accountId: 'ada', id: 'wandb', value: apiKey });
  wandb.fault = { on: 'upsert', how: 403 };
  await shown('ENTITY_REFUSED');

  // The client itself comes over what passes while it creates the run.
  wandb.fault = { on: 'upsert', how: 503, times: 1 };
  const away = new AbortController();
  const first = report(uid, away.signal).catch((error: unknown) => error);
  await vi.waitUntil(async () => (await shownState(uid)) === 'DELIVERING', { timeout: 60_000 });
  for (const [index, [on, how]] of whileItRuns.entries()) {
    wandb.fault = { on, how };
    await makeSteps(uid, 6 + index, 6 + index); // it asks the server only while something is on its way
    await vi.waitUntil(async () => (await shownState(uid)) === 'DEGRADED', { timeout: 60_000 });
    // It stays so between two questions.
    for (let look = 0; look < 20; look++) {
      expect(await shownState(uid)).toBe('DEGRADED');
      await sleep(25);
    }
    wandb.fault = null;
    await vi.waitUntil(async () => (await shownState(uid)) === 'DELIVERING', { timeout: 60_000 });
  }
  // The worker dies in the middle, and the job ends meanwhile.
  away.abort();
  await first;
  // What others log to the run is no reason to stop.
  runOf(uid).history.push({ _step: 100, other: 1 });
  await makeSteps(uid, 6 + whileItRuns.length, 40);
  await moveJob(uid, 'COMPLETED');
  wandb.fault = { on: 'stream', how: 500, times: 1 };
  const failing = setInterval(() => {
    if (wandb.fault === null && atTheEnd.length > 0) wandb.fault = { on: 'stream', how: atTheEnd.shift()!, times: 1 };
  }, 20);
  await deliverAtLast(uid);
  clearInterval(failing);
  expect(atTheEnd).toEqual([]);
  expect(stepsOf(uid).filter((step) => step !== undefined)).toEqual(upTo(40));
  expect(runOf(uid)).toMatchObject({ state: 'finished', summary: { job_state: 'COMPLETED' } });
  const told = await sql<{ text: string }>`select jobs::text || coalesce(string_agg(job_events::text, ''), '') as text
    from jobs left join job_events on job_uid = uid where uid = ${uid} group by jobs.uid`.execute(database);
  expect(told.rows[0]!.text).toContain('FOREIGN_ROWS');
  expect(told.rows[0]!.text).not.toContain(apiKey);
}, 300_000);

it.each(['drop', 500, 429, 'half'] as const)(
  'brings the samples through files that fail with %s',
  async (how) => {
    const uid = await makeJob(5, 'COMPLETED');
    wandb.fault = { on: 'files', how, times: 3 };
    await deliverAtLast(uid);
    expect(wandb.fault).toBeNull();
    expect(wandb.stored.some((name) => SAMPLES.test(name))).toBe(true);
    expect(stepsOf(uid)).toEqual(upTo(5));
    expect((await findJobByUid(database, uid))!.wandb).toMatchObject({ state: 'DELIVERED', deliveredStep: 5 });
  },
  180_000,
);

/** Shown while they last, and over without a new client. */
const whileItRuns: [WandbFault['on'], WandbFault['how']][] = [
  ['query', 500],
  ['query', 'drop'],
  ['query', 'hang'],
];
/** One after another, in the answers to rows: the client sends them again. */
const atTheEnd: WandbFault['how'][] = ['drop', 429, 'half', 'slow'];

/** As Temporal does. */
async function deliverAtLast(uid: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return void (await report(uid));
    } catch (error) {
      if (!(error instanceof TrackerError) || attempt === 5) throw error;
    }
  }
}

function report(uid: string, cancel: AbortSignal = signal) {
  const deps = { database, objects, secretKeys, reporterPython: python, scratch: home, limits };
  return reportJob(deps, { uid, tracker: 'wandb' }, cancel, () => {});
}

const shownState = async (uid: string) => (await findJobByUid(database, uid))!.wandb!.state;
const runOf = (uid: string) => wandb.runs.get(`ada/trials/run-${uid}`)!;
const stepsOf = (uid: string) => runOf(uid).history.map((row) => row['train/global_step']);
const upTo = (steps: number) => Array.from({ length: steps }, (_, index) => index + 1);

async function reportEvents(uid: string): Promise<string[]> {
  return (await listEvents(database, uid)).filter((event) => event.type === 'report').map((event) => event.key);
}

/** A job with metrics of so many steps, and an evaluation. */
async function makeJob(steps: number, state: JobState): Promise<string> {
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
    wandb: { project: 'trials', runId: `run-${uid}`, secretId: 'wandb' },
  } as const;
  await database.transaction().execute((transaction) => createJob(transaction, job));
  await makeSteps(uid, 1, steps);
  await recordEvaluation(database, uid, { metric: 'accuracy', base: 0.4, tuned: 0.9, examples: 10, reportKey: 'r', trainerSeconds: 1 });
  await moveJob(uid, state);
  return uid;
}

function moveJob(uid: string, state: JobState): Promise<unknown> {
  const ended = state === 'RUNNING' || state === 'PAUSED' ? null : new Date();
  return database.updateTable('jobs').set({ state, completed_time: ended }).where('uid', '=', uid).execute();
}

function makeSteps(uid: string, from: number, to: number): Promise<void> {
  const steps = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  return recordMetrics(
    database,
    uid,
    steps.map((step) => ({
      step,
      attempt: 1,
      epoch: step / 40,
      loss: 1 / step,
      learning_rate: 1e-4,
      grad_norm: step === 10 ? null : 0.5,
      tokens: 100,
      trained_tokens: 60,
      tokens_per_second: 900,
      evaluation_loss: step === 10 ? 0.7 : null,
    })),
  );
}
