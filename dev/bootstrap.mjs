/**
 * The door to every command: `node dev/bootstrap.mjs NAME [ARGS]` runs dev/NAME.ts.
 *
 * Plain Node without dependencies, because on a fresh clone there are none yet: it checks Node, installs what package-lock.json
 * says when node_modules holds something else, and goes on in this same process, so that signals and exit codes need no forwarding.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const rootFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const [name, ...args] = process.argv.slice(2);

checkNode();
if (!name || !/^[a-zA-Z]+$/.test(name)) fail('usage: node dev/bootstrap.mjs NAME [ARGS], where dev/NAME.ts is the command');
stopWithNpm();
if (!isInstalled()) await install();

// Ten lines on every start of every process, about a Node version that the SDK supports until 2027.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

const entry = join(rootFolder, 'dev', `${name}.ts`);
process.argv = [process.argv[0], entry, ...args];
const { register } = await import('tsx/esm/api');
register();
await import(pathToFileURL(entry).href);

/** 20.6 is the first release in which TypeScript can be loaded by a hook (module.register). */
function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 6)) {
    fail(`Temper needs Node 20.6 or newer; this is ${process.versions.node} (${process.execPath}). See https://nodejs.org/en/download`);
  }
}

/** npm writes what it installed to node_modules/.package-lock.json, last of all: an interrupted or older install differs from the lock file. */
function isInstalled() {
  const wanted = readPackages(join(rootFolder, 'package-lock.json'));
  const installed = readPackages(join(rootFolder, 'node_modules', '.package-lock.json'));
  if (!wanted) fail('package-lock.json is missing or not JSON; restore it with `git checkout package-lock.json`');
  if (!installed) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true;
    const found = installed[path];
    // Packages for other platforms are in the lock file, but not on the disk.
    return found ? found.version === entry.version : entry.optional === true;
  });
}

function readPackages(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

async function install() {
  console.log('Installing the Node packages of package-lock.json (npm ci, usually under a minute)…');
  const startedMs = Date.now();
  // Under `npm run` the npm in use is named by npm itself; NODE_ENV=production must not drop tsx and the tests' packages.
  const npmScript = process.env.npm_execpath?.endsWith('.js') ? process.env.npm_execpath : undefined;
  const npmArgs = ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  const child = npmScript
    ? spawn(process.execPath, [npmScript, ...npmArgs], { cwd: rootFolder, stdio: 'inherit' })
    : spawn('npm', npmArgs, { cwd: rootFolder, stdio: 'inherit' });
  const ticker = setInterval(() => console.log(`  … npm ci (${Math.round((Date.now() - startedMs) / 1000)} s)`), 15_000);
  const code = await new Promise((resolve) => {
    child.on('error', (error) => fail(`npm could not be started: ${error.message}. Is npm installed beside Node?`));
    child.on('exit', (exitCode) => resolve(exitCode ?? 1));
  });
  clearInterval(ticker);
  if (code !== 0)
    fail('npm ci failed (its output is above). Check the network and the registry (npm config get registry), then run this again.');
}

/** npm passes SIGINT and SIGTERM on, but when it is killed outright nobody tells us: whoever started `npm run` then expects an end. */
function stopWithNpm() {
  if (!process.env.npm_lifecycle_event) return;
  const parentPid = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parentPid) return;
    clearInterval(timer);
    process.kill(process.pid, 'SIGTERM');
  }, 1000);
  timer.unref();
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
