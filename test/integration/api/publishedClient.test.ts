/** The published Python client is the judge of the API's shapes. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { cacheFolder } from '../../../dev/binaries.js';
import { freshId, stack } from '../../temper.js';

const run = promisify(execFile);
const CLIENT = 'fireworks-ai==1.2.30';

/** The folder that has the client's packages, made once on a machine. */
async function installClient(): Promise<string> {
  const folder = join(cacheFolder(), CLIENT.replace('==', '-'));
  if (existsSync(folder)) return folder;
  mkdirSync(cacheFolder(), { recursive: true });
  const draft = mkdtempSync(`${folder}-`);
  const install = ['install', '--quiet', '--disable-pip-version-check', '--target', join(draft, 'packages'), CLIENT];
  try {
    // Distributions ship pip, or venv that brings it, or both.
    await run('python3', ['-m', 'pip', ...install]).catch(async () => {
      await run('python3', ['-m', 'venv', join(draft, 'venv')]);
      await run(join(draft, 'venv', 'bin', 'pip'), install);
    });
    renameSync(join(draft, 'packages'), folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return folder;
}

it('works with the published client, unpatched', async () => {
  const packages = await installClient();
  const { apiUrl, apiKey, accountId } = stack();
  const script = join(import.meta.dirname, 'publishedClient.py');
  const { stdout } = await run('python3', [script, apiUrl, apiKey, accountId, freshId('client')], {
    env: { PATH: process.env['PATH'], PYTHONPATH: packages },
  });
  expect(stdout.trim().endsWith('done')).toBe(true);
});
