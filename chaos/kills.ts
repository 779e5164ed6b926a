/** Who is killed, and when: a schedule that its seed repeats, and `kill -9` of whatever process then has the role. */
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive } from '../activities/scratch.js';
import type { Random } from './random.js';
import type { Target } from './target.js';

export type Role = 'api' | 'temporal' | 's3' | 'database' | 'control' | 'data' | 'gpu' | 'trainer' | 'rendering';

/** Roles with their share: what holds a job's work more often than the servers, whose restart takes longer. */
const SHARES: Record<Role, number> = { api: 2, control: 2, data: 2, gpu: 2, trainer: 2, rendering: 2, temporal: 1, s3: 1, database: 1 };

export interface PlannedKill {
  afterMs: number;
  role: Role;
}

export interface DoneKill {
  role: Role;
  pid: number;
  atMs: number;
}

export function planKills(random: Random, count: number, everyMs: number): PlannedKill[] {
  const roles = (Object.entries(SHARES) as [Role, number][]).flatMap(([role, share]) => Array<Role>(share).fill(role));
  return Array.from({ length: count }, () => ({ afterMs: random.integer(everyMs / 2, everyMs * 1.5), role: random.pick(roles) }));
}

/** Trainers and rendering processes live for a moment only: after this long without one, the worker that would start it takes its turn. */
const WAIT_MS = 4_000;
const STARTED_BY: Partial<Record<Role, Role>> = { trainer: 'gpu', rendering: 'data' };

/**
 * Kills by the plan until it is done or `signal` ends it. A program that is on its way back is let come back first: on a slow machine the
 * schedule would else keep it from ever being there.
 * @param due  resolves when one more kill may fall, given how many have
 */
export async function killByPlan(
  target: Target,
  plan: PlannedKill[],
  due: (done: number) => Promise<void>,
  onKill: (kill: DoneKill) => void,
  signal: AbortSignal,
): Promise<void> {
  const startedMs = Date.now();
  for (const [done, { afterMs, role }] of plan.entries()) {
    await sleep(afterMs, undefined, { signal }).catch(() => undefined);
    await due(done);
    for (let killed = false; !killed;) {
      const found = await waitFor(target, role, signal);
      if (!found) return;
      killed = tryKill(found.pid);
      if (killed) onKill({ ...found, atMs: Date.now() - startedMs });
    }
  }
}

/** False when it ended by itself just now. */
function tryKill(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false;
  }
}

/** Undefined once `signal` has ended the wait. */
async function waitFor(target: Target, role: Role, signal: AbortSignal): Promise<{ role: Role; pid: number } | undefined> {
  for (const deadline = Date.now() + WAIT_MS; !signal.aborted;) {
    const present = Date.now() < deadline ? role : (STARTED_BY[role] ?? role);
    const pid = pidsOf(target, present).at(0);
    if (pid !== undefined && (await isReady(target, present))) return { role: present, pid };
    await sleep(50);
  }
  return undefined;
}

/** What our own programs say of themselves; the servers are there at once. */
async function isReady(target: Target, role: Role): Promise<boolean> {
  const url = (target.dev().metricsUrls as Partial<Record<Role, string>>)[role];
  if (!url) return true;
  const reply = await fetch(new URL('/readyz', url), { signal: AbortSignal.timeout(2_000) }).catch(() => null);
  return reply?.status === 200;
}

/** The processes that have a role now. */
export function pidsOf(target: Target, role: Role): number[] {
  const { pids } = target.dev();
  const [control, data, gpu] = pids.workers;
  const servers: Partial<Record<Role, number | undefined>> = { ...pids, control, data, gpu };
  if (role === 'trainer') return listTrainers(target.home);
  if (role === 'rendering') return childrenOf(data);
  const pid = servers[role];
  return pid !== undefined && isAlive(pid) ? [pid] : [];
}

/** The trainers of a stack, whoever their parent is by now. */
export function listTrainers(home: string): number[] {
  return listProcesses()
    .filter(({ command }) => command.includes('temper_trainer') && command.includes(home))
    .map(({ pid }) => pid);
}

function childrenOf(parent: number | undefined): number[] {
  return listProcesses()
    .filter(({ parentPid }) => parentPid === parent)
    .map(({ pid }) => pid);
}

function listProcesses(): { pid: number; parentPid: number; command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        const [state, parentPid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        if (state === 'Z') return [];
        return [
          { pid: Number(name), parentPid: Number(parentPid), command: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ') },
        ];
      } catch {
        return []; // ended meanwhile
      }
    });
}
