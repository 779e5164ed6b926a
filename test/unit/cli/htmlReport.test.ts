/** The report of a job: everything is on the page, nothing of it from elsewhere, and what users wrote stays text. */
import { expect, it } from 'vitest';
import { renderJobReport } from '../../../cli/htmlReport.js';

const job = {
  name: 'accounts/a/fineTuningJobs/intents',
  displayName: '<script>alert(1)</script>',
  state: 'COMPLETED',
  settings: { epochs: 3, learningRate: 1e-4 },
  settingOrigins: { epochs: 'given', learningRate: 'baseModel' },
};
const metrics = Array.from({ length: 50 }, (_, index) => ({
  step: index + 1,
  loss: 2 / (index + 1),
  ...(index % 10 === 9 ? { evaluationLoss: 1 } : {}),
}));
const target = (value: number, wrong: number) => ({
  ...{ metric: 'accuracy', value, low: value - 0.1, high: value + 0.1 },
  labels: ['yes', 'no'].map((label) => ({ label, expected: 10, predicted: 10, correct: 10 - wrong })),
  confusions: wrong ? [{ expected: 'yes', predicted: 'no', count: wrong }] : [],
});
const evaluation = {
  ...{ examples: 20, base: target(0.4, 7), tuned: target(0.9, 1) },
  samples: [{ line: 3, prompt: '"><img src=https://evil.example/x>', expected: 'yes', base: 'no', tuned: 'yes' }],
};

it('shows loss, evaluation, confusions, samples and settings with their sources', () => {
  const page = renderJobReport(job, metrics, evaluation);
  expect(page.match(/<polyline/g)).toHaveLength(2);
  for (const shown of ['0.9', 'expected ↓ answered →', '<td class="number miss">7</td>', 'baseModel', 'step 50'])
    expect(page).toContain(shown);
});

it('needs no network, runs nothing, and takes nothing of a row or a name for markup', () => {
  const page = renderJobReport(job, metrics, evaluation);
  expect(page).toContain("default-src 'none'");
  expect(page).not.toMatch(/<(script|img|link|iframe)|\son\w+=/i);
  expect(page).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
  expect(page).toContain('&quot;&gt;&lt;img src=https://evil.example/x&gt;');
});

it('is a page also before the first step', () => {
  expect(renderJobReport(job, [], null)).toContain('No step has been made yet.');
});
