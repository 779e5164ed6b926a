/**
 * A million steps of two hundred jobs: how fast they are written, as a GPU worker does it, and how fast a job's chart is read over HTTP.
 *
 *   node --import tsx bench/metrics.ts [--jobs 200] [--steps 5000]
 */
import { parseArgs } from 'node:util';
import { sql } from 'kysely';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import { openDatabase } from '../stores/database.js';
import { recordMetrics } from '../stores/jobs.js';
import { copyFirstJob } from './copyJobs.js';
import { startTemporaryStack } from './temporaryStack.js';

const { values } = parseArgs({ options: { jobs: { type: 'string', default: '200' }, steps: { type: 'string', default: '5000' } } });
const [jobs, steps] = [Number(values.jobs), Number(values.steps)];
/** Of one write: what a trainer makes between two of them, when it is fast. */
const ROWS_AT_ONCE = 50;

const { stack, close } = await startTemporaryStack();
const { apiUrl, apiKey, accountId, databaseUrl, pids } = stack.dev();
const database = openDatabase(databaseUrl);
const account = `${apiUrl}/v1/accounts/${accountId}`;
try {
  await makeJobs();
  const uids = (await database.selectFrom('jobs').select('uid').where('id', 'like', 'job-%').execute()).map(({ uid }) => uid);
  const startMs = performance.now();
  for (let from = 1; from <= steps; from += ROWS_AT_ONCE) {
    for (let first = 0; first < uids.length; first += 8)
      await Promise.all(uids.slice(first, first + 8).map((uid) => recordMetrics(database, uid, makeSteps(from))));
  }
  const seconds = (performance.now() - startMs) / 1000;
  console.log(`${jobs * steps} steps of ${jobs} jobs written in ${seconds.toFixed(1)} s: ${Math.round((jobs * steps) / seconds)} a second`);
  await sql`vacuum analyze job_metrics`.execute(database);
  for (const points of [500, 2000, undefined]) await read(points);
} finally {
  await database.destroy();
  for (const pid of pids.workers) process.kill(pid, 'SIGCONT');
  await close();
}

function makeSteps(from: number) {
  return Array.from({ length: ROWS_AT_ONCE }, (_, index) => {
    const step = from + index;
    const loss = 2 / Math.sqrt(step) + Math.random() / 10;
    const rates = { learning_rate: 1e-4, grad_norm: 0.5, tokens: 4096, trained_tokens: 2000, tokens_per_second: 9000 };
    return { step, attempt: 1, epoch: step / steps, loss, ...rates, evaluation_loss: step % 100 === 0 ? loss : null };
  });
}

/** One job after the other, in no order. */
async function read(points: number | undefined): Promise<void> {
  const timesMs: number[] = [];
  let bytes = 0;
  let rows = 0;
  for (let count = 0; count < 200; count += 1) {
    const id = `job-${Math.floor(Math.random() * jobs)}`;
    const beganMs = performance.now();
    const reply = await fetch(`${account}/fineTuningJobs/${id}/metrics${points ? `?points=${points}` : ''}`, {
      headers: { 'x-api-key': apiKey },
    });
    const text = await reply.text();
    timesMs.push(performance.now() - beganMs);
    const { metrics } = JSON.parse(text) as { metrics: unknown[] };
    bytes = text.length;
    rows = metrics.length;
  }
  timesMs.sort((left, right) => left - right);
  const at = (share: number) => `${timesMs[Math.floor(share * (timesMs.length - 1))]!.toFixed(1)} ms`;
  console.log(`points=${points ?? 'all'}: ${rows} rows, ${Math.round(bytes / 1024)} KB; p50 ${at(0.5)}, p95 ${at(0.95)}, largest ${at(1)}`);
}

/** Rows like the first job's, which no worker looks at. */
async function makeJobs(): Promise<void> {
  const headers = { 'x-api-key': apiKey, 'content-type': 'application/json' };
  await fetch(`${account}/datasets`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ datasetId: 'rows', dataset: { userUploaded: {} } }),
  });
  const form = new FormData();
  const lines = Array.from({ length: 20 }, (_, index) => `${JSON.stringify({ text: `row ${index}`, label: ['a', 'b'][index % 2] })}\n`);
  form.append('file', new Blob(lines), 'rows.jsonl');
  await fetch(`${account}/datasets/rows:upload`, { method: 'POST', headers: { 'x-api-key': apiKey }, body: form });
  const isReady = async () =>
    ((await (await fetch(`${account}/datasets/rows`, { headers })).json()) as { state: string }).state === 'READY';
  while (!(await isReady())) await new Promise((resolve) => setTimeout(resolve, 200));
  const job = { jobId: 'first', dataset: `accounts/${accountId}/datasets/rows`, baseModel: TINY_MODEL_NAME };
  const body = JSON.stringify({ ...job, textClassification: { text: 'text', label: 'label' } });
  const created = await fetch(`${account}/fineTuningJobs`, { method: 'POST', headers, body });
  if (!created.ok) throw new Error(await created.text());
  for (const pid of pids.workers) process.kill(pid, 'SIGSTOP');
  await copyFirstJob(database, accountId, jobs);
}
