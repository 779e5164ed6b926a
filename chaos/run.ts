/** A chaos run: jobs of all kinds while processes are killed by a schedule, then an audit of everything. The seed repeats both. */
import { setTimeout as sleep } from 'node:timers/promises';
import { auditRun, findLeftovers } from './audit.js';
import { driveJob, makeReferences, planJobs, type DrivenJob, type PlannedJob, type Profile } from './jobs.js';
import { killByPlan, planKills, type DoneKill, type Role } from './kills.js';
import { seededRandom } from './random.js';
import type { Target } from './target.js';

export interface ChaosPlan {
  seed: number;
  jobs: number;
  kills: number;
  /** Between two kills, in the mean. */
  killEveryMs: number;
  profiles: readonly Profile[];
  /** Begins every ID of the run. */
  prefix: string;
  /** No job begins after this, and no kill falls once those on their way have ended: what was done until then is audited. */
  maxSeconds?: number;
}

export interface ChaosReport {
  seed: number;
  jobs: DrivenJob[];
  kills: Partial<Record<Role, number>>;
  problems: string[];
  /** From the first job's creation to the last one's end. */
  seconds: number;
}

/** Jobs on their way at once. */
const JOBS_AT_ONCE = 4;

export async function runChaos(target: Target, plan: ChaosPlan, progress: (line: string) => void): Promise<ChaosReport> {
  const before = await findLeftovers(target);
  progress(`making ${plan.profiles.length} models undisturbed`);
  await makeReferences(target, plan.prefix, plan.profiles);

  const random = seededRandom(plan.seed);
  const planned = planJobs(random, plan.prefix, plan.jobs, plan.profiles);
  const kills = planKills(random, plan.kills, plan.killEveryMs);
  const done: DoneKill[] = [];
  const startedMs = Date.now();
  const end = new AbortController();
  const driven: DrivenJob[] = [];
  const late = () => Date.now() - startedMs > (plan.maxSeconds ?? Infinity) * 1000;
  // On a machine that is slow today the kills wait for the jobs, so that all jobs get their share and some get through.
  const due = async (killed: number): Promise<void> => {
    while (!end.signal.aborted && killed >= ((driven.length + JOBS_AT_ONCE) * plan.kills) / plan.jobs) await sleep(100);
  };
  const killing = killByPlan(target, kills, due, (kill) => void done.push(kill), end.signal);
  const ticker = setInterval(() => progress(`${done.length} kills, ${driven.length} of ${plan.jobs} jobs ended`), 60_000);
  try {
    await driveAll(target, plan, planned, { killed: () => done.length, late }, driven, progress);
    if (!late()) await killing; // what is left of the schedule falls on a stack at rest
  } finally {
    clearInterval(ticker);
    end.abort();
  }
  const seconds = (Date.now() - startedMs) / 1000;
  progress(`auditing ${driven.length} jobs after ${done.length} kills`);
  const problems = await auditRun(target, plan.prefix, driven, before);
  const counts: ChaosReport['kills'] = {};
  for (const { role } of done) counts[role] = (counts[role] ?? 0) + 1;
  return { seed: plan.seed, jobs: driven, kills: counts, problems, seconds };
}

/** Jobs begin as the kills go on, so that every kill has jobs to hit; a few at a time. */
async function driveAll(
  target: Target,
  plan: ChaosPlan,
  planned: PlannedJob[],
  { killed, late }: { killed: () => number; late: () => boolean },
  driven: DrivenJob[],
  progress: (line: string) => void,
): Promise<void> {
  const queue = [...planned];
  const lanes = Array.from({ length: Math.min(JOBS_AT_ONCE, planned.length) }, async () => {
    for (let next = queue.shift(); next && !late(); next = queue.shift()) {
      const due = Math.floor(((plan.jobs - queue.length - JOBS_AT_ONCE) * plan.kills) / plan.jobs);
      while (killed() < due) await sleep(200);
      const job = await driveJob(target, plan.prefix, next).catch((error: unknown): DrivenJob => {
        return { ...next, allowed: [], end: `lost: ${(error as Error).message}` };
      });
      driven.push(job);
      progress(`${job.id} (${job.profile}, ${job.steering}): ${job.end}`);
    }
  });
  await Promise.all(lanes);
}

export function describeReport({ seed, jobs, kills, problems, seconds }: ChaosReport): string {
  const total = Object.values(kills).reduce((sum, count) => sum + count, 0);
  const ends = new Map<string, number>();
  for (const { end } of jobs) ends.set(end, (ends.get(end) ?? 0) + 1);
  const list = (entries: Iterable<[string, number]>) => [...entries].map(([name, count]) => `${name} ${count}`).join(', ');
  return [
    `seed ${seed}: ${jobs.length} jobs, ${total} kills in ${Math.round(seconds)} s`,
    `ends:  ${list(ends)}`,
    `kills: ${list(Object.entries(kills))}`,
    problems.length === 0
      ? 'nothing lost, nothing doubled, nothing left behind; every model has the bytes of an undisturbed run'
      : [`${problems.length} problems:`, ...problems.map((problem) => `  - ${problem}`)].join('\n'),
  ].join('\n');
}
