/** The published Python client is the judge of the API's shapes. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { CLIENT_TYPES, describeClientFields, readClientFields } from '../../clientFields.js';
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

it('has a stated fate for every field that the client can send', async () => {
  const packages = await installPythonPackage(CLIENT);
  for (const { type } of CLIENT_TYPES) expect([type, readClientFields(packages, type).length > 2]).toEqual([type, true]);
  await expect(describeClientFields(packages)).toMatchFileSnapshot('../../../docs/api-fields.md');
});
