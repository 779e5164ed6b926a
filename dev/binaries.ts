/**
 * The two servers that are Go programs: found on the PATH, or in our cache, or downloaded as the official release, or built with Go.
 * Made once for a user and kept in ${XDG_CACHE_HOME:-~/.cache}/temper/bin under a name that carries the version.
 */
import { createHash } from 'node:crypto';
import { accessSync, chmodSync, constants, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCommand } from './command.js';
import { takeLock } from './lock.js';
import { announce, type Progress } from './progress.js';

interface Release {
  url: string;
  /** Of the archive, in hex. From the release's own list of checksums. */
  sha256: string;
}

interface Binary {
  name: string;
  version: string;
  goPackage: string;
  /** By `${process.platform}-${process.arch}`. Archives are tar.gz with the program somewhere inside. */
  releases: Record<string, Release>;
  /** Whether a program of that name on the PATH can do what is needed. */
  isUsable(path: string): Promise<boolean>;
  /** How long a build took on two cores without any cache, for the person who waits. */
  buildTime: string;
}

/** v1.5.1 (server 1.29.1) is the newest that `go install` can build: later ones have replace directives in their go.mod. */
const temporal: Binary = {
  name: 'temporal',
  version: '1.5.1',
  goPackage: 'github.com/temporalio/cli/cmd/temporal',
  releases: {
    'linux-x64': temporalRelease('linux_amd64', 'ddc95e08b0b076efd4ea9733a3f488eb7d2be875f8834e616cd2a37358b4852d'),
    'linux-arm64': temporalRelease('linux_arm64', 'bd1b0db9f18b051026de8bf6cc1505f2510f14bbb7a8b9a4a91fff46c77454f5'),
    'darwin-x64': temporalRelease('darwin_amd64', 'bbb73e2a31135abe50a1f1cdb35030c42961df618e8ce9c60ae89f201540c5d9'),
    'darwin-arm64': temporalRelease('darwin_arm64', 'cca01b7ea35ad56e2a328d9ae596bf716bd22313ef63c7a761c88354457c2415'),
  },
  isUsable: async (path) => (await runCommand(path, ['server', 'start-dev', '--help'], { timeoutMs: 10_000 })).includes('--sqlite-pragma'),
  buildTime: 'about two minutes',
};

const versitygw: Binary = {
  name: 'versitygw',
  version: '1.8.0',
  goPackage: 'github.com/versity/versitygw/cmd/versitygw',
  releases: {
    'linux-x64': versitygwRelease('Linux_x86_64', '2ba2c734d10d2c4e651d03182cb4b246656bc735a2f282db7b0b73fba6073467'),
    'linux-arm64': versitygwRelease('Linux_arm64', 'b34051d33f5a9c457f790896acb7bd7d7e15ad8d92efb70616b924f37e401910'),
  },
  isUsable: async (path) => (await runCommand(path, ['posix', '--help'], { timeoutMs: 10_000 })).includes('--sidecar'),
  buildTime: 'about a minute',
};

export function ensureTemporal(progress: Progress): Promise<string> {
  return ensureBinary(temporal, progress);
}

export function ensureVersitygw(progress: Progress): Promise<string> {
  return ensureBinary(versitygw, progress);
}

export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'temper');
}

/** The path of a program, made if need be. Two runs at once make it once: the second waits for the first. */
async function ensureBinary(binary: Binary, progress: Progress): Promise<string> {
  const onPath = findOnPath(binary.name);
  if (onPath && (await binary.isUsable(onPath).catch(() => false))) return onPath;

  const folder = join(cacheFolder(), 'bin');
  const cached = join(folder, `${binary.name}-${binary.version}`);
  if (existsSync(cached)) return cached;
  makeFolder(folder);
  const lock = await waitForLock(`${cached}.lock`, `another run is making ${binary.name}`, progress);
  try {
    if (existsSync(cached)) return cached;
    const draftFolder = mkdtempSync(join(folder, `.${binary.name}-`));
    try {
      const release = binary.releases[`${process.platform}-${process.arch}`];
      const made =
        (release && (await download(release, binary.name, draftFolder, progress))) ?? (await build(binary, draftFolder, progress));
      chmodSync(made, 0o755);
      renameSync(made, cached);
    } finally {
      rmSync(draftFolder, { recursive: true, force: true });
    }
    return cached;
  } finally {
    lock.release();
  }
}

