/** Base models of the operator's own: a folder with the weights in parts, and what is said when something lacks. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkModelFiles } from '../../../activities/baseModels.js';
import { BASE_MODELS, findBaseModel } from '../../../schemas/baseModels.js';
import { loadBaseModelsFile } from '../../../stores/baseModelsFile.js';
import type { ObjectStore } from '../../../stores/objects.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'temper-base-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, content: unknown) => writeFileSync(path.join(folder, name), JSON.stringify(content));
const check = () => checkModelFiles({ ...BASE_MODELS[0]!, source: { folder } }, {} as ObjectStore);

it('takes weights in parts, and names each part that lacks', async () => {
  write('config.json', {});
  write('tokenizer.json', {});
  await expect(check()).rejects.toThrow('has no model.safetensors in');
  write('model.safetensors.index.json', { weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' } });
  write('model-00001-of-00002.safetensors', '');
  await expect(check()).rejects.toThrow('has no model-00002-of-00002.safetensors in');
  write('model-00002-of-00002.safetensors', '');
  await check();
});

it('adds the models of a file to the catalogue', () => {
  const entry = { id: 'our-llama', source: { folder }, parameters: 8e9, cutoffLength: 8192, learningRate: 2e-4 };
  write('models.json', [entry]);
  loadBaseModelsFile(path.join(folder, 'models.json'));
  expect(findBaseModel('accounts/temper/models/our-llama')).toMatchObject({
    source: { folder },
    learningRate: 2e-4,
    batchSize: 16,
    quantization: 'none',
  });
});

it.each([
  [{ id: 'Our' }, 'entry 1: id must be'],
  [{ id: 'a', source: {} }, 'source must be one of'],
  [{ id: 'a', source: { hub: 'o/n' }, parameters: 1 }, 'cutoffLength must be a whole number'],
  [{ id: 'a', rank: 8 }, 'unknown field rank'],
])('refuses %j', (entry, message) => {
  write('models.json', [entry]);
  expect(() => loadBaseModelsFile(path.join(folder, 'models.json'))).toThrow(message);
});
