/** A model made once more from its lineage: the same bytes, or a refusal that says what is missing. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, it } from 'vitest';
import addFormats from 'ajv-formats';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { call, downloadModel, freshId, ok, stack, toJsonl, untilState, uploadDataset, type Json } from '../temper.js';

const content = toJsonl(Array.from({ length: 16 }, (_, index) => ({ text: `number ${index}`, parity: index % 2 ? 'odd' : 'even' })));

it('makes the same adapter again, also from a dataset that was uploaded anew', async () => {
  const [id, again, other] = [freshId('first'), freshId('again'), freshId('other')];
  await uploadDataset(id, content);
  await ok('POST', 'fineTuningJobs', {
    jobId: id,
    dataset: id,
    baseModel: TINY_MODEL_NAME,
    textClassification: { text: 'text', label: 'parity' },
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
  expect(lineage['versions']).toMatchObject({ torch: expect.any(String) as string, peft: expect.any(String) as string });
  expect(lineage['verification']).toMatchObject({ rows: 4 });

  await ok('DELETE', `datasets/${id}`);
  const refused = await call('POST', `models/${id}:reproduce`, { jobId: again });
  expect(refused).toMatchObject({ status: 400, body: { details: [{ reason: 'MODEL_NOT_REPRODUCIBLE' }] } });
  expect(refused.body['message']).toContain(lineage['dataset'].sha256);

  await uploadDataset(other, content);
  const job = await ok('POST', `models/${id}:reproduce`, { jobId: again });
  expect(job).toMatchObject({ dataset: `accounts/${stack().accountId}/datasets/${other}`, seed: 7, loraRank: 4 });
  expect(await ok('POST', `models/${id}:reproduce`, { jobId: again })).toMatchObject({ uid: job['uid'] as string });
  await untilState(again, 'JOB_STATE_COMPLETED');
  expect((await ok('GET', `fineTuningJobs/${again}`))['reproduction']).toEqual({
    model: lineage['model'],
    equal: true,
    differingFiles: [],
    reasons: [],
  });
  expect((await downloadModel(again))['adapter_model.safetensors']!.equals(first['adapter_model.safetensors']!)).toBe(true);
});
