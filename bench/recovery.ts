/**
 * From the `kill -9` of a GPU worker to the next training step on another, which has a folder of its own as on another machine: when the
 * missing heartbeat was noticed, when the next attempt began there, and when it made its first step.
 *
 *   node --import tsx bench/recovery.ts [--kills 5]
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { callApi, type Connection } from '../cli/client.js';
import { rootFolder } from '../dev/stack.js';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import { openDatabase } from '../stores/database.js';
import { startTemporaryStack } from './temporaryStack.js';

const { values } = parseArgs({ options: { kills: { type: 'string', default: '5' } } });
const { stack, home, close } = await startTemporaryStack();
const dev = stack.dev();
const connection = { apiUrl: dev.apiUrl, apiKey: dev.apiKey, accountId: dev.accountId } as Connection;
const account = `/v1/accounts/${dev.accountId}`;
const database = openDatabase(dev.databaseUrl);
let second: ChildProcess | undefined;
try {
  await startJob();
  second = await startSecondWorker();
  console.log('kill | heartbeat missed after s | next attempt began after s | first step after s');
  const all: number[] = [];
  for (let kill = 1; kill <= Number(values.kills); kill += 1) {
    const { attempt, worker } = await until(steppingAttempt);
    const pid = Number(worker.split(':')[1]);
    process.kill(pid, 'SIGKILL');
    const killedMs = Date.now();
    const after = () => (Date.now() - killedMs) / 1000;
    const missed = await until(async () => (await ended(attempt)) && after());
    const began = await until(async () => (await latestAttempt()).attempt > attempt && after());
    const stepped = await until(async () => (await steppingAttempt()) && after());
    all.push(stepped);
    console.log(`${kill} | ${missed.toFixed(1)} | ${began.toFixed(1)} | ${stepped.toFixed(1)}`);
    // Both are there again before the next.
    if (second.pid === pid) second = await startSecondWorker();
    else await until(async () => stack.processes.gpu!.pid !== pid);
    await sleep(5_000);
  }
  console.log(
    `the first step came after ${Math.min(...all).toFixed(1)} to ${Math.max(...all).toFixed(1)} s; heartbeats time out after 15 s`,
  );
} finally {
  second?.kill('SIGKILL');
  await database.destroy();
  await close();
}

/** One job that outlasts all kills. */
async function startJob(): Promise<void> {
  await callApi(connection, { method: 'POST', path: `${account}/datasets`, body: { datasetId: 'rows', dataset: { userUploaded: {} } } });
  const form = new FormData();
  const rows = Array.from({ length: 96 }, (_, index) => JSON.stringify({ text: `row ${index}`, label: ['a', 'b'][index % 2] }));
  form.append('file', new Blob([`${rows.join('\n')}\n`]), 'rows.jsonl');
  await fetch(`${dev.apiUrl}${account}/datasets/rows:upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${dev.apiKey}` },
    body: form,
  });
  await until(async () => (await callApi(connection, { method: 'GET', path: `${account}/datasets/rows` }))['state'] === 'READY');
  const dataset = `accounts/${dev.accountId}/datasets/rows`;
  const settings = { textClassification: { text: 'text', label: 'label' }, baseModel: TINY_MODEL_NAME, evaluation: false };
  await callApi(connection, {
    method: 'POST',
    path: `${account}/fineTuningJobs`,
    body: { jobId: 'long', dataset, ...settings, batchSize: 8, epochs: 1000 },
  });
  await until(steppingAttempt);
}

async function startSecondWorker(): Promise<ChildProcess> {
  const worker = spawn(process.execPath, ['--import', 'tsx', path.join(rootFolder, 'workers', 'gpu.ts')], {
    cwd: rootFolder,
    env: { ...stack.environment, TEMPER_HOME: path.join(home, 'second') },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  await once(worker, 'message');
  return worker;
}

function latestAttempt() {
  return database.selectFrom('job_attempts').selectAll().orderBy('attempt', 'desc').limit(1).executeTakeFirstOrThrow();
}

async function ended(attempt: number): Promise<boolean> {
  const row = await database.selectFrom('job_attempts').select('end_time').where('attempt', '=', attempt).executeTakeFirstOrThrow();
  return row.end_time !== null;
}

/** The latest attempt, if it has made a step and not ended. */
async function steppingAttempt() {
  const found = await database.selectFrom('job_attempts').selectAll().orderBy('attempt', 'desc').limit(1).executeTakeFirst();
  if (!found || found.end_time) return undefined;
  const step = await database.selectFrom('job_metrics').select('step').where('attempt', '=', found.attempt).limit(1).executeTakeFirst();
  return step && found;
}

async function until<T>(probe: () => Promise<T | undefined | false>): Promise<T> {
  for (;;) {
    const found = await probe();
    if (found) return found;
    await sleep(50);
  }
}
