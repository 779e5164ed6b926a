/** The published Python client is the judge of the API's shapes. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { freshId, stack } from '../../temper.js';
import { installPythonPackage } from '../pythonPackages.js';

const run = promisify(execFile);
const CLIENT = 'fireworks-ai==1.2.30';

it('works with the published client, unpatched', async () => {
  const packages = await installPythonPackage(CLIENT);
  const { apiUrl, apiKey, accountId } = stack();
  const script = join(import.meta.dirname, 'publishedClient.py');
  const { stdout } = await run('python3', [script, apiUrl, apiKey, accountId, freshId('client')], {
    env: { PATH: process.env['PATH'], PYTHONPATH: packages },
  });
  expect(stdout.trim().endsWith('done')).toBe(true);
});
