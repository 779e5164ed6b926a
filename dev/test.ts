/**
 * `npm test`: all the set-up, then every check and test there is. The last line sums them up: `N passed, N failed[, N skipped]`.
 * Type checks, lint and layer check count as one test each; so does a suite that cannot start, as failed.
 * With arguments, only the TypeScript tests that match them run: `npm test -- validate`.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readJson } from './jsonFile.js';
import { prepare } from './prepare.js';
import { rootFolder } from './stack.js';

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const filters = process.argv.slice(2);
const reports = mkdtempSync(join(tmpdir(), 'temper-reports-'));
process.on('exit', () => rmSync(reports, { recursive: true, force: true }));

try {
  const { python } = await prepare((line) => console.log(line));
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  const add = (counts: Counts) => (Object.keys(total) as (keyof Counts)[]).forEach((key) => (total[key] += counts[key]));
  // Two lanes, one a processor: tests against the running stack show as they run, all the rest each when it is over.
  const withoutStack = async () => {
    add(await runCheck('types', 'tsc', ['-p', '.', '--noEmit']));
    add(await runCheck('types of the workflows, without Node', 'tsc', ['-p', 'workflows', '--noEmit']));
    add(await runCheck('lint', 'eslint', ['--max-warnings=0', '.']));
    add(await runCheck('format', 'prettier', ['--check', '--log-level', 'warn', '**/*.{ts,js,mjs,cjs}']));
    add(await runCheck('layers', 'depcruise', ['--config', '.dependency-cruiser.cjs', ...existingFolders()]));
    add(await runVitest('unit tests', ['--project', 'unit']));
    add(await runPytest(python));
  };
  const withStack = async () => add(await runVitest('tests against the running stack', ['--project', 'stack'], { live: true }));
  if (filters.length > 0) add(await runVitest('tests', filters, { live: true }));
  else await Promise.all([withoutStack(), withStack()]);
  process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
  console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
} catch (error) {
  console.error(`The set-up failed: ${(error as Error).message}`);
  process.exitCode = 1;
  console.log('\n0 passed, 1 failed');
}

/** A tool that is right or wrong as a whole. */
async function runCheck(title: string, tool: string, args: string[]): Promise<Counts> {
  const exitCode = await run(title, npmTool(tool), args);
  return { passed: exitCode === 0 ? 1 : 0, failed: exitCode === 0 ? 0 : 1, skipped: 0 };
}

async function runVitest(title: string, selection: string[], options: { live?: boolean } = {}): Promise<Counts> {
  const report = join(reports, `${title.replaceAll(' ', '-')}.json`);
  const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...selection];
  const exitCode = await run(title, npmTool('vitest'), args, options);
  const result = readJson<VitestReport>(report);
  if (!result) return { passed: 0, failed: 1, skipped: 0 };
  // A file that does not load has no tests that could fail.
  const broken = result.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((assertion) => assertion.status === 'failed'),
  );
  return withExitCode(exitCode, {
    passed: result.numPassedTests,
    failed: result.numFailedTests + broken.length,
    skipped: result.numPendingTests + result.numTodoTests,
  });
}

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: { status: string; assertionResults: { status: string }[] }[];
}

async function runPytest(python: string): Promise<Counts> {
  const report = join(reports, 'pytest.xml');
  const exitCode = await run('Python tests', python, ['-m', 'pytest', '-q', `--junitxml=${report}`], { cwd: join(rootFolder, 'trainer') });
  const suite = existsSync(report) ? /<testsuite [^>]*>/.exec(readFileSync(report, 'utf8'))?.[0] : undefined;
  if (!suite) return { passed: 0, failed: 1, skipped: 0 };
  const count = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = count('failures') + count('errors');
  return withExitCode(exitCode, { passed: count('tests') - failed - count('skipped'), failed, skipped: count('skipped') });
}

/** An error outside any test (a crash, an unhandled rejection, nothing collected) shows in the exit code alone. */
function withExitCode(exitCode: number, counts: Counts): Counts {
  return exitCode !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

async function run(title: string, command: string, args: string[], { cwd = rootFolder, live = false } = {}): Promise<number> {
  const startedMs = Date.now();
  console.log(`── ${title}…`);
  const child = spawn(command, args, { cwd, stdio: live ? 'inherit' : ['ignore', 'pipe', 'pipe'] });
  const said: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => said.push(chunk));
  const stop = (signal: NodeJS.Signals) => child.kill(signal);
  process.on('SIGTERM', stop).on('SIGINT', stop);
  const exitCode = await new Promise<number>((resolve) => {
    child.on('error', (error) => {
      console.error(error.message);
      resolve(1);
    });
    child.on('close', (code, signal) => {
      if (signal) console.error(`ended by ${signal}`);
      resolve(code ?? 1);
    });
  });
  process.off('SIGTERM', stop).off('SIGINT', stop);
  const verdict = `── ${title}: ${exitCode === 0 ? 'ok' : `exit code ${exitCode}`} (${((Date.now() - startedMs) / 1000).toFixed(1)} s)`;
  console.log(`${Buffer.concat(said).toString()}${verdict}\n`);
  return exitCode;
}

function npmTool(name: string): string {
  return join(rootFolder, 'node_modules', '.bin', name);
}

function existingFolders(): string[] {
  const folders = [
    'schemas',
    'workflows',
    'activities',
    'workers',
    'stores',
    'jobs',
    'trackers',
    'webhooks',
    'api',
    'cli',
    'datasets',
    'models',
    'templates',
    'tokens',
    'estimates',
    'preview',
    'processes',
    'telemetry',
    'dev',
    'chaos',
  ];
  return folders.filter((folder) => existsSync(join(rootFolder, folder)));
}
