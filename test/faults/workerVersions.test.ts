/** A new version of the control worker rolls out while a job of the old one runs: each ends on the version it began on. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { rootFolder } from '../../dev/stack.js';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { DEPLOYMENT_NAME } from '../../schemas/taskQueues.js';
import { devFile, freshId, ok, stack, toJsonl, until, untilState, uploadDataset } from '../temper.js';

const rows = Array.from({ length: 40 }, (_, index) => ({ text: `row ${index}`, label: ['a', 'b'][index % 2] }));
const workers: ChildProcess[] = [];
let connection: Connection;
let client: Client;
let dataset: string;

beforeAll(async () => {
  connection = await Connection.connect({ address: stack().temporalAddress });
  client = new Client({ connection, namespace: stack().temporalNamespace });
  dataset = (await uploadDataset(freshId('versions'), toJsonl(rows)))['name'] as string;
});

afterAll(async () => {
  await setCurrent('');
  for (const worker of workers) {
    worker.kill('SIGTERM');
    if (worker.exitCode === null) await once(worker, 'exit');
  }
  await connection.close();
});

/** With the environment of the stack's own control worker. */
async function startControlWorker(buildId: string): Promise<void> {
  const own = readFileSync(`/proc/${devFile().pids.workers[0]}/environ`, 'utf8').split('\0').filter(Boolean);
  const env = Object.fromEntries(own.map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]));
  const worker = spawn(process.execPath, ['--import', 'tsx', path.join(rootFolder, 'workers', 'control.ts')], {
    cwd: rootFolder,
    env: { ...env, TEMPER_BUILD_ID: buildId },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  workers.push(worker);
  await once(worker, 'message');
}

/** New workflows begin on this version; '' on workers without any. Retried until the server has seen the version's worker poll. */
function setCurrent(buildId: string): Promise<unknown> {
  return until(`version ${buildId} to be the current one`, () =>
    client.workflowService
      .setWorkerDeploymentCurrentVersion({
        namespace: stack().temporalNamespace,
        deploymentName: DEPLOYMENT_NAME,
        buildId,
        ignoreMissingTaskQueues: true,
      })
      .then(() => true)
      .catch(() => null),
  );
}

async function startJob(id: string, epochs: number): Promise<void> {
  const settings = { textClassification: { text: 'text', label: 'label' }, baseModel: TINY_MODEL_NAME, batchSize: 4, epochs };
  await ok('POST', 'fineTuningJobs', { jobId: id, modelId: id, dataset, evaluation: false, ...settings });
}

async function versionOf(id: string): Promise<string | null | undefined> {
  const name = `accounts/${stack().accountId}/fineTuningJobs/${id}`;
  const { raw } = await client.workflow.getHandle(name).describe();
  return raw.workflowExecutionInfo?.versioningInfo?.deploymentVersion?.buildId;
}

it('lets a running job end on its version, and begins others on the new one', async () => {
  const [old, young] = [freshId('old'), freshId('young')];
  await startControlWorker('1');
  await setCurrent('1');
  await startJob(old, 30);
  await untilState(old, 'JOB_STATE_RUNNING');
  await startControlWorker('2');
  await setCurrent('2');
  await startJob(young, 1);
  await untilState(old, 'JOB_STATE_COMPLETED');
  await untilState(young, 'JOB_STATE_COMPLETED');
  expect([await versionOf(old), await versionOf(young)]).toEqual(['1', '2']);
});
