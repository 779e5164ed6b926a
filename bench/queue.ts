/**
 * Ten thousand jobs in the queue: what it costs to create them, to look at them, and to keep them. Only the GPU worker stands still:
 * every job is checked and its examples are rendered, then the first 64 wait for a GPU and the others for their turn. At last another
 * account's single job comes, and the GPU worker goes on: how many of the thousands does it wait for?
 *
 *   node --import tsx bench/queue.ts [--jobs 10000] [--clients 4]
 */
import { randomUUID } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client, Connection as TemporalConnection } from '@temporalio/client';
import { sql } from 'kysely';
import { callApi, type Connection, type Resource } from '../cli/client.js';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import { bootstrapAccount } from '../stores/accounts.js';
import { openDatabase } from '../stores/database.js';
import { readSecretKeys } from '../stores/secretKeys.js';
import { startTemporaryStack } from './temporaryStack.js';

const { values } = parseArgs({ options: { jobs: { type: 'string', default: '10000' }, clients: { type: 'string', default: '4' } } });
const jobs = Number(values.jobs);
const steps = 5;
/** Jobs of each step that come two a second, while nothing else is going on. */
const ALONE = 40;
const { stack, home, close } = await startTemporaryStack();
const dev = stack.dev();
const connection = { apiUrl: dev.apiUrl, apiKey: dev.apiKey, accountId: dev.accountId } as Connection;
const other = { ...connection, accountId: 'other', apiKey: `tk_${randomUUID()}` };
const accountOf = ({ accountId }: Connection) => `/v1/accounts/${accountId}`;
const database = openDatabase(dev.databaseUrl);
const temporalConnection = await TemporalConnection.connect({ address: dev.temporalAddress });
const temporal = new Client({ connection: temporalConnection, namespace: dev.temporalNamespace });
const [control, data, gpu] = dev.pids.workers as [number, number, number];
const watched = { api: dev.pids.api!, control, data, temporal: dev.pids.temporal! };
try {
  await bootstrapAccount(database, readSecretKeys(stack.environment['TEMPER_SECRET_KEY']!), other.accountId, other.apiKey);
  for (const each of [connection, other]) await upload(each);
  process.kill(gpu, 'SIGSTOP');
  console.log(
    'jobs | created at once: p50, p95 ms | settled after s | created one at a time: p50, p95 ms | list of 50 p95 ms | resident MB: api, control, data, temporal | Temporal, Postgres MB on disk',
  );
  for (let step = 1; step <= steps; step += 1) {
    const times = await create(((step - 1) * jobs) / steps, (step * jobs) / steps);
    const createdMs = performance.now();
    await settled((step * jobs) / steps + (step - 1) * ALONE);
    const settledSeconds = ((performance.now() - createdMs) / 1000).toFixed(0);
    const alone = await createOneAtATime(step);
    await settled((step * jobs) / steps + step * ALONE);
    const lists = await repeat(50, () =>
      callApi(connection, { method: 'GET', path: `${accountOf(connection)}/fineTuningJobs?pageSize=50&orderBy=createTime%20desc` }),
    );
    const resident = Object.values(watched)
      .map((pid) => residentMb(pid).toFixed(0))
      .join(', ');
    console.log(
      `${(step * jobs) / steps} | ${quantile(times, 0.5)}, ${quantile(times, 0.95)} | ${settledSeconds} | ${quantile(alone, 0.5)}, ${quantile(alone, 0.95)} | ${quantile(lists, 0.95)} | ${resident} | ${folderMb('temporal')}, ${await databaseMb()}`,
    );
  }
  const counts = await repeat(5, () => temporal.workflow.count('TemperState = "PENDING"'));
  console.log(`a count of the waiting jobs in Temporal: ${quantile(counts, 0.5)} ms`);
  console.log(
    `CPU of the control worker while nothing happens: ${await idleCpu(watched.control)} % of a core; of Temporal ${await idleCpu(watched.temporal)} %`,
  );
  console.log(await shareGpu());
} finally {
  process.kill(stack.dev().pids.workers[2]!, 'SIGCONT');
  await database.destroy();
  await temporalConnection.close();
  await close();
}

