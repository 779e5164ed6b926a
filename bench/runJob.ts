/** Classification jobs of the tiny model, through the API, for benchmarks that compare whole jobs. */
import { callApi, type Connection, type Resource } from '../cli/client.js';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';

const account = ({ accountId }: Connection) => `/v1/accounts/${accountId}`;

/** The dataset `rows`. */
export async function uploadRows(connection: Connection, count: number): Promise<void> {
  const datasets = `${account(connection)}/datasets`;
  await callApi(connection, { method: 'POST', path: datasets, body: { datasetId: 'rows', dataset: { userUploaded: {} } } });
  const rows = Array.from({ length: count }, (_, index) => ({
    text: `row ${index} has ${index * 7} words`,
    label: ['a', 'b', 'c'][index % 3],
  }));
  const form = new FormData();
  form.append('file', new Blob([rows.map((row) => `${JSON.stringify(row)}\n`).join('')]), 'rows.jsonl');
  await fetch(`${connection.apiUrl}${datasets}/rows:upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${connection.apiKey}` },
    body: form,
  });
  await poll(connection, `${datasets}/rows`, (dataset) => dataset['state'] === 'READY');
}

/** Seconds from the POST to COMPLETED, and those of the trainer's processes. */
export async function runJob(connection: Connection, id: string, settings: object): Promise<{ total: number; trainer: number }> {
  const jobs = `${account(connection)}/fineTuningJobs`;
  const body = {
    jobId: id,
    modelId: id,
    dataset: `accounts/${connection.accountId}/datasets/rows`,
    baseModel: TINY_MODEL_NAME,
    textClassification: { text: 'text', label: 'label' },
    batchSize: 16,
    ...settings,
  };
  const posted = performance.now();
  await callApi(connection, { method: 'POST', path: jobs, body });
  const job = await poll(connection, `${jobs}/${id}`, (found) => found['state'] === 'COMPLETED' || found['state'] === 'FAILED');
  if (job['state'] !== 'COMPLETED') throw new Error(JSON.stringify(job['failure']));
  return { total: (performance.now() - posted) / 1000, trainer: (job['progress'] as { trainerSeconds: number }).trainerSeconds };
}

export async function poll(connection: Connection, resource: string, done: (found: Resource) => boolean): Promise<Resource> {
  for (;;) {
    const found = await callApi(connection, { method: 'GET', path: resource });
    if (done(found)) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function median(numbers: number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
}
