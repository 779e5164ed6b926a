/**
 * llama.cpp's converter, as PyPI publishes it inside the source of llama-cpp-python, of which nothing else is taken and nothing is built.
 * Brought once, by pip and checked against its hash, when the first export needs it; on a machine without a package registry
 * TEMPER_GGUF_CONVERTER names a folder that has it.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { TemperError } from '../schemas/errors.js';
import { exists } from './baseModels.js';

const PACKAGE = 'llama-cpp-python';
const SOURCE = `${PACKAGE}==0.3.36`;
const SOURCE_SHA256 = '832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e';
/** What the converter imports beside the trainer's own packages. */
const PACKAGES = ['sentencepiece==0.2.3', 'pyyaml==6.0.4'];
const PARTS = ['convert_hf_to_gguf.py', 'convert_lora_to_gguf.py', 'conversion', 'gguf-py', 'LICENSE'];
/** Shown with what it made. */
export const CONVERTER = `llama.cpp as in ${SOURCE.replace('==', ' ')}`;
const PIP_MS = 15 * 60_000;

let turn: Promise<unknown> = Promise.resolve();

/** The converter's folder. Exports of one worker take turns: the first brings it. @throws TemperError CONVERTER_UNAVAILABLE */
export function ensureConverter(deps: { cache: string; python: string }, signal: AbortSignal): Promise<string> {
  const found = turn.then(() => ensure(deps, signal));
  turn = found.catch(() => undefined);
  return found;
}

async function ensure({ cache, python }: { cache: string; python: string }, signal: AbortSignal): Promise<string> {
  const given = process.env['TEMPER_GGUF_CONVERTER'];
  if (given) return given;
  const folder = path.join(cache, `gguf-converter-${SOURCE_SHA256.slice(0, 12)}`);
  if (await exists(folder)) return folder;
  // Another worker of this machine may be bringing it: the first to be whole stays.
  const draft = `${folder}.partial-${process.pid}-${Date.now()}`;
  try {
    await bring(draft, python, signal);
    await rename(path.join(draft, 'converter'), folder).catch(async (error: Error) => {
      if (!(await exists(folder))) throw error;
    });
    return folder;
  } catch (error) {
    signal.throwIfAborted();
    const said = ((error as { stderr?: string }).stderr ?? (error as Error).message).trim().split('\n').at(-1)?.slice(0, 300);
    throw new TemperError(
      'CONVERTER_UNAVAILABLE',
      `llama.cpp's converter could not be brought to this worker: it needs Python's pip and a package registry, once. Or set ` +
        `TEMPER_GGUF_CONVERTER to a folder that has it (docs/models.md). pip said: ${said}`,
    );
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function bring(draft: string, python: string, signal: AbortSignal): Promise<void> {
  const target = path.join(draft, 'converter');
  await mkdir(target, { recursive: true });
  const requirements = path.join(draft, 'requirements.txt');
  await writeFile(requirements, `${SOURCE} --hash=sha256:${SOURCE_SHA256}\n`);
  const pip = await findPip(signal);
  const run = (...args: string[]) =>
    promisify(execFile)(pip[0]!, [...pip.slice(1), ...args], { signal, timeout: PIP_MS, maxBuffer: 16 * 1024 ** 2 });
  // Of this package alone: what pip needs to read its metadata comes built.
  await run('download', '--quiet', '--no-deps', '--no-binary', PACKAGE, '--require-hashes', '-r', requirements, '--dest', draft);
  // For the Python that will run it, which may be another than pip's.
  const packages = path.join(target, 'packages');
  await run('--python', python, 'install', '--quiet', '--no-deps', '--only-binary', ':all:', '--target', packages, ...PACKAGES);
  const archive = (await readdir(draft)).find((name) => name.endsWith('.tar.gz'))!;
  const root = `${archive.slice(0, -'.tar.gz'.length)}/vendor/llama.cpp`;
  await promisify(execFile)(
    'tar',
    ['-xzf', path.join(draft, archive), '-C', target, '--strip-components=3', ...PARTS.map((part) => `${root}/${part}`)],
    { signal },
  );
}

/** pip of the Python on the PATH, or as uv runs it. */
async function findPip(signal: AbortSignal): Promise<string[]> {
  for (const command of [
    ['python3', '-m', 'pip'],
    ['uv', 'tool', 'run', 'pip'],
  ]) {
    const works = await promisify(execFile)(command[0]!, [...command.slice(1), '--version'], { signal, timeout: 60_000 }).then(
      () => true,
      () => false,
    );
    if (works) return command;
  }
  throw new Error('there is no pip: neither python3 -m pip nor uv works');
}
