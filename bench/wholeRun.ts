/**
 * A dataset of the largest size through the whole stack: generated, uploaded in parts, validated, rendered, trained on for a few
 * steps (a whole epoch would measure the machine and nothing of Temper's), evaluated, registered. Prints how long each part took
 * and the most memory that any of Temper's own processes had.
 *
 *   node --import tsx bench/wholeRun.ts [--rows 3000000]
 */
import { createWriteStream, readFileSync, statSync } from 'node:fs';
import { once } from 'node:events';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { callApi, type Connection, type Resource } from '../cli/client.js';
import { openStatusLine } from '../cli/statusLine.js';
import { uploadDataset } from '../cli/upload.js';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import { startTemporaryStack } from './temporaryStack.js';

const { values } = parseArgs({ options: { rows: { type: 'string', default: '3000000' } } });
const rows = Number(values.rows);
const { stack, home, close } = await startTemporaryStack();
const { apiUrl, apiKey, accountId, pids } = stack.dev();
const connection: Connection = { apiUrl, apiKey, accountId };
const route = `/v1/accounts/${accountId}`;
const peakBytes = new Map<string, number>();
const watching = setInterval(watchMemory, 250);
try {
  const file = path.join(home, 'rows.jsonl');
  await timed('generate', () => generate(file));
  console.log(`${rows} rows, ${(statSync(file).size / 1e6).toFixed(0)} MB`);
  await callApi(connection, { method: 'POST', path: `${route}/datasets`, body: { datasetId: 'rows', dataset: { userUploaded: {} } } });
  const status = openStatusLine({ quiet: true });
  await timed('upload', () =>
    uploadDataset(connection, status, `${route}/datasets/rows`, { path: file, name: 'rows.jsonl', sizeBytes: statSync(file).size }),
  );
  await timed('validate', () => until(`${route}/datasets/rows`, (dataset) => dataset['state'] === 'READY'));
  const { metric } = await timed('job', runJob);
  console.log(`evaluation: ${JSON.stringify(metric)}`);
  for (const [name, bytes] of peakBytes) console.log(`peak memory of ${name}: ${(bytes / 1e6).toFixed(0)} MB`);
} finally {
  clearInterval(watching);
  await close();
}

/** Short conversations, no two alike. */
async function generate(file: string): Promise<void> {
  const stream = createWriteStream(file, { highWaterMark: 1 << 20 });
  for (let start = 0; start < rows; start += 1000) {
    const lines = Array.from({ length: Math.min(1000, rows - start) }, (_, index) => {
      const number = start + index;
      const messages = [
        { role: 'user', content: `what is ${number} plus ${number % 97}?` },
        { role: 'assistant', content: `It is ${number + (number % 97)}.` },
      ];
      return `${JSON.stringify({ messages })}\n`;
    });
    if (!stream.write(lines.join(''))) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'finish');
}

async function runJob(): Promise<{ metric: unknown }> {
  const body = {
    jobId: 'whole',
    dataset: `accounts/${accountId}/datasets/rows`,
    baseModel: TINY_MODEL_NAME,
    conversation: {},
    epochs: 512 / rows,
    evaluationSplit: 0.001,
  };
  await callApi(connection, { method: 'POST', path: `${route}/fineTuningJobs`, body });
  const job = await until(`${route}/fineTuningJobs/whole`, ({ state }) => {
    if (state === 'FAILED') throw new Error('the job failed');
    return state === 'COMPLETED';
  });
  const { events = [] } = await callApi<{ events?: { time: string; message: string }[] }>(connection, {
    method: 'GET',
    path: `${route}/fineTuningJobs/whole:listEvents?pageSize=200`,
  });
  for (const { time, message } of events) console.log(`  ${time.slice(11, 19)}  ${message.slice(0, 120)}`);
  return { metric: job['evaluationResult'] };
}

async function until(path: string, isDone: (resource: Resource) => boolean): Promise<Resource> {
  for (;;) {
    const resource = await callApi(connection, { method: 'GET', path });
    if (isDone(resource)) return resource;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const startMs = performance.now();
  const result = await work();
  console.log(`${what}: ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
  return result;
}

/** The API, the workers and what the workers start, without the trainer. */
function watchMemory(): void {
  const named: [string, number | undefined][] = [
    ['the API', pids.api],
    ...pids.workers.map((pid, index): [string, number] => [`worker ${index + 1}`, pid]),
  ];
  for (const [name, pid] of named) {
    if (pid === undefined) continue;
    note(name, pid);
    for (const child of childrenOf(pid)) if (commandOf(child).includes('renderProcess')) note('a rendering process', child);
  }
}

function note(name: string, pid: number): void {
  try {
    const resident = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    peakBytes.set(name, Math.max(peakBytes.get(name) ?? 0, Number(resident ?? 0) * 1024));
  } catch {
    // It has ended.
  }
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
