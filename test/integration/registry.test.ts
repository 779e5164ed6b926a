/** What a team does with its models: other forms of them, what they have apart, where they came from, what they cost. Two jobs for all. */
import { createHash } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { call, freshId, listObjects, ok, stack, toJsonl, until, untilState, uploadDataset, type Json } from '../temper.js';

const id = freshId('registry');
const second = `${id}-2`;
const exported = `models/${id}/exports`;
const nameOf = (collection: string, of: string) => `accounts/${stack().accountId}/${collection}/${of}`;

beforeAll(async () => {
  await uploadDataset(
    id,
    toJsonl(Array.from({ length: 8 }, (_, index) => ({ text: `number ${index}`, parity: index % 2 ? 'odd' : 'even' }))),
  );
  const settings = { dataset: id, textClassification: { text: 'text', label: 'parity' }, evaluationSplit: 0.5 };
  await ok('POST', 'fineTuningJobs', { ...settings, jobId: id, baseModel: TINY_MODEL_NAME, epochs: 1, loraRank: 4 });
  await untilState(id, 'JOB_STATE_COMPLETED');
  await ok('POST', 'fineTuningJobs', { ...settings, jobId: second, warmStartFrom: id, epochs: 2 });
  await untilState(second, 'JOB_STATE_COMPLETED');
}, 600_000);

function untilEnded(name: string): Promise<Json> {
  return until(`${name} to end`, async () => {
    const found = await ok('GET', `${exported}/${name}`);
    return ['COMPLETED', 'FAILED', 'CANCELLED'].includes(found['state'] as string) && found;
  });
}

async function download(name: string): Promise<Record<string, Buffer>> {
  const files: Record<string, Buffer> = {};
  const { filenameToSignedUrls } = await ok('GET', `${exported}/${name}:getDownloadEndpoint`);
  for (const [file, url] of Object.entries(filenameToSignedUrls as Record<string, string>))
    files[file] = Buffer.from(await (await fetch(url)).arrayBuffer());
  return files;
}

