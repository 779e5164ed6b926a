/**
 * A reporter's child process that speaks JSON lines: dies with this worker, is deaf and mute otherwise, and is killed with all it
 * started. It leaves the processor to a trainer of the same machine.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { createInterface } from 'node:readline';

export interface Child {
  tell(message: object): void;
  /** The next thing that it says; null once it has ended. */
  next(): Promise<Record<string, unknown> | null>;
  /** It and its own children are gone when this returns. */
  kill(): Promise<void>;
}

/** Nothing of ours but what every program needs: no address and no key of anything. */
const PASSED = [
  'PATH',
  'LANG',
  'LC_ALL',
  'TMPDIR',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'REQUESTS_CA_BUNDLE',
];

let setpriv: boolean | undefined;

export function startChild(command: string[], environment: Record<string, string>): Child {
  setpriv ??= spawnSync('setpriv', ['--version'], { stdio: 'ignore' }).status === 0;
  const [program, ...args] = [...(setpriv ? ['setpriv', '--pdeathsig', 'KILL'] : []), ...command];
  const passed = Object.fromEntries(PASSED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])));
  // A group of its own: the client starts a process that would outlive it.
  const child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'ignore'], env: { ...passed, ...environment }, detached: true });
  if (child.pid) lowerPriority(child.pid);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()).once('error', () => resolve()));
  child.stdin.on('error', () => {}); // it has ended: `next` says so
  const heard: (Record<string, unknown> | null)[] = [];
  let wake: (() => void) | null = null;
  const hear = (message: Record<string, unknown> | null) => (heard.push(message), wake?.());
  createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', (line) => {
    try {
      hear(JSON.parse(line) as Record<string, unknown>);
    } catch {
      // Not ours.
    }
  });
  void ended.then(() => hear(null));
  return {
    tell: (message) => void child.stdin.write(`${JSON.stringify(message)}\n`),
    async next() {
      while (heard.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      return heard[0] === null ? null : heard.shift()!;
    },
    async kill() {
      killGroup(child);
      await ended;
    },
  };
}

function lowerPriority(pid: number): void {
  const nice = constants.priority.PRIORITY_BELOW_NORMAL;
  try {
    setPriority(pid, nice);
    // Linux may weigh sessions before it weighs what runs in them (sched_autogroup), and the child has one of its own.
    writeFileSync(`/proc/${pid}/autogroup`, String(nice));
  } catch {
    // It has ended, or this system has no such thing.
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid) process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it is gone.
  }
}
