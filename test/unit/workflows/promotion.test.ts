import { describe, expect, it } from 'vitest';
import type { RunJobResult } from '../../../schemas/retraining.js';
import { bestOf, compare, isComparable } from '../../../workflows/promotion.js';

const result = (index: number, metric: 'accuracy' | 'perplexity', tuned: number, base: number, state = 'COMPLETED'): RunJobResult => ({
  index,
  id: `job-${index}`,
  uid: `uid-${index}`,
  model: `accounts/a/models/job-${index}`,
  baseModel: 'base',
  state,
  evaluation: { metric, tuned, base, examples: 100, reportKey: '', trainerSeconds: 1 },
});

describe('bestOf', () => {
  it('takes the highest accuracy, the lowest perplexity, the first of equals', () => {
    expect(bestOf([result(0, 'accuracy', 0.5, 0), result(1, 'accuracy', 0.7, 0), result(2, 'accuracy', 0.7, 0)])?.index).toBe(1);
    expect(bestOf([result(0, 'perplexity', 9, 20), result(1, 'perplexity', 7, 20)])?.index).toBe(1);
  });

  it('looks only at jobs that made a model and were evaluated', () => {
    expect(bestOf([result(0, 'accuracy', 0.9, 0, 'CANCELLED'), result(1, 'accuracy', 0.1, 0)])?.index).toBe(1);
    expect(bestOf([{ ...result(0, 'accuracy', 0.9, 0), evaluation: null }])).toBeNull();
  });
});

describe('compare', () => {
  const against = (value: number, metric = 'accuracy') => ({ model: 'accounts/a/models/now', baseModel: 'base', score: { metric, value } });
  const decide = (tuned: number, current: number, minImprovement: number, metric: 'accuracy' | 'perplexity' = 'accuracy') =>
    compare({ alias: 'a@b', minImprovement, candidate: result(0, metric, tuned, 0.1), current: against(current, metric) }).decision;

  it.each([
    [0.81, 0.8, 0, 'PENDING'],
    [0.8, 0.8, 0, 'KEPT'],
    [0.79, 0.8, 0, 'KEPT'],
    [0.85, 0.8, 0.05, 'PENDING'], // 0.85 - 0.8 is 0.04999… in binary
    [0.849, 0.8, 0.05, 'KEPT'],
    [0, 0, 0, 'KEPT'],
  ])('accuracy %d against %d with a margin of %d: %s', (tuned, current, margin, decision) =>
    expect(decide(tuned, current, margin)).toBe(decision),
  );

  it.each([
    [9.5, 10, 0.05, 'PENDING'],
    [9.6, 10, 0.05, 'KEPT'],
    [11, 10, 0, 'KEPT'],
    [NaN, 10, 0, 'KEPT'],
  ])('perplexity %d against %d with a margin of %d: %s', (tuned, current, margin, decision) =>
    expect(decide(tuned, current, margin, 'perplexity')).toBe(decision),
  );

  it('measures the first model of an alias against its own base model', () => {
    const first = (tuned: number) =>
      compare({ alias: 'a@b', minImprovement: 0.1, candidate: result(0, 'accuracy', tuned, 0.3), current: null });
    expect(first(0.45)).toMatchObject({ decision: 'PENDING', currentValue: 0.3 });
    expect(first(0.35)).toMatchObject({ decision: 'KEPT', reason: expect.stringContaining('5 points better, and 10 were asked for') });
  });

  it('says so where no number can tell', () => {
    expect(isComparable('perplexity', 'base', 'other')).toBe(false);
    expect(isComparable('accuracy', 'base', 'other')).toBe(true);
    const current = { model: 'accounts/a/models/now', baseModel: 'other', score: null };
    expect(compare({ alias: 'a@b', minImprovement: 0, candidate: result(0, 'perplexity', 5, 9), current }).decision).toBe('NOT_COMPARABLE');
  });
});
