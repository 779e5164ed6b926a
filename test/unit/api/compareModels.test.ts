/** What two models have apart, by what was recorded of them. */
import { expect, it } from 'vitest';
import { compareModels, type ComparedModel } from '../../../api/compareModels.js';
import type { Lineage } from '../../../schemas/lineage.js';

function model(
  name: string,
  changes: { value?: number; metric?: string; rows?: string; settings?: object; tuned?: string[] } = {},
): ComparedModel {
  const { value = 0.5, metric = 'accuracy', rows = 'r', settings = {}, tuned = ['a', 'b'] } = changes;
  return {
    name,
    createTime: '2026-01-01T00:00:00Z',
    facts: { kind: 'HF_PEFT_ADDON' },
    lineage: {
      job: `${name}-job`,
      settings: { epochs: 1, seed: 7, ...settings },
      dataset: { name: 'd', sha256: 's', examples: 9 },
      baseModel: { name: 'b', source: {}, content: '1' },
      prepared: { evaluationSha256: rows },
      training: { steps: 3, trainedTokens: 9, finalLoss: 1 },
      hardware: { device: 'cpu' },
      versions: { torch: '2' },
      evaluation: { metric, base: 0.1, tuned: value, examples: 2 },
    } as unknown as Lineage,
    report: {
      samples: tuned.map((answer, line) => ({ line: line + 1, prompt: `row ${line + 1}`, expected: 'a', base: 'b', tuned: answer })),
    },
  };
}

it('names what differs and nothing else, the best on the same rows, and first the rows that are answered differently', () => {
  const found = compareModels([model('one'), model('two', { value: 0.9, settings: { epochs: 2 }, tuned: ['a', 'a'] })]);
  expect(found.differences).toEqual([{ name: 'epochs', values: [1, 2] }]);
  expect([found.sameRows, found.best]).toEqual([true, 'two']);
  expect(found.samples.map(({ line, answers }) => [line, ...answers])).toEqual([
    [2, 'b', 'a'],
    [1, 'a', 'a'],
  ]);
  expect(compareModels([model('one', { metric: 'perplexity', value: 3 }), model('two', { metric: 'perplexity', value: 9 })]).best).toBe(
    'one',
  );
});

it('compares no values and no answers of other rows, and says why', () => {
  const other = compareModels([model('one'), model('two', { rows: 'other', value: 0.9 })]);
  expect(other).toMatchObject({ sameRows: false, samples: [] });
  expect(other.rowsReason).toContain('different rows');
  expect(other).not.toHaveProperty('best');
  const brought = compareModels([model('one'), { ...model('two'), lineage: null, report: null }]);
  expect(brought.rowsReason).toBe('two: no evaluation is recorded.');
});
