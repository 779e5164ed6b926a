/**
 * One supervised process: started in a process group of its own, logged to a file, waited for until it is ready, started again when
 * it dies, stopped on request, and never left behind, however we end.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { lastLines } from './command.js';
import type { Progress } from './progress.js';

export interface ProcessSpec {
  /** Names the log file, too. */
  name: string;
  command: string;
  args: string[];
  env: NodeJS.ProcessEnv;
  cwd?: string;
  /** Run as this user. Only root may ask for another than itself. */
  user?: { uid: number; gid: number };
  /** 'message': the process sends `{ ready: true }` over its IPC channel. A function: asked again until it no longer rejects. */
  ready: 'message' | (() => Promise<unknown>);
  readyTimeoutMs: number;
  stopSignal: NodeJS.Signals;
  /** From the stop signal to SIGKILL. */
  stopGraceMs: number;
}

export interface SupervisorContext {
  logsFolder: string;
  progress: Progress;
  /** Called right after each start, before the process is ready. */
  onSpawn(pid: number): void;
  /** Called when the process was started again and is ready. */
  onRestart(): void;
}

const firstStartAttempts = 3;
const pollMs = 100;
const firstBackoffMs = 100;
const maxBackoffMs = 10_000;
/** Up for this long, and the next death is treated as the first. */
const steadyMs = 30_000;
const maxLogBytes = 20 * 1024 * 1024;

/** Resolves when the process is ready; rejects, quoting its log, when it is not by its deadline or dies three times before. */
export async function supervise(spec: ProcessSpec, context: SupervisorContext): Promise<SupervisedProcess> {
  const supervised = new SupervisedProcess(spec, context);
  await supervised.start();
  return supervised;
}

export class SupervisedProcess {
  readonly name: string;
  restarts = 0;
  private child: ChildProcess | undefined;
  private exited: Promise<string> = Promise.resolve('not started');
  private readyAtMs = 0;
  private stopping = false;
  private readonly stopRequested = new AbortController();

  constructor(
    private readonly spec: ProcessSpec,
    private readonly context: SupervisorContext,
  ) {
    this.name = spec.name;
  }

  /** The process's pid, or the last one while a dead process waits for its next start. */
  get pid(): number {
    return this.child?.pid ?? 0;
  }

