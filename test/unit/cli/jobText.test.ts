/** What the command line says of a job. */
import { expect, it } from 'vitest';
import { describeJob } from '../../../cli/jobText.js';

it('says by how much the model changed, how sure that is, and when it may be chance', () => {
  const evaluation = (result: object) => describeJob({ name: 'accounts/a/fineTuningJobs/j', evaluationResult: result });
  expect(
    evaluation({ metric: 'accuracy', base: 0.124, tuned: 0.91, examples: 300, change: { value: 0.786, low: 0.732, high: 0.831 } }),
  ).toContain('accuracy 12.4 % → 91.0 % (base → tuned) on 300 held-out examples, +78.6 points (95 %: +73.2 to +83.1)');
  expect(
    evaluation({ metric: 'perplexity', base: 10, tuned: 9.8, examples: 40, change: { value: 0.98, low: 0.95, high: 1.01 } }),
  ).toContain('on 40 held-out examples, −2.0 % (95 %: −5.0 to +1.0: may be chance)');
  expect(evaluation({ metric: 'perplexity', base: 10, tuned: 9, examples: 40 })).toMatch(/on 40 held-out examples$/m);
});
