/**
 * `npm run chaos -- --jobs 50 --kills 500 --seed 1`: jobs of all kinds on a stack of their own while its processes are killed, then an
 * audit. A run that finds something ends with exit code 1 and keeps its folder; its seed repeats the schedule.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PROFILES } from '../chaos/jobs.js';
import { describeReport, runChaos } from '../chaos/run.js';
import { openTarget } from '../chaos/target.js';
import { postgresFolder } from './postgres.js';
import { prepare } from './prepare.js';
import { startStack, type Stack } from './stack.js';

const { values } = parseArgs({
  options: {
    jobs: { type: 'string' },
    kills: { type: 'string' },
    seed: { type: 'string' },
    every: { type: 'string' },
    minutes: { type: 'string' },
  },
});
const jobs = readNumber('jobs', 50);
const kills = readNumber('kills', 500);
const seed = readNumber('seed', Math.floor(Math.random() * 1e9));
/** Seconds between two kills, in the mean. */
const every = readNumber('every', 6);
/** After these no job begins; what was done is audited. */
const minutes = readNumber('minutes', 24 * 60);

const home = mkdtempSync(join(tmpdir(), 'temper-chaos-'));
chmodSync(home, 0o711); // run as root, the database belongs to another user, who must get through here
const startedMs = Date.now();
const progress = (line: string) => console.log(`${((Date.now() - startedMs) / 1000).toFixed(0).padStart(5)} s  ${line}`);
let stack: Stack | undefined;
let failed = true;
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void stop().then(() => process.exit(130)));

try {
  const { baseModel } = await prepare(progress);
  stack = await startStack({ home, progress, baseModel, port: 0 });
  const plan = { seed, jobs, kills, killEveryMs: every * 1000, profiles: PROFILES, prefix: `chaos-${seed}`, maxSeconds: minutes * 60 };
  const report = await runChaos(openTarget(home), plan, progress);
  failed = report.problems.length > 0;
  console.log(`\n${describeReport(report)}`);
} catch (error) {
  console.error((error as Error).message);
}
await stop();
process.exit(failed ? 1 : 0);

async function stop(): Promise<void> {
  await stack?.stop();
  if (failed) return console.log(`Logs and data are kept in ${home}`);
  rmSync(postgresFolder(home), { recursive: true, force: true });
  rmSync(home, { recursive: true, force: true });
}

function readNumber(name: keyof typeof values, fallback: number): number {
  const value = Number(values[name] ?? fallback);
  if (Number.isInteger(value) && value >= 0) return value;
  console.error(`--${name} must be a whole number, not ${values[name]}.`);
  process.exit(2);
}
