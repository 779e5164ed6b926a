/**
 * A big file into the object store: `temper create dataset` (in parts, each with its MD5, the whole with its SHA-256) against
 * `aws s3 cp` of the published AWS CLI, to the same server in the same run.
 *
 *   node --import tsx bench/upload.ts [--mb 2000] [--runs 2]
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { loadSecrets } from '../dev/secrets.js';
import { rootFolder } from '../dev/stack.js';
import { installPythonPackage } from '../test/integration/pythonPackages.js';
import { startTemporaryStack } from './temporaryStack.js';

const { values } = parseArgs({ options: { mb: { type: 'string', default: '2000' }, runs: { type: 'string', default: '2' } } });
const sizeBytes = Number(values.mb) * 1e6;
const awscli = await installPythonPackage('awscli==1.46.3');
const { stack, home, close } = await startTemporaryStack();
const { apiUrl, apiKey, accountId, s3Endpoint, s3Bucket, pids } = stack.dev();
// What is measured is the way there; the workers would read the file at the same time.
for (const pid of pids.workers) process.kill(pid, 'SIGSTOP');
try {
  const file = path.join(home, 'rows.jsonl');
  generate(file);
  const secrets = loadSecrets(home);
  const rates: { temper: number[]; aws: number[] } = { temper: [], aws: [] };
  for (let run = 0; run < Number(values.runs); run += 1) {
    rates.aws.push(
      await time(
        'aws s3 cp',
        'python3',
        ['-m', 'awscli', 's3', 'cp', '--quiet', '--endpoint-url', s3Endpoint, file, `s3://${s3Bucket}/bench-${run}`],
        {
          PYTHONPATH: awscli,
          AWS_ACCESS_KEY_ID: secrets.s3AccessKeyId,
          AWS_SECRET_ACCESS_KEY: secrets.s3SecretAccessKey,
          AWS_DEFAULT_REGION: 'us-east-1',
        },
      ),
    );
    const temper = [path.join(rootFolder, 'cli', 'bin.js'), 'create', 'dataset', `rows-${run}`, file, '--no-wait', '--quiet'];
    const environment = { TEMPER_API_URL: apiUrl, TEMPER_API_KEY: apiKey, TEMPER_ACCOUNT_ID: accountId };
    rates.temper.push(await time('temper create dataset', process.execPath, temper, environment));
  }
  const best = { temper: Math.max(...rates.temper), aws: Math.max(...rates.aws) };
  console.log(
    `\nbest of ${values.runs}: temper ${best.temper.toFixed(0)} MB/s, aws ${best.aws.toFixed(0)} MB/s, ratio ${(best.temper / best.aws).toFixed(2)}`,
  );
} finally {
  for (const pid of pids.workers) process.kill(pid, 'SIGCONT');
  await close();
}

function generate(file: string): void {
  const row = (index: number) => `${JSON.stringify({ prompt: `question ${index} `.padEnd(900, 'x'), completion: `answer ${index}` })}\n`;
  const output = openSync(file, 'w');
  for (let written = 0, index = 0; written < sizeBytes; index += 10_000)
    written += writeSync(output, Array.from({ length: 10_000 }, (_, offset) => row(index + offset)).join(''));
  closeSync(output);
}

/** MB a second of the whole command, its start included, and the most memory that it had. */
async function time(what: string, command: string, args: string[], environment: Record<string, string>): Promise<number> {
  const startMs = performance.now();
  const child = spawn(command, args, { env: { ...process.env, ...environment }, stdio: ['ignore', 'inherit', 'inherit'] });
  let peakKilobytes = 0;
  const watching = setInterval(() => {
    try {
      peakKilobytes = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? 0);
    } catch {
      // It has ended.
    }
  }, 100);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(watching);
  if (code !== 0) throw new Error(`${what} ended with ${String(code)}`);
  const seconds = (performance.now() - startMs) / 1000;
  console.log(
    `${what}: ${seconds.toFixed(1)} s, ${(sizeBytes / 1e6 / seconds).toFixed(0)} MB/s, peak memory ${(peakKilobytes / 1000).toFixed(0)} MB`,
  );
  return sizeBytes / 1e6 / seconds;
}
