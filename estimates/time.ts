/**
 * Training time before anything was measured: what must be computed for a token, by the model's config, over what a card computes.
 * docs/estimates.md has the formula, and says what it was held against.
 */
import type { ModelLayout } from '../models/families.js';
import { USABLE_SHARE, type MemoryEstimate } from './memory.js';

/** Cards by memory and dense bfloat16 rate, TFLOP/s, of their data sheets. */
const CARDS = [
  { card: 'L40S', gib: 48, tflops: 362 },
  { card: 'A100 80GB', gib: 80, tflops: 312 },
  { card: 'H100', gib: 80, tflops: 989 },
  { card: 'H200', gib: 141, tflops: 989 },
];
/** Of that rate, what a trainer makes of it: a published LoRA run of the 8B class on an H100 comes to 0.42, others to less. */
const EFFICIENCY = 0.35;
/** A multiplication and an addition for the forward pass, and for the gradient of the input. Frozen weights need none of their own. */
const PASSES = 4;
/** Activations that memory does not hold are computed a second time. */
const PASSES_RECOMPUTED = 6;

export interface CardTime {
  card: string;
  tokensPerSecond: number;
  seconds: number;
}

export interface TokenWork {
  meanExample: number;
  trainedShare: number;
}

/** On each card that holds the job, by `memory`; shortest last. */
export function estimateTime(
  layout: ModelLayout,
  config: Record<string, unknown>,
  memory: MemoryEstimate,
  tokens: number,
  work: TokenWork,
): CardTime[] {
  return CARDS.flatMap(({ card, gib, tflops }) => {
    const fits = memory.cards.find((each) => each.gib === gib)?.fits;
    if (fits === undefined || fits === 'NEITHER' || (fits === 'QLORA' && memory.method === 'LORA')) return [];
    const usual = (memory.method === 'QLORA' ? memory.qlora : memory.lora).usualGib;
    const passes = usual <= gib * USABLE_SHARE ? PASSES : PASSES_RECOMPUTED;
    const tokensPerSecond = (tflops * 1e12 * EFFICIENCY) / flopsPerToken(layout, config, work, passes);
    return [{ card, tokensPerSecond: Math.round(tokensPerSecond), seconds: Math.ceil(tokens / tokensPerSecond) }];
  });
}

/** Blocks, the output layer where a token is trained, and causal attention within an example. */
export function flopsPerToken(
  layout: ModelLayout,
  config: Record<string, unknown>,
  { meanExample, trainedShare }: TokenWork,
  passes = PASSES,
): number {
  const share = expertShare(config);
  let blocks = 0;
  let hidden = 0;
  for (const [name, shape] of layout.tensors) {
    if (/\.(embed_tokens|embed_in)\.weight$/.test(name)) hidden = shape[1]!;
    if (name.includes('.layers.') && shape.length > 1)
      blocks += shape.reduce((a, b) => a * b, 1) * (name.includes('.experts.') ? share : 1);
  }
  // Each token sees half of its example on average: two products of `hidden` forwards, and twice as much backwards.
  const attention = 3 * 4 * hidden * layout.layers * (meanExample / 2);
  return passes * blocks + PASSES * layout.vocabularySize * hidden * trainedShare + attention;
}

/** Of the experts, those that a token goes through. */
function expertShare(config: Record<string, unknown>): number {
  const all = Number(config['num_local_experts'] ?? config['n_routed_experts']);
  const used = Number(config['num_experts_per_tok']);
  return used > 0 && all > 0 ? used / all : 1;
}
