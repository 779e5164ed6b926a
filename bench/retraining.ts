/**
 * A year of nightly retraining in minutes: a schedule of every second that trains once and then finds nothing changed. What must
 * not grow with the runs: the history of a run, the workflows that are open, the rows, and the memory of the workers.
 *
 *   node --import tsx bench/retraining.ts [--runs 365]
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client, Connection as TemporalConnection } from '@temporalio/client';
import { sql } from 'kysely';
import { callApi, type Connection, type Resource } from '../cli/client.js';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import { openDatabase } from '../stores/database.js';
import { startTemporaryStack } from './temporaryStack.js';

const { values } = parseArgs({ options: { runs: { type: 'string', default: '365' } } });
const wantedRuns = Number(values.runs);
const { stack, close } = await startTemporaryStack();
const dev = stack.dev();
const temporal = await TemporalConnection.connect({ address: dev.temporalAddress });
const client = new Client({ connection: temporal, namespace: dev.temporalNamespace });
const database = openDatabase(dev.databaseUrl);
try {
  const connection = { apiUrl: dev.apiUrl, apiKey: dev.apiKey, accountId: dev.accountId } as Connection;
  const account = `/v1/accounts/${dev.accountId}`;
  const get = (route: string) => callApi(connection, { method: 'GET', path: `${account}/${route}` });
  await upload(connection, account);
  await callApi(connection, {
    method: 'POST',
    path: `${account}/schedules`,
    body: {
      scheduleId: 'nightly',
      interval: '1s',
      overlapPolicy: 'BUFFER_ONE',
      retraining: {
        data: { newest: { prefix: 'rows' } },
        fineTuning: { baseModel: TINY_MODEL_NAME, textClassification: { text: 'text', label: 'label' }, epochs: 1, loraRank: 4 },
        promotion: { alias: 'nightly@production' },
      },
    },
  });

  console.log('runs ended | open workflows | rows of runs | events of the largest run | schedule rows | workers MB');
  let ended = 0;
  for (let mark = Math.min(25, wantedRuns); ; mark = Math.min(mark * 2, wantedRuns)) {
    while ((ended = await countWorkflows('WorkflowType = "RetrainingWorkflow" AND ExecutionStatus != "Running"')) < mark)
      await sleep(1_000);
    const { totalSize } = await get('schedules/nightly/runs?pageSize=1');
    const open = await countWorkflows('ExecutionStatus = "Running"');
    const schedules = await sql<{ count: number }>`select count(*) as count from schedules`.execute(database);
    console.log(
      [ended, open, totalSize, await largestHistory(), schedules.rows[0]!.count, workersMegabytes()]
        .map((value) => String(value))
        .join(' | '),
    );
    if (mark === wantedRuns) break;
  }
  const states = await sql<{ state: string; count: number }>`select state, count(*) as count from retraining_runs group by state`.execute(
    database,
  );
  console.log(`runs kept: ${states.rows.map(({ state, count }) => `${count} ${state}`).join(', ')}`);
} finally {
  await database.destroy();
  await temporal.close();
  await close();
}

async function countWorkflows(query: string): Promise<number> {
  return (await client.workflow.count(query)).count;
}

/** Events in the longest history of a run that has ended. */
async function largestHistory(): Promise<number> {
  let largest = 0;
  for await (const { historyLength } of client.workflow.list({ query: 'WorkflowType = "RetrainingWorkflow"' }))
    largest = Math.max(largest, historyLength);
  return largest;
}

function workersMegabytes(): number {
  const kilobytes = (pid: number) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  return Math.round(stack.dev().pids.workers.reduce((sum, pid) => sum + kilobytes(pid), 0) / 1024);
}

async function upload(connection: Connection, account: string): Promise<void> {
  const rows = Array.from({ length: 24 }, (_, index) => JSON.stringify({ text: `row ${index}`, label: 'abc'[index % 3] }));
  await callApi(connection, { method: 'POST', path: `${account}/datasets`, body: { datasetId: 'rows', dataset: { userUploaded: {} } } });
  const form = new FormData();
  form.append('file', new Blob([`${rows.join('\n')}\n`]), 'rows.jsonl');
  const reply = await fetch(`${connection.apiUrl}${account}/datasets/rows:upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${connection.apiKey}` },
    body: form,
  });
  if (!reply.ok) throw new Error(await reply.text());
  let dataset: Resource;
  do {
    await sleep(200);
    dataset = await callApi(connection, { method: 'GET', path: `${account}/datasets/rows` });
  } while (dataset.state !== 'READY');
}