  kill(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  async start(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.launch();
        break;
      } catch (error) {
        if (attempt === firstStartAttempts || this.stopping || (error as LaunchError).timedOut) throw error;
        await this.pause(attempt);
      }
    }
    void this.keepRunning();
  }

  /** Sends the stop signal, then SIGKILL after the grace; resolves when the process is gone. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.stopRequested.abort();
    if (!this.child) return;
    this.child.kill(this.spec.stopSignal);
    const gone = await Promise.race([this.exited, sleep(this.spec.stopGraceMs, undefined, { ref: false })]);
    if (gone === undefined) {
      this.context.progress(`${this.name} did not stop within ${this.spec.stopGraceMs / 1000} s: killing it`);
      killGroup(this.pid);
      await this.exited;
    }
    killGroup(this.pid);
    liveGroups.delete(this.pid);
  }

  private async keepRunning(): Promise<void> {
    let failures = 0;
    for (;;) {
      const cause = await this.exited;
      if (this.stopping) return;
      if (Date.now() - this.readyAtMs > steadyMs) failures = 0;
      this.context.progress(`${this.name} (pid ${this.pid}) ended: ${cause}; starting it again`);
      for (;;) {
        await this.pause(++failures);
        if (this.stopping) return;
        try {
          await this.launch();
          break;
        } catch (error) {
          if (!this.stopping) this.context.progress((error as Error).message);
        }
      }
      if (this.stopping) return;
      this.restarts++;
      this.context.progress(`${this.name} is back (pid ${this.pid})`);
      this.context.onRestart();
    }
  }

  /** One start: spawns and waits until ready, dead or late. Whatever is left of it after a failure is killed. */
  private async launch(): Promise<void> {
    const { spec, context } = this;
    killGroup(this.pid); // what a dead process left of its group would hold its ports and files
    const logPath = join(context.logsFolder, `${spec.name}.log`);
    const logFd = openLog(logPath);
    const logStart = fstatSync(logFd).size;
    const [command, args] = withParentDeathSignal(spec);
    const child = spawn(command, args, {
      cwd: spec.cwd,
      env: spec.env,
      detached: true, // a group of its own: Ctrl-C in the terminal reaches us alone, and we stop things in order
      stdio: ['ignore', logFd, logFd, ...(spec.ready === 'message' ? ['ipc' as const] : [])],
      ...(canSetParentDeathSignal ? {} : spec.user),
    });
    closeSync(logFd);
    this.child = child;
    this.exited = new Promise((resolve) => {
      child.on('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    if (child.pid) {
      liveGroups.add(child.pid);
      context.onSpawn(child.pid);
    }
    void this.exited.then(() => liveGroups.delete(child.pid!));

    const giveUp = new AbortController();
    const outcome = await Promise.race([
      waitUntilReady(spec, child, giveUp.signal).then(() => 'ready' as const),
      this.exited.then((cause) => ({ cause })),
      sleep(spec.readyTimeoutMs, 'late' as const, { signal: giveUp.signal }).catch(() => 'late' as const),
    ]);
    giveUp.abort();
    if (outcome === 'ready') {
      this.readyAtMs = Date.now();
      return;
    }
    killGroup(this.pid);
    await this.exited;
    const what =
      outcome === 'late' ? `was not ready within ${spec.readyTimeoutMs / 1000} s` : `ended before it was ready: ${outcome.cause}`;
    throw new LaunchError(`${spec.name} ${what}. The end of ${logPath}:\n${readEnd(logPath, logStart)}`, outcome === 'late');
  }

  /** Exponential back-off, cut short by stop(). */
  private async pause(failures: number): Promise<void> {
    const backoffMs = Math.min(maxBackoffMs, firstBackoffMs * 2 ** (failures - 1));
    await sleep(backoffMs, undefined, { signal: this.stopRequested.signal }).catch(() => undefined);
  }
}

class LaunchError extends Error {
  constructor(
    message: string,
    readonly timedOut: boolean,
  ) {
    super(message);
  }
}

async function waitUntilReady(spec: ProcessSpec, child: ChildProcess, signal: AbortSignal): Promise<void> {
  if (spec.ready === 'message') {
    await new Promise<void>((resolve) => {
      child.on('message', (message) => {
        if ((message as { ready?: boolean } | null)?.ready === true) resolve();
      });
    });
    return;
  }
  while (!signal.aborted) {
    try {
      await spec.ready();
      return;
    } catch {
      await sleep(pollMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

/**
 * Where util-linux's setpriv exists (any Linux but the smallest images), the kernel kills the process the moment we die, even by
 * SIGKILL. It also changes the user, because a change of user after the request would cancel it.
 */
const canSetParentDeathSignal = process.platform === 'linux' && spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true']).status === 0;

function withParentDeathSignal(spec: ProcessSpec): [string, string[]] {
  if (!canSetParentDeathSignal) return [spec.command, spec.args];
  const user = spec.user ? ['--reuid', String(spec.user.uid), '--regid', String(spec.user.gid), '--clear-groups'] : [];
  return ['setpriv', [...user, '--pdeathsig', 'KILL', '--', spec.command, ...spec.args]];
}

/** The groups to end when this process ends without having stopped them, say by an exception nobody caught. */
const liveGroups = new Set<number>();
process.on('exit', () => liveGroups.forEach(killGroup));

function killGroup(pid: number): void {
  if (pid <= 1) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // nobody left in it
  }
}

function openLog(path: string): number {
  mkdirSync(join(path, '..'), { recursive: true });
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > maxLogBytes) renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}

function readEnd(path: string, fromByte: number): string {
  return lastLines(readFileSync(path).subarray(fromByte).toString('utf8'), 20) || '(nothing was logged)';
}
