/** The Python environments of the trainer and of the reporter, exactly as their uv.lock says, in .venv of their folders. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder, findOnPath, waitForLock } from './binaries.js';
import { runCommand } from './command.js';
import { announce, type Progress } from './progress.js';
import { rootFolder } from './stack.js';

const uvVersion = '0.13.9';

/** The trainer's interpreter. TEMPER_PYTHON is used as it is; else the environment is made, or brought to what the lock file says. */
export async function ensurePython(progress: Progress): Promise<string> {
  const task = 'Making the Python environment of the trainer (once; PyTorch is a download of two to three GB)';
  return process.env.TEMPER_PYTHON || ensureEnvironment(join(rootFolder, 'trainer'), task, progress, 'temper_trainer.train');
}

/** The same for the clients of trackers, which have an environment of their own: the trainer's packages must not depend on theirs. */
export async function ensureReporterPython(progress: Progress): Promise<string> {
  const task = 'Making the Python environment of the reporter (once; about 30 MB)';
  return process.env.TEMPER_REPORTER_PYTHON || ensureEnvironment(join(rootFolder, 'reporter'), task, progress);
}

/** `warmed`: a module that is imported once, or the first job would wait while Python compiles thousands of files. */
async function ensureEnvironment(project: string, task: string, progress: Progress, warmed?: string): Promise<string> {
  const environment = join(project, '.venv');
  const python = join(environment, 'bin', 'python');
  const stampPath = join(environment, 'temper-stamp');
  const stamp = hashFiles([join(project, 'uv.lock'), join(project, 'pyproject.toml')]);
  const isCurrent = () => existsSync(python) && existsSync(stampPath) && readFileSync(stampPath, 'utf8') === stamp;
  if (isCurrent()) return python;

  const uv = await ensureUv(progress);
  mkdirSync(cacheFolder(), { recursive: true });
  const lock = await waitForLock(join(cacheFolder(), 'python.lock'), 'another run is making a Python environment', progress);
  try {
    if (isCurrent()) return python;
    const version = await runCommand('python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])']).catch(() => undefined);
    await announce(progress, task, async () => {
      await runCommand(uv, ['sync', '--locked', '--no-progress'], {
        cwd: project,
        // The Python on the PATH where it will do; uv looks for another, or fetches one, where it will not.
        env: {
          ...process.env,
          ...(isRecent(version) ? { UV_PYTHON: 'python3' } : {}),
          VIRTUAL_ENV: undefined,
          UV_PROJECT_ENVIRONMENT: environment,
        },
      });
      if (warmed) await runCommand(python, ['-c', `import ${warmed}`], { env: { ...process.env, PYTHONDONTWRITEBYTECODE: undefined } });
    });
    writeFileSync(stampPath, stamp);
    return python;
  } finally {
    lock.release();
  }
}

function isRecent(version: string | undefined): boolean {
  const [major, minor] = (version ?? '0.0').split('.').map(Number);
  return major === 3 && minor! >= 11;
}

/** uv from the PATH, or from our cache, where pip puts it. */
export async function ensureUv(progress: Progress): Promise<string> {
  const onPath = findOnPath('uv');
  if (
    onPath &&
    (await runCommand(onPath, ['--version'], { timeoutMs: 10_000 }).then(
      () => true,
      () => false,
    ))
  )
    return onPath;
  const folder = join(cacheFolder(), `uv-${uvVersion}`);
  const uv = join(folder, 'bin', 'uv');
  if (existsSync(uv)) return uv;
  mkdirSync(cacheFolder(), { recursive: true });
  const lock = await waitForLock(`${folder}.lock`, 'another run is installing uv', progress);
  try {
    if (existsSync(uv)) return uv;
    await announce(progress, `Installing uv ${uvVersion}`, () => installUv(folder));
    return uv;
  } finally {
    lock.release();
  }
}

/** pip is there with or without the venv module, and the other way round, as distributions split them: either will do. */
async function installUv(folder: string): Promise<void> {
  const draft = mkdtempSync(`${folder}-`);
  const requirement = `uv==${uvVersion}`;
  try {
    await runCommand('python3', ['-m', 'pip', 'install', '--quiet', '--target', draft, requirement]).catch(async (pipError: Error) => {
      const environment = join(draft, 'venv');
      await runCommand('python3', ['-m', 'venv', environment]).catch((venvError: Error) => {
        throw new Error(
          `uv, which makes the Python environments, is missing, and could not be installed.\n${pipError.message}\n${venvError.message}\n` +
            'Install Python 3.11 or newer with pip or venv (Debian: apt-get install python3-venv), or uv itself (https://docs.astral.sh/uv).',
        );
      });
      await runCommand(join(environment, 'bin', 'pip'), ['install', '--quiet', '--target', draft, requirement]);
      rmSync(environment, { recursive: true });
    });
    rmSync(folder, { recursive: true, force: true });
    renameSync(draft, folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

function hashFiles(paths: string[]): string {
  const hash = createHash('sha256');
  for (const path of paths) hash.update(readFileSync(path)).update('\0');
  return hash.digest('hex');
}
