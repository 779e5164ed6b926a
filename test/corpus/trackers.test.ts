/** MLflow's own server and TensorBoard's own reader, which are downloaded, get what a job has: every step once, through a crash and an outage. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { cacheFolder } from '../../dev/binaries.js';
import { findFreePort } from '../../dev/ports.js';
import { ensureUv } from '../../dev/python.js';
import { rootFolder } from '../../dev/stack.js';
import { openMlflow } from '../../trackers/mlflow.js';
import { openTensorboard } from '../../trackers/tensorboard.js';
import type { Row, Run, RunEnd } from '../../trackers/tracker.js';

const run = promisify(execFile);
const environment = path.join(cacheFolder(), 'trackers');
const python = path.join(environment, 'bin', 'python');
const signal = new AbortController().signal;
const job: Run = {
  ...{ uid: 'job-1', job: 'accounts/a/fineTuningJobs/j', displayName: 'intents', notes: 'a job' },
  config: { learningRate: 1e-4, task: { kind: 'conversation' }, settingOrigins: { learningRate: 'given' } },
  tags: ['conversation', 'tiny', 'rows'],
};
const end: RunEnd = {
  ...{ outcome: 'finished', summary: { job_state: 'COMPLETED', 'eval/tuned_accuracy': 0.9 } },
  samples: { columns: ['prompt', 'tuned'], rows: [['p', 'yes']] },
  model: { name: 'm', uri: 'temper://m', metadata: {} },
};
const steps = (from: number, to: number): Row[] =>
  Array.from({ length: to - from + 1 }, (_, index) => {
    const step = from + index;
    return { step, time: new Date(1_700_000_000_000 + step * 1000), values: { 'train/global_step': step, 'train/loss': 1 / step } };
  });

let folder: string;
let port: number;
let server: ChildProcess;

beforeAll(async () => {
  const uv = await ensureUv(console.log);
  await run(uv, ['sync', '--locked', '--no-progress', '--group', 'trackers'], {
    cwd: path.join(rootFolder, 'reporter'),
    env: { ...process.env, UV_PROJECT_ENVIRONMENT: environment },
  });
  folder = mkdtempSync(path.join(tmpdir(), 'temper-trackers-'));
  port = await findFreePort();
  await startMlflow();
}, 900_000);
afterAll(() => {
  stopMlflow();
  rmSync(folder, { recursive: true, force: true });
});

const url = (route: string) => `http://127.0.0.1:${port}${route}`;
const ask = async (route: string) => (await (await fetch(url(route))).json()) as Record<string, any>;

async function startMlflow(): Promise<void> {
  const places = ['--backend-store-uri', `sqlite:///${folder}/mlflow.db`, '--artifacts-destination', path.join(folder, 'artifacts')];
  server = spawn(python, ['-m', 'mlflow', 'server', '--host', '127.0.0.1', '--port', String(port), '--workers', '1', ...places], {
    stdio: 'ignore',
    detached: true,
  });
  await vi.waitUntil(async () => (await fetch(url('/health')).catch(() => null))?.ok, { timeout: 500_000, interval: 500 });
}

function stopMlflow(): void {
  if (server?.pid) process.kill(-server.pid, 'SIGKILL');
}

it('MLflow: one run, every step once, settings, table and state, through a crash and an outage', async () => {
  const target = { trackingUri: url(''), authorization: null, experiment: 'support bot' };
  const first = await openMlflow(target, job, signal);
  await first.send(steps(1, 30));
  // It dies here; the next one asks the server where it is.
  const second = await openMlflow(target, job, signal);
  expect(second.position).toBe(30);
  expect(second.url).toBe(first.url);
  stopMlflow();
  await expect(second.send(steps(31, 40))).rejects.toMatchObject({ code: 'TRACKER_FAILED', problem: 'NO_ANSWER' });
  await startMlflow();
  await second.send(steps(25, 40));
  await second.finish(end);
  const runId = second.url.split('/').at(-1)!;
  const { metrics } = await ask(`/api/2.0/mlflow/metrics/get-history?run_id=${runId}&metric_key=train%2Floss`);
  expect(
    metrics.map((metric: { step: number | string }) => Number(metric.step)).sort((left: number, right: number) => left - right),
  ).toEqual(steps(1, 40).map(({ step }) => step));
  const { info, data } = (await ask(`/api/2.0/mlflow/runs/get?run_id=${runId}`))['run'];
  expect(info).toMatchObject({ status: 'FINISHED', run_name: 'intents' });
  expect(data.params).toEqual(expect.arrayContaining([{ key: 'settingOrigins.learningRate', value: 'given' }]));
  expect(data.tags).toEqual(
    expect.arrayContaining([
      { key: 'job_state', value: 'COMPLETED' },
      { key: 'temper.job', value: job.job },
    ]),
  );
  const { files } = await ask(`/api/2.0/mlflow/artifacts/list?run_id=${runId}`);
  expect(files).toMatchObject([{ path: 'samples.json' }]);
}, 900_000);

it('TensorBoard reads every value of the event file', async () => {
  const file = path.join(folder, 'events.out.tfevents.1');
  const delivery = await openTensorboard(new Date(1_700_000_000_000), async (bytes) => writeFileSync(file, bytes));
  await delivery.send(steps(1, 400));
  await delivery.finish(end);
  const script = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
events.Reload()
print(json.dumps({tag: [[event.step, event.wall_time, event.value] for event in events.Scalars(tag)] for tag in events.Tags()['scalars']}))`;
  const { stdout } = await run(python, ['-c', script, file], { maxBuffer: 1e8 });
  const scalars = JSON.parse(stdout) as Record<string, [number, number, number][]>;
  expect(scalars['train/loss']).toHaveLength(400);
  expect(scalars['train/loss']![199]).toEqual([200, 1_700_000_200, Math.fround(1 / 200)]);
  expect(scalars['eval/tuned_accuracy']![0]![2]).toBeCloseTo(0.9);
}, 300_000);
