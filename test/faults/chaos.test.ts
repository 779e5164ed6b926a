/** A short chaos run, with the audit of the long one (`npm run chaos`): it guards both the stack and the audit. */
import { expect, it } from 'vitest';
import { describeReport, runChaos } from '../../chaos/run.js';
import { openTarget } from '../../chaos/target.js';
import { freshId, stack } from '../temper.js';

it('nothing is lost, doubled or left behind when processes are killed at random', async () => {
  const plan = { seed: 3, jobs: 3, kills: 12, killEveryMs: 3_000, profiles: ['classification'] as const, prefix: freshId('chaos') };
  const report = await runChaos(openTarget(stack().home), plan, (line) => console.log(line));
  console.log(describeReport(report));
  expect(report.problems).toEqual([]);
  expect(report.jobs).toHaveLength(plan.jobs);
  expect(Object.values(report.kills).reduce((sum, count) => sum + count, 0)).toBe(plan.kills);
}, 600_000);