it('makes adapter, merged model and GGUF, each with hashes that hold', async () => {
  const forms = { adapter: { format: 'ADAPTER' }, merged: { format: 'MERGED' }, 'gguf-adapter-f32': { format: 'GGUF_ADAPTER' } };
  for (const form of Object.values(forms)) await ok('POST', exported, { export: form });
  for (const name of Object.keys(forms)) {
    const found = await untilEnded(name);
    expect(found, JSON.stringify(found['status'])).toMatchObject({ state: 'COMPLETED', percent: 100 });
    const files = await download(name);
    const sha256 = (file: string) => createHash('sha256').update(files[file]!).digest('hex');
    expect((found['files'] as Json[]).map((file) => [file['name'], file['sha256']])).toEqual(
      Object.keys(files)
        .sort()
        .map((file) => [file, sha256(file)]),
    );
  }
  const merged = await download('merged');
  expect(Object.keys(merged)).toEqual(expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json']));
  const { check } = await ok('GET', `${exported}/merged`);
  expect(check.difference).toBeLessThan(check.tolerance as number);
  expect((await ok('GET', `${exported}/gguf-adapter-f32`))['check']).toMatchObject({
    tensors: expect.any(Number) as number,
    weightDifference: 0,
  });
  const gguf = (await download('gguf-adapter-f32'))[`${id}-adapter-F32.gguf`]!;
  expect(gguf.subarray(0, 4).toString()).toBe('GGUF');

  // Asked for again it is what is there; as something else, a conflict.
  expect((await ok('POST', exported, { exportId: 'merged', export: { format: 'MERGED' } }))['state']).toBe('COMPLETED');
  expect((await call('POST', exported, { exportId: 'merged', export: { format: 'GGUF' } })).status).toBe(409);
});

it('says why a model cannot become GGUF, and leaves nothing behind', async () => {
  const before = await listObjects('models/');
  await ok('POST', exported, { export: { format: 'GGUF', quantization: 'Q8_0' } });
  const failed = await untilEnded('gguf-q8-0');
  expect(failed).toMatchObject({ state: 'FAILED', failure: { code: 'GGUF_UNSUPPORTED', retryable: false }, files: [] });
  expect(failed['status'].message).toContain('tokenizer');
  expect(await listObjects('models/')).toEqual(before);
});

it('compares models on the same rows', async () => {
  const found = await ok('GET', `models:compare?models=${id},${second}`);
  expect(found).toMatchObject({ sameRows: true, rowsReason: '' });
  expect(found['differences']).toContainEqual({ name: 'epochs', values: [1, 2] });
  expect(found['differences']).toContainEqual({ name: 'warmStartFrom', values: [null, nameOf('models', id)] });
  expect((found['differences'] as Json[]).map((one) => one['name'])).not.toContain('datasetSha256');
  expect(found['samples']).toHaveLength(4);
  expect(found['samples'][0].answers).toHaveLength(2);
  expect((await call('GET', `models:compare?models=${id}`)).body['details'][0]).toMatchObject({ field: 'models' });
});

it('keeps what was used when the job is gone', async () => {
  const before = (await ok('GET', 'usage?groupBy=job'))['groups'] as Json[];
  const used = before.find(({ key }) => key === nameOf('fineTuningJobs', second))!;
  expect(used).toMatchObject({ jobs: 1, costs: [] });
  expect(Number(used['trainedTokens'])).toBeGreaterThan(0);
  expect(Number(used['tokens'])).toBeGreaterThan(Number(used['trainedTokens']));
  expect(used['gpuSeconds']).toBeGreaterThan(0);
  await ok('DELETE', `fineTuningJobs/${second}`);
  await until('the job to be gone', async () => (await call('GET', `fineTuningJobs/${second}`)).status === 404);
  expect(((await ok('GET', 'usage?groupBy=job'))['groups'] as Json[]).find(({ key }) => key === used['key'])).toEqual(used);
  const { groups, total, storedBytes } = await ok('GET', 'usage?groupBy=user');
  expect((groups as Json[]).reduce((sum, { jobs }) => sum + (jobs as number), 0)).toBe(total.jobs);
  expect(Number(storedBytes)).toBeGreaterThan(0);
});

it('tells lineage both ways, also of what was deleted', async () => {
  await ok('PATCH', `aliases/${id}@production`, { model: second });
  const down = async () =>
    ((await ok('GET', `datasets/${id}:lineage`))['downstream'] as Json[]).map(({ name, relation, deleted }) => [
      name,
      relation,
      deleted === true,
    ]);
  expect(await down()).toEqual(
    expect.arrayContaining([
      [nameOf('fineTuningJobs', id), 'job', false],
      [nameOf('models', id), 'model', false],
      [nameOf('fineTuningJobs', second), 'job', true],
      [nameOf('models', second), 'model', false],
      [`${nameOf('models', id)}/exports/merged`, 'export', false],
      [nameOf('aliases', `${id}@production`), 'alias', false],
    ]),
  );
  const refused = await call('DELETE', `datasets/${id}`);
  expect(refused).toMatchObject({ status: 400, body: { details: [{ reason: 'RESOURCE_IN_USE', message: nameOf('models', id) }, {}] } });
  expect((await call('DELETE', `models/${id}`)).body['details']).toEqual([
    { reason: 'RESOURCE_IN_USE', message: nameOf('models', second) },
  ]);

  await ok('DELETE', `datasets/${id}?force=true`);
  const { upstream } = await ok('GET', `models/${second}:lineage`);
  expect(upstream).toContainEqual(
    expect.objectContaining({ name: nameOf('datasets', id), deleted: true, deletedBy: expect.stringContaining('@') as string }),
  );
  expect((upstream as Json[]).find(({ name }) => name === nameOf('datasets', id))!['sha256']).toMatch(/^[0-9a-f]{64}$/);
  expect(upstream).toContainEqual(expect.objectContaining({ name: nameOf('models', id), relation: 'warm start' }));
});

it('numbers versions that never move, for aliases to move between', async () => {
  const version = (model: string) => ok('POST', `models/bot-${id}:addVersion`, { model, reason: 'a try' });
  expect(await version(second)).toMatchObject({ name: nameOf('aliases', `bot-${id}@v1`), model: nameOf('models', second), version: true });
  expect((await version(`bot-${id}@v1`))['name']).toBe(nameOf('aliases', `bot-${id}@v1`));
  expect((await version(id))['name']).toBe(nameOf('aliases', `bot-${id}@v2`));
  expect((await call('PATCH', `aliases/bot-${id}@v1`, { model: id })).body['details'][0].reason).toBe('ILLEGAL_STATE');
  await ok('DELETE', `aliases/bot-${id}@v2`);
  expect((await version(id))['name']).toBe(nameOf('aliases', `bot-${id}@v3`));
  expect(await ok('PATCH', `aliases/bot-${id}@production`, { model: `bot-${id}@v3` })).toMatchObject({ model: nameOf('models', id) });
  for (const alias of ['v3', 'production']) await ok('DELETE', `aliases/bot-${id}@${alias}`);
});

it('goes with its model, and alone', async () => {
  expect((await ok('GET', exported))['exports']).toHaveLength(4);
  const { files } = await ok('GET', `${exported}/merged`);
  expect(files).not.toHaveLength(0);
  await ok('DELETE', `${exported}/merged`);
  expect((await call('GET', `${exported}/merged`)).status).toBe(404);
  const remaining = await listObjects('models/');
  expect(remaining.filter((key) => key.includes('/exports/') && key.endsWith('/model.safetensors'))).toEqual([]);
  expect((await call('POST', exported, { export: { format: 'MERGED', quantization: 'F16' } })).body['details'][0]).toMatchObject({
    field: 'export.quantization',
  });
  await ok('DELETE', `models/${id}?force=true`);
  expect((await call('GET', exported)).status).toBe(404);
  expect((await listObjects('models/')).filter((key) => key.includes('/exports/'))).toEqual([]);
});
