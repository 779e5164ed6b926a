/**
 * Every route of `/openapi.json` under generated requests, right and wrong ones: schemathesis says whether each answer is one that
 * the description has, with a body of the shape it gives, and no error of the server's. Fails when one is not.
 *
 *   node --import tsx bench/schemathesis.ts [--examples 80] [--seed 1] [--minutes 20]
 *
 * `--examples` are for each operation of each phase, `--minutes` a limit of the whole. Left out are what no generated request can drive:
 * streams of events, which do not end, and uploads and downloads of files.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { cacheFolder } from '../dev/binaries.js';
import { runCommand } from '../dev/command.js';
import { ensureUv } from '../dev/python.js';
import { startTemporaryStack } from './temporaryStack.js';

const REQUIREMENT = 'schemathesis==4.32.5';
const CHECKS = ['not_a_server_error', 'status_code_conformance', 'response_schema_conformance', 'content_type_conformance'];
const NOT_DRIVEN = ':streamEvents$|:upload$|^/v1/files$|/parts$|/content$';

const { values } = parseArgs({
  options: {
    examples: { type: 'string', default: '80' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '20' },
  },
});
const schemathesis = await ensureSchemathesis();
const { stack, home, close } = await startTemporaryStack();
try {
  const { apiUrl, apiKey } = stack.dev();
  process.exitCode = await drive(apiUrl, apiKey);
} finally {
  await close();
}

/** The program, in an environment of its own that is made once. */
async function ensureSchemathesis(): Promise<string> {
  const folder = path.join(cacheFolder(), REQUIREMENT.replace('==', '-'));
  if (!existsSync(folder)) {
    const uv = await ensureUv((line) => console.error(line));
    mkdirSync(cacheFolder(), { recursive: true });
    const draft = mkdtempSync(`${folder}-`);
    try {
      await runCommand(uv, ['venv', '--quiet', '--relocatable', '--allow-existing', '--python', 'python3', draft]);
      await runCommand(uv, ['pip', 'install', '--quiet', '--python', path.join(draft, 'bin', 'python'), REQUIREMENT]);
      renameSync(draft, folder);
    } finally {
      rmSync(draft, { recursive: true, force: true });
    }
  }
  return path.join(folder, 'bin', 'schemathesis');
}

/** Its exit status: 0 when every answer was as described. */
function drive(apiUrl: string, apiKey: string): Promise<number> {
  const command = [
    ['run', `${apiUrl}/openapi.json`, '--header', `X-Api-Key: ${apiKey}`],
    ['--checks', CHECKS.join(','), '--exclude-path-regex', NOT_DRIVEN, '--phases', 'coverage,fuzzing,stateful'],
    ['--max-examples', values.examples, '--seed', values.seed, '--max-time', String(Number(values.minutes) * 60)],
    ['--workers', '2', '--continue-on-failure', '--request-timeout', '60', '--suppress-health-check', 'all'],
    ['--generation-database', 'none', '--warnings', 'off', '--no-color'],
  ].flat();
  return new Promise((resolve, reject) => {
    // In the stack's folder: it leaves files where it runs.
    const child = spawn(schemathesis, command, { cwd: home, stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', reject);
    child.on('close', (status) => resolve(status ?? 1));
  });
}
