/** A model made once more from its lineage: the same bytes, or a refusal that says what is missing. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, it } from 'vitest';
import addFormats from 'ajv-formats';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import type { Lineage } from '../../schemas/lineage.js';
import { openDatabase } from '../../stores/database.js';
import { recordReproduction } from '../../stores/jobs.js';
import { call, downloadModel, freshId, ok, stack, toJsonl, untilState, uploadDataset, type Json } from '../temper.js';

const content = toJsonl(Array.from({ length: 8 }, (_, index) => ({ text: `number ${index}`, parity: index % 2 ? 'odd' : 'even' })));

function temper(...args: string[]): Promise<unknown> {
  const env = { PATH: process.env['PATH'], HOME: '/nowhere', TEMPER_API_URL: stack().apiUrl, TEMPER_API_KEY: stack().apiKey };
  return promisify(execFile)(process.execPath, [path.join(import.meta.dirname, '..', '..', 'cli', 'bin.js'), ...args], { env });
}

it('makes the same adapter again, also from a dataset that was uploaded anew', async () => {
  const [id, again, other] = [freshId('first'), freshId('again'), freshId('other')];
  await uploadDataset(id, content);
  await ok('POST', 'fineTuningJobs', {
    jobId: id,
    dataset: id,
    baseModel: TINY_MODEL_NAME,
    textClassification: { text: 'text', label: 'parity' },
    epochs: 1,
    loraRank: 4,
    learningRate: 0.002,
    seed: 7,
    evaluation: false,
  });
  await untilState(id, 'JOB_STATE_COMPLETED');
  const first = await downloadModel(id);
  const lineage = JSON.parse(first['lineage.json']!.toString()) as Json;
  const schema = (await (await fetch(`${stack().apiUrl}/schemas/lineage.json`)).json()) as object;
  const ajv = new Ajv2020({ strict: false });
  (addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
  expect(ajv.validate(schema, lineage), JSON.stringify(ajv.errors)).toBe(true);
  expect(ajv.validate(schema, { ...lineage, files: [{ name: 'README.md' }] })).toBe(false);
  expect(lineage['versions']).toMatchObject({ torch: expect.any(String) as string, peft: expect.any(String) as string });
  expect(lineage['verification']).toMatchObject({ rows: 4 });

  const refusal = await call('DELETE', `datasets/${id}`);
  expect(refusal).toMatchObject({ status: 400, body: { details: [{ reason: 'RESOURCE_IN_USE', message: lineage['model'] as string }] } });
  await ok('DELETE', `datasets/${id}?force=true`);
  const refused = await call('POST', `models/${id}:reproduce`, { jobId: again });
  expect(refused).toMatchObject({ status: 400, body: { details: [{ reason: 'MODEL_NOT_REPRODUCIBLE' }] } });
  expect(refused.body['message']).toContain(lineage['dataset'].sha256);

  await uploadDataset(other, content);
  await temper('reproduce', id, '--job-id', again);
  const job = await ok('POST', `models/${id}:reproduce`, { jobId: again });
  expect(job).toMatchObject({ dataset: `accounts/${stack().accountId}/datasets/${other}`, seed: 7, loraRank: 4 });
  expect(job['reproduction']).toEqual({ model: lineage['model'], equal: true, differingFiles: [], reasons: [] });
  expect((await downloadModel(again))['adapter_model.safetensors']!.equals(first['adapter_model.safetensors']!)).toBe(true);

  const database = openDatabase(stack().databaseUrl);
  const outcome = { equal: false, differingFiles: ['adapter_model.safetensors'], reasons: ['torch was 1 then and is 2 now.'] };
  await recordReproduction(database, job['uid'] as string, { first: lineage as Lineage, outcome });
  await database.destroy();
  await expect(temper('reproduce', id, '--job-id', again)).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('adapter_model.safetensors. torch was 1 then and is 2 now.') as string,
  });
});
