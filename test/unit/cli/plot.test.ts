import { expect, test } from 'vitest';
import { plotLoss } from '../../../cli/plot.js';

test('a falling loss falls from the left above to the right below, with the held-out loss beside it', () => {
  const metrics = Array.from({ length: 40 }, (_, index) => ({
    step: index + 1,
    loss: 4 - index * 0.1,
    ...(index % 20 === 19 ? { evaluationLoss: 2.5 } : {}),
  }));
  const lines = plotLoss(metrics, 60).split('\n');
  expect(lines[0]).toMatch(/^ *4 │·/);
  expect(lines[11]).toMatch(/^0\.1 │ +·+$/);
  expect(lines.filter((line) => line.includes('o') && line.includes('│'))).toHaveLength(1);
  expect(lines[13]).toMatch(/1 +40$/);
  expect(Math.max(...lines.slice(0, 13).map((line) => line.length))).toBeLessThanOrEqual(60);
});

test('many steps share a column; one step, or none, is no error', () => {
  const many = Array.from({ length: 100_000 }, (_, index) => ({ step: index + 1, loss: 1 / (index + 1) }));
  expect(
    Math.max(
      ...plotLoss(many, 80)
        .split('\n')
        .slice(0, 13)
        .map((line) => line.length),
    ),
  ).toBeLessThanOrEqual(80);
  expect(plotLoss([{ step: 1, loss: 2 }])).toContain('·');
  expect(plotLoss([])).toBe('No step has been made yet.');
});
