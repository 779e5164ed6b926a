import { describe, expect, it } from 'vitest';
import { expandJobs, runJobId } from '../../../jobs/expandJobs.js';
import { fingerprintOf, runIdOf } from '../../../jobs/retrainingRun.js';

const fineTuning = { baseModel: 'tiny', conversation: {}, epochs: 1 };

describe('expandJobs', () => {
  it('makes one job of a template alone', () => {
    expect(expandJobs({ fineTuning })).toEqual([{ settings: {}, body: fineTuning }]);
  });

  it('makes a job for each variant and combination, the last list fastest', () => {
    const jobs = expandJobs({ fineTuning, variants: [{ baseModel: 'a' }, { baseModel: 'b' }], grid: { epochs: [1, 2], seed: [7, 8] } });
    expect(jobs.map(({ settings }) => settings)).toEqual([
      { baseModel: 'a', epochs: 1, seed: 7 },
      { baseModel: 'a', epochs: 1, seed: 8 },
      { baseModel: 'a', epochs: 2, seed: 7 },
      { baseModel: 'a', epochs: 2, seed: 8 },
      { baseModel: 'b', epochs: 1, seed: 7 },
      { baseModel: 'b', epochs: 1, seed: 8 },
      { baseModel: 'b', epochs: 2, seed: 7 },
      { baseModel: 'b', epochs: 2, seed: 8 },
    ]);
    expect(jobs[7]!.body).toEqual({ ...fineTuning, baseModel: 'b', epochs: 2, seed: 8 });
  });

  it('refuses more jobs than a run may have, before it makes any', () => {
    const values = Array.from({ length: 64 }, (_, index) => index);
    expect(() => expandJobs({ fineTuning, grid: { a: values, b: values, c: values, d: values } })).toThrow('16777216 jobs');
  });

  it('refuses to vary what the jobs are compared by', () => {
    expect(() => expandJobs({ fineTuning, grid: { evaluationSplit: [0.1, 0.2] } })).toThrow('evaluationSplit must be the same');
    expect(() => expandJobs({ fineTuning, variants: [{ dataset: 'd' }] })).toThrow('dataset must be the same');
  });
});

it('names runs and their jobs with legal IDs', () => {
  const run = runIdOf('nightly', 'accounts/a/schedules/nightly-2026-11-24T09:19:20Z');
  expect(run).toBe('nightly-20261124-091920');
  expect(runJobId(run, 0, 1)).toBe(run);
  expect(runJobId(run, 1, 12)).toBe('nightly-20261124-091920-2');
  expect(runJobId(runIdOf('x'.repeat(40), 'w-2026-11-24T09:19:20Z'), 63, 64).length).toBeLessThanOrEqual(63);
});

describe('fingerprintOf', () => {
  const retraining = { data: { newest: { prefix: 'a' } }, fineTuning };
  const print = fingerprintOf(['x', 'y'], retraining);

  it('does not see the order of parts and keys, nor what changes no model', () => {
    const reordered = { fineTuning: { epochs: 1, conversation: {}, baseModel: 'tiny' }, data: { newest: { prefix: 'a' } } };
    expect(fingerprintOf(['y', 'x'], reordered)).toBe(print);
    expect(fingerprintOf(['x', 'y'], { ...retraining, maxConcurrentJobs: 4, promotion: { alias: 'a@b' } })).toBe(print);
  });

  it('sees other data and other settings', () => {
    expect(fingerprintOf(['x'], retraining)).not.toBe(print);
    expect(fingerprintOf(['x', 'y'], { ...retraining, grid: { epochs: [2] } })).not.toBe(print);
  });
});
