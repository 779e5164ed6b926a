import { expect, it } from 'vitest';
import { resultsText } from '../../../activities/resultsFile.js';

const evaluation = { metric: 'perplexity', base: 20, tuned: Math.E, examples: 2, reportKey: '', trainerSeconds: 0 } as const;

it("has OpenAI's columns, and the loss on the validation rows where it was measured and at the last step", () => {
  const metrics = [
    { step: 1, loss: 2.5, evaluation_loss: null },
    { step: 2, loss: 1 / 3, evaluation_loss: null },
  ];
  expect(resultsText(metrics, evaluation)).toBe(
    'step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.500000,,,\n2,0.333333,,1.000000,\n',
  );
  expect(resultsText(metrics, null)).toMatch(/2,0\.333333,,,\n$/);
  const measured = metrics.map((row) => ({ ...row, evaluation_loss: 2 / row.step }));
  expect(resultsText(measured, evaluation)).toMatch(/\n1,2\.500000,,2\.000000,\n2,0\.333333,,1\.000000,\n$/);
  expect(resultsText([], null)).toBe('step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n');
});
