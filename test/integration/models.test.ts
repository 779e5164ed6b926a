/** Models that users bring: a base model in parts is uploaded and tuned, its add-on comes in again and is tuned further, a hub model is imported. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { COMMIT, startHub } from '../hubServer.js';
import { rawFile, tensorFile } from '../safetensorsFiles.js';
import {
  call,
  downloadModel,
  freshId,
  ok,
  stack,
  toJsonl,
  untilState,
  uploadDataset,
  uploadModel,
  validateModel,
  type Json,
} from '../temper.js';

type Files = Record<string, Buffer>;

/** The stack's small base model, as it is and with its weights in two parts. */
let whole: Files;
let parts: Files;
const baseId = freshId('parts');
const baseName = () => `accounts/${stack().accountId}/models/${baseId}`;
const dataset = freshId('rows');
const jobId = freshId('tuned');

beforeAll(async () => {
  whole = {};
  const { apiUrl, apiKey } = stack();
  const reply = await fetch(`${apiUrl}/v1/${TINY_MODEL_NAME}:getDownloadEndpoint`, { headers: { authorization: `Bearer ${apiKey}` } });
  for (const [name, url] of Object.entries(((await reply.json()) as Json)['filenameToSignedUrls'] as Record<string, string>))
    whole[name] = Buffer.from(await (await fetch(url)).arrayBuffer());
  delete whole['model.json'];
  parts = split(whole);
});

it('takes a base model in parts, and says what it is', async () => {
  const { status, body } = await uploadModel(baseId, { kind: 'HF_BASE_MODEL', displayName: 'In parts' }, parts);
  expect({ status, body }).toMatchObject({ status: 200, body: { warnings: [], state: 'READY' } });
  const model = await ok('GET', `models/${baseId}`);
  expect(model).toMatchObject({
    kind: 'HF_BASE_MODEL',
    tunable: true,
    supportsLora: true,
    baseModelDetails: { checkpointFormat: 'HUGGINGFACE' },
  });
  const files = await downloadModel(baseId);
  for (const [name, content] of Object.entries(parts)) expect(files[name]!.equals(content)).toBe(true);
  expect(JSON.parse(files['lineage.json']!.toString())).toMatchObject({ uploadedBy: expect.stringContaining('@') as string });
  expect((await call('POST', `models/${baseId}:getUploadEndpoint`, { filenameToSize: { 'config.json': 10 } })).body['message']).toContain(
    'never change',
  );
});

it('tunes it, and takes the add-on in again to tune it further', async () => {
  await uploadDataset(
    dataset,
    toJsonl(Array.from({ length: 24 }, (_, index) => ({ text: `number ${index}`, parity: index % 2 ? 'odd' : 'even' }))),
  );
  const task = { dataset, textClassification: { text: 'text', label: 'parity' }, evaluation: false, batchSize: 8 };
  await ok('POST', 'fineTuningJobs', { jobId, modelId: jobId, baseModel: baseName(), loraRank: 4, ...task });
  await untilState(jobId, 'JOB_STATE_COMPLETED');
  const made = await downloadModel(jobId);
  expect(JSON.parse(made['lineage.json']!.toString())).toMatchObject({
    baseModel: { name: baseName(), content: expect.stringMatching(/^[0-9a-f]{16}$/) as string },
  });

  const again = freshId('again');
  const { 'lineage.json': _, ...files } = made;
  const { status, body } = await uploadModel(again, { peftDetails: { baseModel: baseName() } }, files);
  expect({ status, body }).toMatchObject({ status: 200, body: { state: 'READY' } });
  expect(await ok('GET', `models/${again}`)).toMatchObject({ kind: 'HF_PEFT_ADDON', peftDetails: { baseModel: baseName(), r: 4 } });

  const next = freshId('next');
  const warm = await ok('POST', 'fineTuningJobs', { jobId: next, modelId: next, warmStartFrom: again, ...task, epochs: 500 });
  expect(warm).toMatchObject({ baseModel: baseName(), loraRank: 4 });
  expect((await call('DELETE', `models/${again}`)).body['details'][0].reason).toBe('RESOURCE_IN_USE');
  await untilState(next, 'JOB_STATE_RUNNING'); // so the trainer has taken it
  await ok('POST', `fineTuningJobs/${next}:cancel`, {});
  await untilState(next, 'JOB_STATE_CANCELLED');
  await ok('DELETE', `models/${again}`);
  expect((await call('GET', `models/${again}`)).status).toBe(404);
});

