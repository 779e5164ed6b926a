/**
 * The API under load: `get` of a job and `list` of 50 among many jobs; then creates of jobs, while the workers stand still, so
 * that the queue only fills. 32 clients, twice: each asks again as soon as it has its answer, as many requests as there can be, so
 * that the times are those of a queue; then at a steady rate, each request counted from when it was due.
 *
 *   node --import tsx bench/api.ts [--jobs 100000] [--clients 32] [--seconds 10] [--rates 400,100] [--creates 1000]
 *
 * `--rates` are requests a second: of gets, of lists. The CPU time of the API's process and of Postgres stands beside the figures.
 */
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { sql } from 'kysely';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import { openDatabase } from '../stores/database.js';
import { copyFirstJob } from './copyJobs.js';
import { openRawConnection } from './rawConnection.js';
import { startTemporaryStack } from './temporaryStack.js';

const options = { jobs: '100000', clients: '32', seconds: '10', creates: '1000', rates: '400,100' };
const { values } = parseArgs({
  options: Object.fromEntries(Object.entries(options).map(([name, value]) => [name, { type: 'string' as const, default: value }])),
});
const [jobs, clients, seconds, creates] = ['jobs', 'clients', 'seconds', 'creates'].map((name) => Number(values[name])) as [
  number,
  number,
  number,
  number,
];
const [getRate, listRate] = values['rates']!.split(',').map(Number) as [number, number];
/** Of the kernel's clock in /proc. */
const TICKS_A_SECOND = 100;
const { stack, close } = await startTemporaryStack();
const { apiUrl, apiKey, accountId, databaseUrl, temporalAddress, temporalNamespace, pids } = stack.dev();
const agent = new Agent({ keepAlive: true });
const connections = Array.from({ length: clients }, () => openRawConnection(apiUrl, apiKey));
const database = openDatabase(databaseUrl);
const account = `/v1/accounts/${accountId}`;
try {
  // The account's own limit is not what is measured.
  await call('PATCH', `${account}/quotas/requests-per-second`, { value: '1000000', maxValue: '1000000' });
  await upload();
  await call('POST', `${account}/fineTuningJobs`, jobBody('first'));
  await fillUp();
  console.log(`${jobs} jobs, ${clients} clients, ${seconds} s each`);
  const anyJob = () => Math.floor(Math.random() * jobs);
  await measure('get a job', getRate, () => `${account}/fineTuningJobs/job-${anyJob()}`);
  await measure('list 50', listRate, () => `${account}/fineTuningJobs?pageSize=50`);
  await measure('list 50, newest first', listRate, () => `${account}/fineTuningJobs?pageSize=50&orderBy=createTime%20desc`);
  await measure('list 50 by state', listRate, () => `${account}/fineTuningJobs?pageSize=50&filter=${query('state = "COMPLETED"')}`);
  await measure(
    'list by state, where none is',
    listRate,
    () => `${account}/fineTuningJobs?pageSize=50&filter=${query('state = "RUNNING"')}`,
  );
  const others = () =>
    `${account}/fineTuningJobs?pageSize=50&filter=${query(`name > "${account.slice(4)}/fineTuningJobs/job-${anyJob()}"`)}`;
  await measureFastest('list 50, another list each time', others);
  await createMany();
} finally {
  for (const connection of connections) connection.close();
  await database.destroy();
  agent.destroy();
  for (const pid of pids.workers) process.kill(pid, 'SIGCONT');
  await close();
}

async function upload(): Promise<void> {
  await call('POST', `${account}/datasets`, { datasetId: 'rows', dataset: { userUploaded: {} } });
  const form = new FormData();
  const rows = Array.from({ length: 20 }, (_, index) => `${JSON.stringify({ text: `row ${index}`, label: ['a', 'b'][index % 2] })}\n`);
  form.append('file', new Blob(rows), 'rows.jsonl');
  await fetch(`${apiUrl}${account}/datasets/rows:upload`, { method: 'POST', headers: { 'x-api-key': apiKey }, body: form });
  while ((JSON.parse((await call('GET', `${account}/datasets/rows`)).text) as { state: string }).state !== 'READY')
    await new Promise((resolve) => setTimeout(resolve, 200));
}

function jobBody(jobId: string): object {
  const textClassification = { text: 'text', label: 'label' };
  return { jobId, dataset: `accounts/${accountId}/datasets/rows`, baseModel: TINY_MODEL_NAME, textClassification };
}

/** Rows like the first job's, ended, so that no worker looks at them. */
async function fillUp(): Promise<void> {
  for (const pid of pids.workers) process.kill(pid, 'SIGSTOP');
  await copyFirstJob(database, accountId, jobs, {
    create_time: "now() - n * interval '1 second'",
    completed_time: 'now()',
  });
  // As autovacuum leaves a table that has come to this over months.
  await sql`vacuum (analyze) jobs`.execute(database);
  await sql`checkpoint`.execute(database);
}

function query(filter: string): string {
  return encodeURIComponent(filter);
}

