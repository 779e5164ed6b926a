/**
 * The API under load: `get` of a job and `list` of 50 among many jobs, with 32 clients that each ask again at once; then creates
 * of jobs, while the workers stand still, so that the queue only fills.
 *
 *   node --import tsx bench/api.ts [--jobs 100000] [--clients 32] [--seconds 10] [--creates 1000]
 */
import { Agent, request } from 'node:http';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { sql } from 'kysely';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import { openDatabase } from '../stores/database.js';
import { startTemporaryStack } from './temporaryStack.js';

const options = { jobs: '100000', clients: '32', seconds: '10', creates: '1000' };
const { values } = parseArgs({
  options: Object.fromEntries(Object.entries(options).map(([name, value]) => [name, { type: 'string' as const, default: value }])),
});
const [jobs, clients, seconds, creates] = ['jobs', 'clients', 'seconds', 'creates'].map((name) => Number(values[name])) as [
  number,
  number,
  number,
  number,
];
const { stack, close } = await startTemporaryStack();
const { apiUrl, apiKey, accountId, databaseUrl, temporalAddress, temporalNamespace, pids } = stack.dev();
const agent = new Agent({ keepAlive: true, maxSockets: 256 });
const database = openDatabase(databaseUrl);
const account = `/v1/accounts/${accountId}`;
try {
  await upload();
  await call('POST', `${account}/fineTuningJobs`, jobBody('first'));
  await fillUp();
  console.log(`${jobs} jobs, ${clients} clients, ${seconds} s each`);
  await measure('get a job', () => `${account}/fineTuningJobs/job-${Math.floor(Math.random() * jobs)}`);
  await measure('list 50', () => `${account}/fineTuningJobs?pageSize=50`);
  await measure('list 50, newest first', () => `${account}/fineTuningJobs?pageSize=50&orderBy=createTime%20desc`);
  await measure('list 50 by state', () => `${account}/fineTuningJobs?pageSize=50&filter=${encodeURIComponent('state = "COMPLETED"')}`);
  await createMany();
} finally {
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
  const columns = Object.keys(await database.selectFrom('jobs').selectAll().where('id', '=', 'first').executeTakeFirstOrThrow());
  const changed: Record<string, string> = {
    uid: 'gen_random_uuid()',
    id: "'job-' || n",
    state: "'COMPLETED'",
    workflow_started: 'true',
    model_id: "'model-' || n",
    create_time: "now() - n * interval '1 second'",
    completed_time: 'now()',
  };
  const selected = columns.map((column) => changed[column] ?? column).join(', ');
  await sql
    .raw(
      `insert into jobs (${columns.join(', ')}) select ${selected} from jobs, generate_series(0, ${jobs - 1}) n where id = 'first' and account_id = '${accountId}'`,
    )
    .execute(database);
  await sql`analyze jobs`.execute(database);
}

/** Every client asks, waits for the answer, and asks again. */
async function measure(what: string, path: () => string): Promise<void> {
  const timesMs: number[] = [];
  const endMs = performance.now() + seconds * 1000;
  await inParallel(async () => {
    while (performance.now() < endMs) {
      const startMs = performance.now();
      const { status } = await call('GET', path());
      if (status !== 200) throw new Error(`${what}: ${status}`);
      timesMs.push(performance.now() - startMs);
    }
  });
  report(what, timesMs, seconds);
}

async function createMany(): Promise<void> {
  const timesMs: number[] = [];
  let next = 0;
  const startMs = performance.now();
  await inParallel(async () => {
    while (next < creates) {
      const id = `new-${next++}`;
      const beganMs = performance.now();
      const { status, text } = await call('POST', `${account}/fineTuningJobs`, jobBody(id));
      if (status !== 200) throw new Error(`create: ${status} ${text}`);
      timesMs.push(performance.now() - beganMs);
    }
  }, 8);
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
  await measure('get a job, with the queue full', () => `${account}/fineTuningJobs/new-${Math.floor(Math.random() * creates)}`);
  await measure('list 50, with the queue full', () => `${account}/fineTuningJobs?pageSize=50&orderBy=createTime%20desc`);
}

function inParallel(work: () => Promise<void>, count = clients): Promise<void[]> {
  return Promise.all(Array.from({ length: count }, work));
}

function report(what: string, timesMs: number[], tookSeconds: number): void {
  const sorted = timesMs.sort((a, b) => a - b);
  const at = (share: number) => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN).toFixed(1);
  console.log(`${what}: ${Math.round(sorted.length / tookSeconds)} a second; p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms`);
}

/** Node's own client: the load must cost less than what it measures. */
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
