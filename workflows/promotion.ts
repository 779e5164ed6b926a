/** Which of a run's jobs is the best, and whether that is better enough than what there is. Plain arithmetic on what the jobs measured. */
import type { PromotionOutcome, RunJobResult } from '../schemas/retraining.js';

/** The completed job with the best score, the earliest of equals; null when none was evaluated. */
export function bestOf(results: RunJobResult[]): RunJobResult | null {
  let best: RunJobResult | null = null;
  for (const result of results) {
    if (!hasModel(result) || !result.evaluation) continue;
    if (!best?.evaluation || isBetter(result.evaluation.metric, result.evaluation.tuned, best.evaluation.tuned)) best = result;
  }
  return best;
}

export function hasModel({ state }: RunJobResult): boolean {
  return state === 'COMPLETED' || state === 'EARLY_STOPPED';
}

export interface Comparison {
  alias: string;
  minImprovement: number;
  candidate: RunJobResult;
  /** What the alias points at, with its score on the candidate's held-out examples; null: at nothing yet. */
  current: { model: string; baseModel: string; score: { metric: string; value: number } | null } | null;
}

/**
 * PENDING when the candidate is to take the alias's place, KEPT when it is not better enough, NOT_COMPARABLE when no number
 * can tell. Where the alias points at nothing, the candidate must beat its own base model.
 */
export function compare({ alias, minImprovement, candidate, current }: Comparison): PromotionOutcome {
  const { metric, tuned, base, examples } = candidate.evaluation!;
  const outcome = { alias, minImprovement, metric, candidate: candidate.model, candidateValue: tuned };
  if (current && current.score === null)
    return {
      ...outcome,
      current: current.model,
      decision: 'NOT_COMPARABLE',
      reason:
        `${current.model} was trained on ${current.baseModel}, and perplexities of different base models cannot be compared. ` +
        `Move ${alias} by hand if you want to.`,
    };
  const bar = current?.score?.value ?? base;
  const rival = current ? current.model : 'the base model';
  const gain = metric === 'accuracy' ? tuned - bar : (bar - tuned) / bar;
  // What binary fractions make of 0.85 - 0.8 must not decide.
  const isEnough = gain > 0 && gain >= minImprovement - 1e-9;
  const unit = metric === 'accuracy' ? 'points' : '%';
  const difference = gain > 0 ? `${points(gain)} ${unit} better` : 'no better';
  const asked =
    minImprovement > 0
      ? `, ${isEnough ? 'at least' : 'and'} ${points(minImprovement)} ${isEnough ? 'as asked for' : 'were asked for'}`
      : '';
  return {
    ...outcome,
    ...(current ? { current: current.model } : {}),
    currentValue: bar,
    decision: isEnough ? 'PENDING' : 'KEPT',
    reason: `${format(metric, tuned)} against ${format(metric, bar)} of ${rival} on the same ${examples} held-out examples: ${difference}${asked}.`,
  };
}

/** Perplexity depends on the tokenizer, so it tells models of one base model apart and no others. */
export function isComparable(metric: string, candidateBase: string | null, currentBase: string): boolean {
  return metric === 'accuracy' || candidateBase === currentBase;
}

function isBetter(metric: string, value: number, than: number): boolean {
  return metric === 'accuracy' ? value > than : value < than;
}

function points(share: number): string {
  return String(Number((100 * share).toFixed(2)));
}

function format(metric: string, value: number): string {
  return metric === 'accuracy' ? `accuracy ${points(value)} %` : `perplexity ${Number(value.toPrecision(4))}`;
}