async function upload(user: Connection): Promise<void> {
  const account = accountOf(user);
  await callApi(user, { method: 'POST', path: `${account}/datasets`, body: { datasetId: 'rows', dataset: { userUploaded: {} } } });
  const form = new FormData();
  const rows = Array.from({ length: 100 }, (_, index) => JSON.stringify({ text: `row ${index}`, label: ['a', 'b'][index % 2] }));
  form.append('file', new Blob([`${rows.join('\n')}\n`]), 'rows.jsonl');
  await fetch(`${dev.apiUrl}${account}/datasets/rows:upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${user.apiKey}` },
    body: form,
  });
  let dataset: Resource;
  do {
    await sleep(100);
    dataset = await callApi(user, { method: 'GET', path: `${account}/datasets/rows` });
  } while (dataset['state'] !== 'READY');
}

/** Milliseconds of each create. */
async function create(from: number, to: number): Promise<number[]> {
  const times: number[] = [];
  let next = from;
  const work = async () => {
    while (next < to) {
      const id = `job-${next++}`;
      const startMs = performance.now();
      await createJob(connection, id, 1 + (next % 5));
      times.push(performance.now() - startMs);
    }
  };
  await Promise.all(Array.from({ length: Number(values.clients) }, work));
  return times;
}

/** Milliseconds of each create. */
async function createOneAtATime(step: number): Promise<number[]> {
  let next = 0;
  const taken: number[] = [];
  while (next < ALONE) {
    taken.push(...(await repeat(1, () => createJob(connection, `alone-${step}-${next++}`, 3))));
    await sleep(500);
  }
  return taken;
}

async function createJob(user: Connection, jobId: string, priority: number): Promise<void> {
  const settings = { textClassification: { text: 'text', label: 'label' }, baseModel: TINY_MODEL_NAME, evaluation: false, priority };
  const body = { jobId, dataset: `${accountOf(user).slice('/v1/'.length)}/datasets/rows`, ...settings };
  await callApi(user, { method: 'POST', path: `${accountOf(user)}/fineTuningJobs`, body });
}

/** A job of another account at the priority of the first in line: what begins before it once the GPU worker goes on. */
async function shareGpu(): Promise<string> {
  await createJob(other, 'single', 1);
  await settled(jobs + steps * ALONE + 1);
  process.kill(gpu, 'SIGCONT');
  for (;;) {
    const { rows } = await sql<{ before: number }>`
      select (select count(*)::int from job_attempts
        join jobs on jobs.uid = job_uid where account_id <> ${other.accountId} and start_time < own.start_time) as before
      from jobs single join job_attempts own on own.job_uid = single.uid
      where single.account_id = ${other.accountId}`.execute(database);
    const [found] = rows;
    if (found) return `another account's single job began after ${found.before} of the ${jobs} that were queued before it`;
    await sleep(500);
  }
}

/** Every job waits for a GPU, or for its turn. */
async function settled(count: number): Promise<void> {
  for (;;) {
    const { rows } = await sql<{
      count: number;
    }>`select count(*)::int as count from jobs where state not in ('CREATING', 'VALIDATING')`.execute(database);
    if (rows[0]!.count >= count) return;
    await sleep(500);
  }
}

async function repeat(times: number, work: () => Promise<unknown>): Promise<number[]> {
  const taken: number[] = [];
  for (let index = 0; index < times; index += 1) {
    const startMs = performance.now();
    await work();
    taken.push(performance.now() - startMs);
  }
  return taken;
}

function quantile(numbers: number[], share: number): string {
  return [...numbers].sort((one, other) => one - other)[Math.floor(share * (numbers.length - 1))]!.toFixed(0);
}

function residentMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1000;
}

function folderMb(name: string): string {
  const files = readdirSync(path.join(home, name), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return (files.reduce((sum, file) => sum + statSync(path.join(file.parentPath, file.name)).size, 0) / 1e6).toFixed(0);
}

async function databaseMb(): Promise<string> {
  const { rows } = await sql<{ bytes: number }>`select pg_database_size(current_database())::int8 as bytes`.execute(database);
  return (Number(rows[0]!.bytes) / 1e6).toFixed(0);
}

/** Over ten seconds. */
async function idleCpu(pid: number): Promise<string> {
  const ticks = () => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return Number(fields[11]) + Number(fields[12]);
  };
  const before = ticks();
  await sleep(10_000);
  return ((ticks() - before) / 10).toFixed(1);
}
