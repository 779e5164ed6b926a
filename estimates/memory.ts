/**
 * GPU memory that training needs, by a formula: docs/estimates.md says where each number comes from. What a card holds is decided
 * here as the trainer decides it: the micro-batch shrinks down to the longest example before memory is too small.
 */
import type { ModelLayout } from '../models/families.js';
import { countParameters, type ParameterCounts } from './parameters.js';

const GIB = 1024 ** 3;
/** Bytes a parameter: bfloat16; NF4 with double quantization, measured with bitsandbytes. */
const BFLOAT16_BYTES = 2;
const NF4_BYTES = 0.516;
/** A LoRA weight in float32 with its gradient and AdamW's two moments. */
const ADAPTER_BYTES = 16;
/** Saved for the backward pass, a token and layer, in values of `hidden_size` bytes: float32 adapters under autocast, without recomputation. */
const ACTIVATION_BYTES = 53.5;
/** Of the rows of logits that exist at once (trainer/temper_trainer/head.py), a vocabulary entry: in bfloat16, and twice in float32. */
const LOGIT_BYTES = 10;
const LOGIT_ROWS = 1024;
/** CUDA's context, kernels' workspaces. */
const FIXED_BYTES = 1.5 * GIB;
/** What the allocator loses to fragments. */
const FRAGMENTATION = 1.1;
/** Of a card's memory, what a process may count on. */
export const USABLE_SHARE = 0.92;
/** The trainer's micro-batch on a GPU, where memory allows (trainer/temper_trainer/train.py). */
const MICRO_BATCH_TOKENS = 4096;
/** Memory of usual cards, GiB. */
const GPU_SIZES_GIB = [16, 24, 40, 48, 80, 141];

export type Method = 'LORA' | 'QLORA';

export interface MemoryEstimate {
  parameters: number;
  trainableParameters: number;
  /** Of the weights in adapter_model.safetensors. */
  adapterBytes: number;
  /** GiB with the trainer's usual micro-batch, and with the smallest that holds the longest example. */
  lora: { usualGib: number; leastGib: number };
  qlora: { usualGib: number; leastGib: number };
  /** The method that the job asks for. */
  method: Method;
  /** By memory of one card: LoRA where it fits, else QLoRA where that does, else neither. */
  cards: { gib: number; fits: Method | 'NEITHER' }[];
}

/**
 * @param longestExample  tokens, after the cut-off
 * @param batchTokens     tokens of one optimizer step: a micro-batch is never more
 * @param trainedShare    of the tokens, those that the loss counts
 */
export function estimateMemory(
  layout: ModelLayout,
  settings: { loraRank: number; quantization: 'none' | 'nf4' | 'auto' },
  { longestExample, batchTokens, trainedShare }: { longestExample: number; batchTokens: number; trainedShare: number },
): MemoryEstimate {
  const counts = countParameters(layout, settings.loraRank);
  const hiddenSize = hiddenSizeOf(layout);
  const usualTokens = Math.max(longestExample, Math.min(MICRO_BATCH_TOKENS, batchTokens));
  const gib = (method: Method, tokens: number): number => {
    const activations = tokens * layout.layers * hiddenSize * ACTIVATION_BYTES;
    const logits = Math.min(tokens * trainedShare, LOGIT_ROWS) * layout.vocabularySize * LOGIT_BYTES;
    const bytes = weightBytes(counts, method) + counts.lora * ADAPTER_BYTES + activations + logits + FIXED_BYTES;
    return (bytes * FRAGMENTATION) / GIB;
  };
  const needs = (method: Method) => ({ usualGib: round(gib(method, usualTokens)), leastGib: round(gib(method, longestExample)) });
  const [lora, qlora] = [needs('LORA'), needs('QLORA')];
  return {
    parameters: counts.total,
    trainableParameters: counts.lora,
    adapterBytes: counts.lora * 4,
    lora,
    qlora,
    method: settings.quantization === 'nf4' ? 'QLORA' : 'LORA',
    cards: GPU_SIZES_GIB.map((size) => ({
      gib: size,
      fits: lora.leastGib <= size * USABLE_SHARE ? 'LORA' : qlora.leastGib <= size * USABLE_SHARE ? 'QLORA' : 'NEITHER',
    })),
  };
}

/** Beside the quantized weights there is the largest layer, dequantized for the forward and for the backward pass. */
function weightBytes({ total, quantizable, largestLayer }: ParameterCounts, method: Method): number {
  if (method === 'LORA') return total * BFLOAT16_BYTES;
  return quantizable * NF4_BYTES + (total - quantizable) * BFLOAT16_BYTES + 2 * largestLayer * BFLOAT16_BYTES;
}

function hiddenSizeOf({ tensors }: ModelLayout): number {
  const embedding = [...tensors].find(([name]) => /\.(embed_tokens|embed_in)\.weight$/.test(name));
  return embedding![1][1]!;
}

function round(gib: number): number {
  return gib < 10 ? Math.round(gib * 100) / 100 : Math.round(gib * 10) / 10;
}