/** As fast as the clients can, and then at a rate that they can keep. */
async function measure(what: string, rate: number, path: () => string): Promise<void> {
  await measureFastest(what, path);
  report(`${what}, ${rate} a second`, await askSteadily(path, rate), seconds);
}

async function measureFastest(what: string, path: () => string): Promise<void> {
  await askAsFastAsPossible(path, 1); // compiled, planned, in memory
  const cpu = startCpuClock();
  report(what, await askAsFastAsPossible(path, seconds), seconds, cpu);
}

/** Every client asks, waits for the answer, and asks again. @returns milliseconds of each */
async function askAsFastAsPossible(path: () => string, forSeconds: number): Promise<number[]> {
  const timesMs: number[] = [];
  const endMs = performance.now() + forSeconds * 1000;
  const ask = async ({ get }: (typeof connections)[number]) => {
    while (performance.now() < endMs) {
      const startMs = performance.now();
      requireOk(await get(path()));
      timesMs.push(performance.now() - startMs);
    }
  };
  await Promise.all(connections.map(ask));
  return timesMs;
}

/** One request after the other is due, whoever is free sends it. @returns milliseconds of each, from when it was due */
async function askSteadily(path: () => string, rate: number): Promise<number[]> {
  const timesMs: number[] = [];
  const startMs = performance.now();
  let next = 0;
  const ask = async ({ get }: (typeof connections)[number]) => {
    while (next < rate * seconds) {
      const dueMs = startMs + (1000 * next++) / rate;
      await new Promise((resolve) => setTimeout(resolve, dueMs - performance.now()));
      requireOk(await get(path()));
      timesMs.push(performance.now() - dueMs);
    }
  };
  await Promise.all(connections.map(ask));
  return timesMs;
}

function requireOk(status: number): void {
  if (status !== 200) throw new Error(`The API answered ${status}.`);
}

/** Gives the CPU seconds since it was started, of the API and of Postgres with its children. */
function startCpuClock(): () => { api: number; postgres: number } {
  const now = () => ({ api: cpuSeconds(pids.api!, false), postgres: cpuSeconds(pids.database!, true) });
  const start = now();
  return () => {
    const end = now();
    return { api: end.api - start.api, postgres: end.postgres - start.postgres };
  };
}

/** From /proc; 0 where there is none, or no such process any more. */
function cpuSeconds(pid: number, withChildren: boolean): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    const own = (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
    if (!withChildren) return own;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    return children.reduce((sum, child) => sum + cpuSeconds(Number(child), true), own);
  } catch {
    return 0;
  }
}

async function createMany(): Promise<void> {
  const timesMs: number[] = [];
  let next = 0;
  const startMs = performance.now();
  const create = async () => {
    while (next < creates) {
      const id = `new-${next++}`;
      const beganMs = performance.now();
      const { status, text } = await call('POST', `${account}/fineTuningJobs`, jobBody(id));
      if (status !== 200) throw new Error(`create: ${status} ${text}`);
      timesMs.push(performance.now() - beganMs);
    }
  };
  await Promise.all(Array.from({ length: 8 }, create));
  report('create a job, 8 clients', timesMs, (performance.now() - startMs) / 1000);
  const rows = await sql<{ count: number }>`select count(*) as count from jobs where id like 'new-%'`.execute(database);
  const connection = await Connection.connect({ address: temporalAddress });
  const temporal = new Client({ connection, namespace: temporalNamespace });
  let workflows = 0;
  for (let attempt = 0; attempt < 30 && workflows < creates; attempt += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1000)); // the list of workflows follows their starts
    workflows = (await temporal.workflow.count("WorkflowType = 'FineTuningWorkflow' AND ExecutionStatus = 'Running'")).count - 1;
  }
  await connection.close();
  console.log(`${creates} creates: ${rows.rows[0]?.count} jobs, ${workflows} workflows`);
  await measure('get a job, with the queue full', getRate, () => `${account}/fineTuningJobs/new-${Math.floor(Math.random() * creates)}`);
  await measure('list 50, with the queue full', listRate, () => `${account}/fineTuningJobs?pageSize=50&orderBy=createTime%20desc`);
}

function report(what: string, timesMs: number[], tookSeconds: number, cpu?: ReturnType<typeof startCpuClock>): void {
  const sorted = timesMs.sort((a, b) => a - b);
  const at = (share: number) => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN).toFixed(1);
  const each = (cpuTime: number) => `${((1000 * cpuTime) / sorted.length).toFixed(2)} ms`;
  const { api, postgres } = cpu?.() ?? { api: 0, postgres: 0 };
  const cost = cpu ? `; CPU of each: API ${each(api)}, Postgres ${each(postgres)}` : '';
  console.log(
    `${what}: ${Math.round(sorted.length / tookSeconds)} a second; p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms${cost}`,
  );
}

/** For what is prepared and created. */
function call(method: string, path: string, body?: object): Promise<{ status: number; text: string }> {
  const content = body === undefined ? undefined : JSON.stringify(body);
  const headers = {
    'x-api-key': apiKey,
    ...(content ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content) } : {}),
  };
  return new Promise((resolve, reject) => {
    const sent = request(apiUrl + path, { method, agent, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => (text += piece));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(content);
  });
}
