/** The official Python client is the second judge of OpenAI's protocol. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { freshId, stack, toJsonl } from '../../temper.js';
import { installPythonPackage } from '../pythonPackages.js';

const run = promisify(execFile);

it('works with the official Python client, unpatched', async () => {
  const packages = await installPythonPackage('openai==3.57.0');
  const { apiUrl, apiKey } = stack();
  const folder = mkdtempSync(join(tmpdir(), 'temper-openai-'));
  try {
    const file = join(folder, 'rows.jsonl');
    const row = (index: number) => ({ messages: [{ role: 'user', content: `q${index}` }, { role: 'assistant', content: `a${index}` }] }); // prettier-ignore
    writeFileSync(file, toJsonl(Array.from({ length: 40 }, (_, index) => row(index))));
    const script = join(import.meta.dirname, 'pythonClient.py');
    const { stdout } = await run('python3', [script, `${apiUrl}/v1`, apiKey, freshId('py'), file], {
      env: { PATH: process.env['PATH'], PYTHONPATH: packages, OPENAI_BASE_URL: `${apiUrl}/v1`, OPENAI_API_KEY: apiKey },
    });
    expect(stdout.trim().endsWith('done')).toBe(true);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
