/** The program as it is run: its exit codes, what goes to stdout and what to stderr. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { startServer, type Answer } from './server.js';

const PROGRAM = fileURLToPath(new URL('../../../cli/bin.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'temper-program-'));
afterAll(() => rmSync(folder, { recursive: true }));

let server: Awaited<ReturnType<typeof startServer>> | undefined;
afterEach(() => server?.stop());

async function temper(args: string[], onOutput: (text: string, kill: (signal: NodeJS.Signals) => void) => void = () => {}) {
  const environment = {
    PATH: process.env.PATH,
    HOME: folder,
    TEMPER_HOME: folder,
    ...(server ? { TEMPER_API_URL: server.apiUrl, TEMPER_API_KEY: 'key', TEMPER_ACCOUNT_ID: 'acme' } : {}),
  };
  const child = spawn(process.execPath, [PROGRAM, ...args], { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (data: Buffer) => {
      output[name] += data;
      onOutput(output[name], (signal) => child.kill(signal));
    });
  }
  const code = await new Promise((resolve) => child.on('close', resolve));
  return { code, ...output };
}

const JOB_PATH = '/v1/accounts/acme/fineTuningJobs';
const CREATE = ['create', 'fine-tuning-job', '--dataset', 'd', '--base-model', 'temper-tiny', '--conversation', '--job-id', 'j'];

/** A server with one job that passes through the states, one a poll, and says them as events. */
function jobServer(states: string[]) {
  const job = (state: string) => ({
    name: 'accounts/acme/fineTuningJobs/j',
    state,
    dataset: 'accounts/acme/datasets/d',
    status: state === 'FAILED' ? { code: 'INVALID_ARGUMENT', message: 'loss is not finite' } : {},
  });
  return startServer(({ method, path }, count): Answer => {
    if (path.endsWith(':streamEvents')) {
      return (response) =>
        response
          .writeHead(200)
          .end(
            states
              .map(
                (state, index) => `id: ${index + 1}\ndata: ${JSON.stringify({ sequence: index + 1, message: `now ${state}`, state })}\n\n`,
              )
              .join(''),
          );
    }
    if (path.endsWith(':listAttempts')) return { body: { attempts: [] } };
    // The first poll is cut: watching goes on.
    if (method === 'GET' && count === 1) return null;
    return { body: job(method === 'POST' ? 'CREATING' : states[Math.min(count - 2, states.length - 1)]!) };
  });
}