describe('refuses', () => {
  const addon = { peftDetails: { baseModel: TINY_MODEL_NAME } };
  const config = (changes: Json = {}) =>
    Buffer.from(JSON.stringify({ peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj'], ...changes }));
  const A = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight';

  it('an add-on whose weights do not fit, naming tensor and shapes', async () => {
    const id = freshId('misfit');
    const files = { 'adapter_config.json': config(), 'adapter_model.safetensors': tensorFile({ [A]: [4, 7] }) };
    const { status, body } = await uploadModel(id, addon, files);
    expect(status).toBe(400);
    expect(body['message']).toContain(
      'Invalid LoRA weight model.layers.0.self_attn.q_proj.lora_A.weight shape: torch.Size([4, 7]), expected (4, ',
    );
    expect(body['details'][0]).toMatchObject({ reason: 'TENSOR_SHAPE', field: 'adapter_model.safetensors' });
    expect(await ok('GET', `models/${id}`)).toMatchObject({ state: 'UPLOADING', status: { code: 'INVALID_ARGUMENT' }, tunable: false });
    expect((await call('POST', 'fineTuningJobs', { jobId: id, warmStartFrom: id, dataset, conversation: {} })).status).toBe(400);
  });

  it('a pickle that would run code, and runs nothing', async () => {
    const files = { 'adapter_config.json': config(), 'adapter_model.bin': Buffer.from("cos\nsystem\n(S'true'\ntR.") };
    const { status, body } = await uploadModel(freshId('pickle'), addon, files);
    expect(status).toBe(400);
    expect(body['details'][0]).toMatchObject({
      reason: 'UNSAFE_WEIGHTS',
      message: expect.stringContaining('adapter_model.bin cannot be read safely') as string,
    });
  });

  it('a base model without a part, its tokenizer and a place in the families', async () => {
    const { 'tokenizer.json': _, ...rest } = parts;
    const changed = {
      ...rest,
      'config.json': Buffer.from(JSON.stringify({ ...JSON.parse(parts['config.json']!.toString()), model_type: 'bert' })),
    };
    const { body } = await uploadModel(freshId('lacking'), { kind: 'HF_BASE_MODEL' }, changed);
    expect(body['details'].map((detail: Json) => detail['reason'])).toEqual(['FILE_MISSING', 'ARCHITECTURE_UNSUPPORTED']);
  });

  it('names of other files, files that have not come, and files that came cut', async () => {
    const id = freshId('names');
    await ok('POST', 'models', { modelId: id, model: addon });
    for (const name of ['../adapter_config.json', 'run.py', 'a/b', 'lineage.json']) {
      const reply = await call('POST', `models/${id}:getUploadEndpoint`, { filenameToSize: { [name]: 10 } });
      expect(reply.body).toMatchObject({ code: 3, details: [{ reason: 'INVALID_UPLOAD', field: 'filenameToSize' }] });
    }
    expect((await call('GET', `models/${id}:validateUpload`)).body['details'][0].reason).toBe('UPLOAD_MISSING');
    const { filenameToSignedUrls } = await ok('POST', `models/${id}:getUploadEndpoint`, { filenameToSize: { 'adapter_config.json': 10 } });
    expect((await fetch(filenameToSignedUrls['adapter_config.json'] as string, { method: 'PUT', body: 'too short' })).status).toBe(403);
    expect((await call('GET', `models/${id}:validateUpload`)).body['details'][0].reason).toBe('UPLOAD_MISSING');
    expect((await call('GET', `models/${id}:validateUpload?trustRemoteCode=true`)).status).toBe(400);
  });

  it('what is no model, and a base model that is not there', async () => {
    const id = freshId('none');
    expect((await call('POST', 'models', { modelId: id })).body['details'][0].reason).toBe('MISSING_FIELD');
    expect(
      (await call('POST', 'models', { modelId: id, model: { peftDetails: { baseModel: 'nothing' } } })).body['details'][0].reason,
    ).toBe('BASE_MODEL_NOT_FOUND');
    expect((await call('POST', 'models', { modelId: id, model: { kind: 'FLUMINA_ADDON' } })).status).toBe(400);
    expect((await call('POST', 'models', { modelId: id, model: { kind: 'HF_BASE_MODEL', public: true } })).status).toBe(400);
  });
});

describe('import', () => {
  let hub: Awaited<ReturnType<typeof startHub>>;
  beforeAll(async () => {
    hub = await startHub(stack().hubPort, {
      'team/tiny': { ...whole, 'modeling.py': Buffer.from('code'), 'pytorch_model.bin': Buffer.from('pickle') },
      'gated/tiny': whole,
    });
  });
  afterAll(() => hub.stop());

  it('brings a model of the hub, pinned to its commit, without code and pickles', async () => {
    const id = freshId('imported');
    await ok('POST', 'models', { modelId: id, model: { kind: 'HF_BASE_MODEL' }, importFrom: { repository: 'team/tiny' } });
    expect(await validateModel(id)).toMatchObject({ status: 200, body: { state: 'READY' } });
    const model = await ok('GET', `models/${id}`);
    expect(model['importedFrom']).toBe(`team/tiny@${COMMIT}`);
    const files = await downloadModel(id);
    expect(files['model.safetensors']!.equals(whole['model.safetensors']!)).toBe(true);
    expect(Object.keys(files)).not.toEqual(expect.arrayContaining(['modeling.py']));
    expect(Object.keys(files)).not.toEqual(expect.arrayContaining(['pytorch_model.bin']));
  });

  it('asks for a gated model with the token of a secret, and without one says what is needed', async () => {
    const [closed, secret] = [freshId('closed'), freshId('token')];
    await ok('POST', 'models', { modelId: closed, model: { kind: 'HF_BASE_MODEL' }, importFrom: { repository: 'gated/tiny' } });
    const refused = await validateModel(closed);
    expect(refused.status).toBe(400);
    expect(refused.body['message']).toContain('asks for acceptance of its terms');
    await ok('POST', 'secrets', { name: `accounts/${stack().accountId}/secrets/${secret}`, keyName: 'HF_TOKEN', value: hub.token });
    const open = freshId('open');
    await ok('POST', 'models', {
      modelId: open,
      model: { kind: 'HF_BASE_MODEL' },
      importFrom: { repository: 'gated/tiny', tokenSecret: secret },
    });
    expect((await validateModel(open)).body['state']).toBe('READY');
    expect(JSON.stringify(await ok('GET', `models/${open}`))).not.toContain(hub.token);
  });

  it('takes names only, never addresses', async () => {
    for (const repository of ['http://127.0.0.1/x', 'team/../x', 'tiny', 'team/tiny/x'])
      expect(
        (await call('POST', 'models', { modelId: freshId('bad'), model: { kind: 'HF_BASE_MODEL' }, importFrom: { repository } })).status,
      ).toBe(400);
  });
});

/** The weights in two parts with their index, as large models have them. */
function split(files: Files): Files {
  const { 'model.safetensors': weights, ...rest } = files;
  const headerBytes = Number(weights!.readBigUInt64LE());
  const header = JSON.parse(weights!.subarray(8, 8 + headerBytes).toString()) as Record<string, { data_offsets: [number, number] }>;
  const names = Object.keys(header).filter((name) => name !== '__metadata__');
  const index: Record<string, string> = {};
  const made = [names.slice(0, 5), names.slice(5)].map((own, number) => {
    const part = `model-0000${number + 1}-of-00002.safetensors`;
    let end = 0;
    const data = own.map((name) =>
      weights!.subarray(8 + headerBytes + header[name]!.data_offsets[0], 8 + headerBytes + header[name]!.data_offsets[1]),
    );
    const entries = own.map((name, position) => {
      index[name] = part;
      return [name, { ...header[name], data_offsets: [end, (end += data[position]!.length)] }];
    });
    return [part, rawFile(JSON.stringify(Object.fromEntries(entries)), 0, undefined, Buffer.concat(data))] as const;
  });
  return {
    ...rest,
    ...Object.fromEntries(made),
    'model.safetensors.index.json': Buffer.from(JSON.stringify({ metadata: {}, weight_map: index })),
  };
}
