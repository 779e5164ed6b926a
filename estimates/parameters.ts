/** Parameters of a base model and of its adapter, exactly, from the shapes of its tensors. */
import type { ModelLayout } from '../models/families.js';

const ATTENTION = ['q_proj', 'k_proj', 'v_proj', 'o_proj'];
const GATED_MLP = ['gate_proj', 'up_proj', 'down_proj'];
/** The linear layers of a block that get LoRA: the trainer's table (trainer/temper_trainer/families.py). */
export const TARGET_MODULES: Record<string, readonly string[]> = {
  llama: [...ATTENTION, ...GATED_MLP],
  mistral: [...ATTENTION, ...GATED_MLP],
  mixtral: ATTENTION,
  qwen2: [...ATTENTION, ...GATED_MLP],
  gemma: [...ATTENTION, ...GATED_MLP],
  starcoder2: [...ATTENTION, 'c_fc', 'c_proj'],
  stablelm: [...ATTENTION, ...GATED_MLP],
  phi: ['q_proj', 'k_proj', 'v_proj', 'dense', 'fc1', 'fc2'],
  gpt_neox: ['query_key_value', 'dense', 'dense_h_to_4h', 'dense_4h_to_h'],
  deepseek_v2: ['q_proj', 'q_a_proj', 'q_b_proj', 'kv_a_proj_with_mqa', 'kv_b_proj', 'o_proj'],
};

export interface ParameterCounts {
  total: number;
  /** In the linear layers of the blocks, which NF4 quantizes; experts, embeddings, norms and biases stay as they are. */
  quantizable: number;
  /** Of the largest of those layers. */
  largestLayer: number;
  lora: number;
}

/** `rank`: of the adapter. */
export function countParameters({ family, parameters, tensors }: ModelLayout, rank: number): ParameterCounts {
  const targets = new Set(TARGET_MODULES[family]);
  const counts: ParameterCounts = { total: parameters, quantizable: 0, largestLayer: 0, lora: 0 };
  for (const [name, shape] of tensors) {
    const [outputs, inputs] = shape;
    if (!isBlockLinear(name) || outputs === undefined || inputs === undefined) continue;
    counts.quantizable += outputs * inputs;
    counts.largestLayer = Math.max(counts.largestLayer, outputs * inputs);
    if (targets.has(name.split('.').at(-2)!)) counts.lora += rank * (inputs + outputs);
  }
  return counts;
}

/** A weight matrix of a block that is a layer of its own: not a router, and not one of the experts, which are fused into one tensor. */
function isBlockLinear(name: string): boolean {
  return name.includes('.layers.') && name.endsWith('.weight') && !name.includes('.experts.') && !name.endsWith('.gate.weight');
}