/** The program out of a release archive, or undefined when it cannot be had: no network, a proxy, another content than was pinned. */
export async function download(release: Release, name: string, folder: string, progress: Progress): Promise<string | undefined> {
  try {
    return await announce(progress, `Downloading ${release.url}`, async () => {
      const connecting = AbortSignal.timeout(10_000);
      const response = await fetch(release.url, { method: 'HEAD', signal: connecting });
      if (!response.ok) throw new Error(`HTTP status ${response.status}`);
      const body = await fetch(release.url, { signal: AbortSignal.timeout(180_000) });
      if (!body.ok) throw new Error(`HTTP status ${body.status}`);
      const archive = Buffer.from(await body.arrayBuffer());
      const sha256 = createHash('sha256').update(archive).digest('hex');
      if (sha256 !== release.sha256) throw new Error(`its SHA-256 is ${sha256}, not ${release.sha256}`);
      writeFileSync(join(folder, 'release.tar.gz'), archive);
      await runCommand('tar', ['-xzf', 'release.tar.gz'], { cwd: folder });
      const found = (await runCommand('find', [folder, '-type', 'f', '-name', name])).trim().split('\n')[0];
      if (!found) throw new Error(`the archive holds no ${name}`);
      return found;
    });
  } catch (error) {
    progress(`  The release of ${name} could not be downloaded (${causeOf(error)}); trying another way.`);
    return undefined;
  }
}

async function build(binary: Binary, folder: string, progress: Progress): Promise<string> {
  await checkGo(binary);
  await announce(progress, `Building ${binary.name} ${binary.version} with Go (once, ${binary.buildTime} on two cores)`, () =>
    runCommand('go', ['install', '-trimpath', '-ldflags=-s -w', `${binary.goPackage}@v${binary.version}`], {
      cwd: folder,
      env: goEnvironment(folder),
    }),
  );
  return join(folder, binary.name);
}

/**
 * Go's own caches are used where the user has them. Without a module cache, a build would leave a ~/go folder and 2 GB in the home
 * of somebody who may never use Go again: then modules and objects go beside the program and are removed with the rest.
 */
function goEnvironment(folder: string): NodeJS.ProcessEnv {
  const goPath = process.env.GOPATH || join(homedir(), 'go');
  const hasModules = existsSync(process.env.GOMODCACHE || join(goPath.split(delimiter)[0]!, 'pkg', 'mod'));
  return {
    ...process.env,
    // A program for this machine, whatever the user builds for otherwise.
    GOOS: undefined,
    GOARCH: undefined,
    GOFLAGS: undefined,
    GOBIN: folder,
    CGO_ENABLED: '0',
    GOTOOLCHAIN: 'local',
    ...(hasModules ? {} : { GOPATH: join(folder, 'go'), GOCACHE: join(folder, 'objects'), GOFLAGS: '-modcacherw' }),
  };
}

/** Both programs' go.mod ask for Go 1.25; without GOTOOLCHAIN=local an older Go would go and download a newer one by itself. */
async function checkGo(binary: Binary): Promise<void> {
  const advice = `Install Go 1.26 (https://go.dev/dl) or put \`${binary.name}\` on the PATH.`;
  const version = await runCommand('go', ['env', 'GOVERSION'], { env: { ...process.env, GOTOOLCHAIN: 'local' } }).catch(() => {
    throw new Error(`${binary.name} is neither on the PATH nor downloadable, and there is no Go to build it with. ${advice}`);
  });
  const minor = Number(/^go1\.(\d+)/.exec(version.trim())?.[1]);
  if (minor < 25) throw new Error(`${binary.name} ${binary.version} needs Go 1.25 or newer to build; this is ${version.trim()}. ${advice}`);
}

export async function waitForLock(path: string, reason: string, progress: Progress): Promise<{ release(): void }> {
  return await announce(progress, `Waiting: ${reason}`, async () => {
    for (;;) {
      const lock = await takeLock(path);
      if ('release' in lock) return lock;
      await sleep(500);
    }
  });
}

export function findOnPath(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw new Error(`The cache folder ${folder} cannot be written (${causeOf(error)}). Set XDG_CACHE_HOME to a folder that can.`);
  }
}

function temporalRelease(platform: string, sha256: string): Release {
  return { url: `https://github.com/temporalio/cli/releases/download/v1.5.1/temporal_cli_1.5.1_${platform}.tar.gz`, sha256 };
}

function versitygwRelease(platform: string, sha256: string): Release {
  return { url: `https://github.com/versity/versitygw/releases/download/v1.8.0/versitygw_v1.8.0_${platform}.tar.gz`, sha256 };
}

function causeOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? cause.message : message;
}
