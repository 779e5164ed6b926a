/** Delivery with the real SDK in its process, to a server that can fail: this process lives, and the verdict is right and in time. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { deliverRun, type DeliveryLimits } from '../../../activities/wandbDelivery.js';
import type { WandbRun } from '../../../activities/wandbRun.js';
import { startWandbServer, type WandbAccount, type WandbFault, type WandbTestServer } from '../../wandbServer.js';

const apiKey = 'c0ffee'.padEnd(40, '0');
const account: WandbAccount = { apiKey, entity: 'ada', teams: ['lab'] };
const never = new AbortController().signal;
const patient: DeliveryLimits = { sendMs: 60_000, settleMs: 1_000 };
const hasty: DeliveryLimits = { sendMs: 3_000, settleMs: 1_000 };
let wandb: WandbTestServer;

beforeEach(async () => {
  wandb = await startWandbServer(account);
});
afterEach(() => wandb.stop());

it('delivers every row in order, settings, summary and state', async () => {
  const result = await deliver(runOf(30, { entity: 'lab' }));
  expect(result).toEqual({ url: `${wandb.url}/lab/trials/runs/run-1`, verified: true });
  const stored = wandb.runs.get('lab/trials/run-1')!;
  expect(stored).toMatchObject({
    displayName: 'first',
    state: 'finished',
    config: { epochs: { value: 2 }, task: { value: { kind: 'conversation' } } },
  });
  expect(stored.history.map((row) => [row['_step'], row['train/loss']])).toEqual(
    runOf(30).rows.map((row) => [row.step, row.values['train/loss']]),
  );
  expect(stored.summary).toMatchObject({ _step: 30, job_state: 'COMPLETED', job_uid: 'uid-1', 'eval/tuned_accuracy': 0.9 });
});

it('delivers more rows than the SDK sends at once', async () => {
  await deliver(runOf(25_000));
  const { history } = wandb.runs.get('ada/trials/run-1')!;
  expect(history.length).toBe(25_000);
  expect(history.every((row, index) => row['_step'] === index + 1)).toBe(true);
});

it('shows a job that failed before its first step as a failed run', async () => {
  await deliver({ ...runOf(1), rows: [{ step: 0, values: { job_uid: 'uid-1', job_state: 'FAILED' } }], exitCode: 1 });
  expect(wandb.runs.get('ada/trials/run-1')).toMatchObject({ state: 'failed', summary: { job_state: 'FAILED' } });
});

it('sends nothing again when the server holds the run', async () => {
  await deliver(runOf(5));
  const before = structuredClone(wandb.runs);
  wandb.requests.length = 0;
  await deliver(runOf(5));
  expect(wandb.requests).toEqual(['Viewer', 'Run']);
  expect(wandb.runs).toEqual(before);
});

it('fills in what a first report lost, and doubles nothing', async () => {
  wandb.fault = { on: 'stream', how: 500, times: 1 };
  await expect(deliver(runOf(9_000))).rejects.toMatchObject({ code: 'TRACKER_FAILED', details: [{ reason: 'ROWS_MISSING' }] });
  await deliver(runOf(9_000));
  expect(wandb.runs.get('ada/trials/run-1')!.history.map((row) => row['_step'])).toEqual(
    Array.from({ length: 9_000 }, (_, index) => index + 1),
  );
});

const faults: [WandbFault['on'], WandbFault['how'], string, string][] = [
  ['everything', 401, 'TRACKER_REFUSED', 'KEY_REFUSED'],
  ['everything', 403, 'TRACKER_REFUSED', 'KEY_REFUSED'],
  ['everything', 429, 'TRACKER_FAILED', 'SERVER_ERROR'],
  ['everything', 500, 'TRACKER_FAILED', 'SERVER_ERROR'],
  ['everything', 'drop', 'TRACKER_FAILED', 'NO_ANSWER'],
  ['upsert', 401, 'TRACKER_REFUSED', 'KEY_REFUSED'],
  ['upsert', 403, 'TRACKER_REFUSED', 'ENTITY_REFUSED'],
  ['upsert', 500, 'TRACKER_FAILED', 'SERVER_ERROR'],
  ['upsert', 'errors', 'TRACKER_FAILED', 'SERVER_ERROR'],
  ['upsert', 'hang', 'TRACKER_FAILED', 'NO_ANSWER'],
  ['upsert', 'drop', 'TRACKER_FAILED', 'SERVER_ERROR'],
  ['stream', 429, 'TRACKER_FAILED', 'ROWS_MISSING'],
  ['stream', 500, 'TRACKER_FAILED', 'ROWS_MISSING'],
  ['stream', 'hang', 'TRACKER_FAILED', 'NO_ANSWER'],
  ['stream', 'drop', 'TRACKER_FAILED', 'ROWS_MISSING'],
];
// Side by side: each is mostly waiting.
it.concurrent.each(faults)('fails in time when %s is answered with %s: %s, %s', async (on, how, code, reason) => {
  const server = await startWandbServer(account);
  server.fault = { on, how };
  const limits = how === 'hang' ? hasty : patient;
  const startedAt = performance.now();
  const error: unknown = await deliverRun({ baseUrl: server.url, apiKey }, runOf(20), limits, never).catch((thrown: unknown) => thrown);
  const tookMs = performance.now() - startedAt;
  await server.stop();
  expect(error).toMatchObject({ code, details: [{ reason }] });
  expect((error as Error).message).not.toContain(apiKey);
  expect(tookMs).toBeLessThan(limits.sendMs + limits.settleMs + 2_000);
});

it('tells an entity that the key may not write to', async () => {
  await expect(deliver(runOf(3, { entity: 'strangers' }))).rejects.toMatchObject({
    code: 'TRACKER_REFUSED',
    details: [{ reason: 'ENTITY_REFUSED' }],
  });
});

it('takes a server that is gone as one to try again', async () => {
  const { url } = wandb;
  await wandb.stop();
  await expect(deliverRun({ baseUrl: url, apiKey }, runOf(1), patient, never)).rejects.toMatchObject({
    code: 'TRACKER_FAILED',
    details: [{ reason: 'NO_ANSWER' }],
  });
});

it('stops at once when it is cancelled', async () => {
  wandb.fault = { on: 'upsert', how: 'hang' };
  const cancel = new AbortController();
  const delivery = deliverRun({ baseUrl: wandb.url, apiKey }, runOf(1), patient, cancel.signal);
  await vi.waitUntil(() => wandb.requests.includes('UpsertBucket'), { timeout: 20_000 });
  cancel.abort(new Error('cancelled'));
  await expect(delivery).rejects.toThrow('cancelled');
});

it.runIf(process.platform === 'linux')('shows the key in no argument and no environment', async () => {
  wandb.fault = { on: 'upsert', how: 'hang' };
  const cancel = new AbortController();
  const delivery = deliverRun({ baseUrl: wandb.url, apiKey }, runOf(1), patient, cancel.signal);
  await vi.waitUntil(() => wandb.requests.includes('UpsertBucket'), { timeout: 20_000 });
  const started = childrenOf(process.pid).filter(({ command }) => command.includes('wandbChild'));
  cancel.abort(new Error('cancelled'));
  await delivery.catch(() => undefined);
  expect(started.length).toBe(1);
  expect(started[0]!.command + started[0]!.environment).not.toContain(apiKey);
  expect(
    started[0]!.environment
      .split('\0')
      .map((line) => line.split('=')[0])
      .filter((name) => /KEY|SECRET|TOKEN|URL/.test(name ?? '')),
  ).toEqual([]);
});

function childrenOf(pid: number): { command: string; environment: string }[] {
  const read = (id: string, name: string) => {
    try {
      return readFileSync(`/proc/${id}/${name}`, 'utf8');
    } catch {
      return ''; // gone meanwhile
    }
  };
  const children = readdirSync('/proc').filter((id) => /^\d+$/.test(id) && new RegExp(`^PPid:\\s+${pid}$`, 'm').test(read(id, 'status')));
  return children.map((id) => ({ command: read(id, 'cmdline'), environment: read(id, 'environ') }));
}

function deliver(run: WandbRun) {
  return deliverRun({ baseUrl: wandb.url, apiKey }, run, patient, never);
}

function runOf(steps: number, change: Partial<WandbRun> = {}): WandbRun {
  const rows = Array.from({ length: steps }, (_, index) => ({
    step: index + 1,
    values: { 'train/loss': 1 / (index + 1), 'train/epoch': index / steps },
  }));
  Object.assign(rows.at(-1)!.values, { job_uid: 'uid-1', job_state: 'COMPLETED', 'eval/tuned_accuracy': 0.9 });
  return {
    id: 'run-1',
    displayName: 'first',
    project: 'trials',
    config: { epochs: 2, task: { kind: 'conversation' } },
    rows,
    exitCode: 0,
    ...change,
  };
}