describe('watching a job', () => {
  test('to its success: the resource alone on stdout, the events beside it', async () => {
    server = await jobServer(['PENDING', 'RUNNING', 'COMPLETED']);
    const { code, stdout, stderr } = await temper([...CREATE, '--wait', '-o', 'json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'accounts/acme/fineTuningJobs/j', state: 'COMPLETED' });
    expect(stderr).toContain('now RUNNING');
    expect(JSON.parse(server.asked[0]!.body)).toEqual({
      dataset: 'accounts/acme/datasets/d',
      baseModel: 'accounts/temper/models/temper-tiny',
      conversation: {},
      jobId: 'j',
    });
  });

  test('to its failure: exit code 1 and the reason', async () => {
    server = await jobServer(['RUNNING', 'FAILED']);
    const { code, stderr } = await temper([...CREATE, '--wait']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('Error: the job did not complete: loss is not finite')]);
  });

  test('Ctrl-C ends the watching, not the job', async () => {
    server = await jobServer(['RUNNING']);
    const { code, stderr } = await temper([...CREATE, '--wait'], (text, kill) => text.includes('now RUNNING') && kill('SIGINT'));
    expect(code).toBe(130);
    expect(stderr).toContain('temper cancel fine-tuning-job j');
    expect(server.asked.some(({ path }) => path.endsWith(':cancel'))).toBe(false);
  });
});

describe('a job like another', () => {
  test('takes its settings, under those of the flags', async () => {
    server = await startServer(({ method }) => ({
      body:
        method === 'GET'
          ? {
              name: 'accounts/acme/fineTuningJobs/old',
              dataset: 'accounts/acme/datasets/d',
              baseModel: 'accounts/temper/models/temper-tiny',
              textClassification: { text: 'text', label: 'intent' },
              epochs: 3,
              learningRate: 0.001,
              evaluation: true,
              evaluationSplit: 0.15,
              modelId: 'old-model',
            }
          : {},
    }));
    const { stdout } = await temper(['create', 'fine-tuning-job', '--source-job', 'old', '--epochs', '1', '--dry-run', '-o', 'json']);
    const plan = JSON.parse(stdout) as { body: unknown; origins: Record<string, string> };
    expect(plan.body).toEqual({
      dataset: 'accounts/acme/datasets/d',
      baseModel: 'accounts/temper/models/temper-tiny',
      textClassification: { text: 'text', label: 'intent' },
      epochs: 1,
      learningRate: 0.001,
      evaluation: true,
      evaluationSplit: 0.15,
    });
    expect([plan.origins['epochs'], plan.origins['learningRate']]).toEqual(['--epochs', 'job old']);
  });
});

describe('completion', () => {
  test('of verbs, nouns, options, their choices, and names', async () => {
    server = await startServer(() => ({
      body: { datasets: [{ name: 'accounts/acme/datasets/intents' }, { name: 'accounts/acme/datasets/rows' }] },
    }));
    const complete = async (...words: string[]) => (await temper(['complete', '--', ...words])).stdout.split('\n').filter(Boolean);
    expect(await complete('can')).toEqual(['cancel']);
    expect(await complete('delete', 'data')).toEqual(['dataset']);
    expect(await complete('create', 'fine-tuning-job', '--learn')).toEqual(['--learning-rate']);
    expect(await complete('list', 'datasets', '-o', 'j')).toEqual(['json']);
    expect(await complete('get', 'dataset', 'in')).toEqual(['intents']);
    expect((await temper(['completion', 'bash'])).stdout).toContain('complete -F _temper temper');
  });
});

describe('the program', () => {
  test('both orders of words, and --quiet', async () => {
    server = await startServer(() => ({
      body: { fineTuningJobs: [{ name: 'accounts/acme/fineTuningJobs/j', state: 'RUNNING' }], nextPageToken: '', totalSize: 1 },
    }));
    expect((await temper(['list', 'fine-tuning-jobs', '--filter', 'state = "RUNNING"', '--page-size', '3'])).stdout).toMatch(
      /^ID .*\nj +RUNNING/,
    );
    expect((await temper(['sftj', 'list', '--quiet'])).stdout).toBe('j\n');
    expect(server.asked.map(({ path }) => path)).toEqual([`${JOB_PATH}?pageSize=3&filter=state+%3D+%22RUNNING%22`, JOB_PATH]);
  });

  test('wrong usage is exit code 2, before any request', async () => {
    server = await startServer(() => ({}));
    writeFileSync(join(folder, 'settings.yaml'), 'dataset: d\nepoch: 2\n');
    expect(await temper(['create', 'fine-tuning-job', '--settings-file', 'settings.yaml'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'Error: settings.yaml:2:1: unknown key "epoch": did you mean "epochs"?\n',
    });
    const wrong = [
      ['get', 'dataset'],
      ['get', 'dataset', '../x'],
      [...CREATE, '--epochs', 'two'],
    ];
    const codes = await Promise.all(wrong.map(async (args) => (await temper(args)).code));
    expect(codes).toEqual(wrong.map(() => 2));
    expect(server.asked).toEqual([]);
  });

  test('--dry-run prints the request with the source of each value, hides keys, and sends nothing', async () => {
    server = await startServer(() => ({}));
    const { code, stdout } = await temper([...CREATE, '--wandb-api-key', 'w-secret', '--dry-run']);
    expect([code, server.asked]).toEqual([0, []]);
    expect(stdout).toMatch(/dataset +"accounts\/acme\/datasets\/d" +--dataset, as its full name/);
    expect(stdout).not.toContain('w-secret');
  });

  test('validates without a server', async () => {
    server = undefined;
    writeFileSync(join(folder, 'rows.jsonl'), '{"text": "a", "label": "b"}\n{"text": 1}\n{oops\n');
    const { code, stdout } = await temper(['validate', 'rows.jsonl']);
    expect([code, stdout]).toEqual([1, expect.stringContaining('line 3')]);
  });
});

describe('downloading a model', () => {
  const weights = Buffer.alloc(300_000, 'w');
  const sha256 = createHash('sha256').update(weights).digest('hex');

  function modelServer(content: Buffer) {
    return startServer(({ path, headers }, count): Answer => {
      if (path.endsWith(':getDownloadEndpoint'))
        return {
          body: {
            filenameToSignedUrls: {
              'adapter_model.safetensors': `${server!.apiUrl}/bucket/weights`,
              'adapter_config.json': `${server!.apiUrl}/bucket/config`,
            },
          },
        };
      if (path.includes('/models/'))
        return { body: { files: [{ name: 'adapter_model.safetensors', sizeBytes: String(weights.length), sha256 }] } };
      if (path === '/bucket/config') return { body: '{}' };
      const from = Number(/bytes=(\d+)-/.exec(headers.range ?? '')?.[1] ?? 0);
      return (response) => {
        response.writeHead(from > 0 ? 206 : 200, { 'content-length': content.length - from });
        if (count === 1) response.write(content.subarray(0, 100_000), () => setTimeout(() => response.destroy(), 50));
        else response.end(content.subarray(from));
      };
    });
  }

  test('goes on after a lost connection where it stopped, and checks what came', async () => {
    server = await modelServer(weights);
    const { code, stdout } = await temper(['download', 'model', 'm', 'good']);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/adapter_model\.safetensors {2}300 KB {2}SHA-256 checked/)]);
    expect(readFileSync(join(folder, 'good/adapter_model.safetensors')).equals(weights)).toBe(true);
    // What had come when the connection was lost: up to 100,000 bytes.
    const ranges = server.asked.filter(({ path }) => path === '/bucket/weights').map(({ headers }) => headers.range);
    expect(ranges).toEqual([undefined, expect.stringMatching(/^bytes=(100000|[1-9]\d{3,4})-$/)]);
  });

  test('a file that is not the one of the model never gets its name', async () => {
    server = await modelServer(Buffer.alloc(weights.length, 'x'));
    const { code, stderr } = await temper(['download', 'model', 'm', 'bad']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('does not have the SHA-256 that it was stored with')]);
    expect(() => readFileSync(join(folder, 'bad/adapter_model.safetensors'))).toThrow('ENOENT');
  });
});
