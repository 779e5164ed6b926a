/**
 * `npm test`: all the set-up, then every check and test there is. The last line sums them up: `N passed, N failed[, N skipped]`,
 * after the names of what failed.
 * Type checks, lint and layer check count as one test each; so does a suite that cannot start, as failed.
 * With arguments, only the TypeScript tests that match them run: `npm test -- validate`.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { readJson } from './jsonFile.js';
import { prepare } from './prepare.js';
import { rootFolder } from './stack.js';

interface Result {
  passed: number;
  /** Names of what failed. */
  failed: string[];
  skipped: number;
}

const filters = process.argv.slice(2);
const reports = mkdtempSync(join(tmpdir(), 'temper-reports-'));
process.on('exit', () => rmSync(reports, { recursive: true, force: true }));

try {
  const { python } = await prepare((line) => console.log(line));
  const total: Result = { passed: 0, failed: [], skipped: 0 };
  const add = ({ passed, failed, skipped }: Result) => {
    total.passed += passed;
    total.failed.push(...failed);
    total.skipped += skipped;
  };
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
  process.exitCode = total.failed.length === 0 && total.passed > 0 ? 0 : 1;
  for (const name of total.failed) console.log(`FAILED ${name}`);
  console.log(`\n${total.passed} passed, ${total.failed.length} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
} catch (error) {
  console.error(`The set-up failed: ${(error as Error).message}`);
  process.exitCode = 1;
  console.log('FAILED set-up\n\n0 passed, 1 failed');
}

/** A tool that is right or wrong as a whole. */
async function runCheck(title: string, tool: string, args: string[]): Promise<Result> {
  const exitCode = await run(title, npmTool(tool), args);
  return exitCode === 0 ? { passed: 1, failed: [], skipped: 0 } : { passed: 0, failed: [title], skipped: 0 };
}

async function runVitest(title: string, selection: string[], options: { live?: boolean } = {}): Promise<Result> {
  const report = join(reports, `${title.replaceAll(' ', '-')}.json`);
  const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...selection];
  const exitCode = await run(title, npmTool('vitest'), args, options);
  const result = readJson<VitestReport>(report);
  if (!result) return { passed: 0, failed: [title], skipped: 0 };
  const failed = result.testResults.flatMap((file) => {
    const path = relative(rootFolder, file.name);
    const tests = file.assertionResults.filter(({ status }) => status === 'failed').map(({ fullName }) => `${path} > ${fullName}`);
    // A file that does not load has no tests that could fail.
    return file.status === 'failed' && tests.length === 0 ? [path] : tests;
  });
  return withExitCode(title, exitCode, { passed: result.numPassedTests, failed, skipped: result.numPendingTests + result.numTodoTests });
}

interface VitestReport {
  numPassedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: { name: string; status: string; assertionResults: { status: string; fullName: string }[] }[];
}

async function runPytest(python: string): Promise<Result> {
  const title = 'Python tests';
  const report = join(reports, 'pytest.xml');
  const exitCode = await run(title, python, ['-m', 'pytest', '-q', `--junitxml=${report}`], { cwd: join(rootFolder, 'trainer') });
  const xml = existsSync(report) ? readFileSync(report, 'utf8') : '';
  const suite = /<testsuite [^>]*>/.exec(xml)?.[0];
  if (!suite) return { passed: 0, failed: [title], skipped: 0 };
  const count = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = [
    ...xml.matchAll(/<testcase classname="([^"]*)" name="([^"]*)"[^>]*>(?:<properties>.*?<\/properties>)?<(?:failure|error)\b/gs),
  ].map(([, file, test]) => `${file} > ${test}`);
  const passed = count('tests') - count('failures') - count('errors') - count('skipped');
  return withExitCode(title, exitCode, { passed, failed, skipped: count('skipped') });
}

/** An error outside any test (a crash, an unhandled rejection, nothing collected) shows in the exit code alone. */
function withExitCode(title: string, exitCode: number, result: Result): Result {
  return exitCode !== 0 && result.failed.length === 0 ? { ...result, failed: [title] } : result;
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
