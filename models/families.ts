/**
 * The model families that can be tuned: from a model's config.json, the name and shape of every tensor that its weights must
 * have. So weights are checked, and their size is known, before any is read. The trainer's own list is trainer/temper_trainer/families.py.
 */
import { shown, type ModelProblem } from './problems.js';

export interface ModelLayout {
  family: string;
  layers: number;
  vocabularySize: number;
  /** Tokens, `max_position_embeddings`. */
  maxPositions: number;
  parameters: number;
  mixtureOfExperts: boolean;
  /** Shape by name, in the model's order. */
  tensors: Map<string, number[]>;
  /** Tensors that weights may have beside these: what is computed anyway, or is the same as another. */
  isOptional(name: string): boolean;
}

type Config = Record<string, unknown>;
/** Adds a tensor of the family's layout. */
type Add = (name: string, ...shape: number[]) => void;

interface Sizes {
  hidden: number;
  inner: number;
  heads: number;
  keyHeads: number;
  headSize: number;
  vocabulary: number;
  layers: number;
}

interface Family {
  /** Of one block, by names after its prefix. */
  block(add: Add, sizes: Sizes, config: Config, layer: number): void;
  /** Outside the blocks; the output layer apart. */
  ends(add: Add, sizes: Sizes, config: Config): void;
  blocks?: string;
  output?: string;
  outputBias?: boolean;
  /** The input's and the output's embedding are one, when config.json does not say. */
  tied?: boolean;
}

/** What no known model comes near; a hostile configuration must not make work for us. */
const MAX_SIZES = { layers: 512, hidden: 131_072, inner: 1_048_576, heads: 1024, vocabulary: 4_000_000, experts: 1024 };
const MAX_TENSORS = 200_000;

function linear(add: Add, name: string, outputs: number, inputs: number, bias = false): void {
  add(`${name}.weight`, outputs, inputs);
  if (bias) add(`${name}.bias`, outputs);
}

function layerNorm(add: Add, name: string, size: number): void {
  add(`${name}.weight`, size);
  add(`${name}.bias`, size);
}

function attention(
  add: Add,
  { hidden, heads, keyHeads, headSize }: Sizes,
  inputBias: boolean,
  output = 'o_proj',
  outputBias = false,
): void {
  linear(add, 'self_attn.q_proj', heads * headSize, hidden, inputBias);
  linear(add, 'self_attn.k_proj', keyHeads * headSize, hidden, inputBias);
  linear(add, 'self_attn.v_proj', keyHeads * headSize, hidden, inputBias);
  linear(add, `self_attn.${output}`, hidden, heads * headSize, outputBias);
}

function gatedMlp(add: Add, hidden: number, inner: number, bias = false, path = 'mlp'): void {
  linear(add, `${path}.gate_proj`, inner, hidden, bias);
  linear(add, `${path}.up_proj`, inner, hidden, bias);
  linear(add, `${path}.down_proj`, hidden, inner, bias);
}

function rmsNorms(add: Add, { hidden }: Sizes): void {
  add('input_layernorm.weight', hidden);
  add('post_attention_layernorm.weight', hidden);
}

function rmsEnds(add: Add, { vocabulary, hidden }: Sizes): void {
  add('model.embed_tokens.weight', vocabulary, hidden);
  add('model.norm.weight', hidden);
}

function layerNormEnds(add: Add, { vocabulary, hidden }: Sizes): void {
  add('model.embed_tokens.weight', vocabulary, hidden);
  layerNorm(add, 'model.norm', hidden);
}

const llama: Family = {
  block(add, sizes, config) {
    attention(add, sizes, isSet(config, 'attention_bias'), 'o_proj', isSet(config, 'attention_bias'));
    gatedMlp(add, sizes.hidden, sizes.inner, isSet(config, 'mlp_bias'));
    rmsNorms(add, sizes);
  },
  ends: rmsEnds,
};

const FAMILIES: Record<string, Family> = {
  llama,
  mistral: llama,
  gemma: { ...llama, tied: true },
  qwen2: {
    block(add, sizes) {
      attention(add, sizes, true);
      gatedMlp(add, sizes.hidden, sizes.inner);
      rmsNorms(add, sizes);
    },
    ends: rmsEnds,
  },
  mixtral: {
    block(add, sizes, config) {
      const experts = count(config, 'num_local_experts', MAX_SIZES.experts, 8);
      attention(add, sizes, false);
      add('block_sparse_moe.gate.weight', experts, sizes.hidden);
      for (let expert = 0; expert < experts; expert++) {
        add(`block_sparse_moe.experts.${expert}.w1.weight`, sizes.inner, sizes.hidden);
        add(`block_sparse_moe.experts.${expert}.w2.weight`, sizes.hidden, sizes.inner);
        add(`block_sparse_moe.experts.${expert}.w3.weight`, sizes.inner, sizes.hidden);
      }
      rmsNorms(add, sizes);
    },
    ends: rmsEnds,
  },
  starcoder2: {
    block(add, sizes, config) {
      const bias = isSet(config, 'use_bias', true);
      attention(add, sizes, bias, 'o_proj', bias);
      linear(add, 'mlp.c_fc', sizes.inner, sizes.hidden, bias);
      linear(add, 'mlp.c_proj', sizes.hidden, sizes.inner, bias);
      layerNorm(add, 'input_layernorm', sizes.hidden);
      layerNorm(add, 'post_attention_layernorm', sizes.hidden);
    },
    ends: layerNormEnds,
    tied: true,
  },
  stablelm: {
    block(add, sizes, config) {
      attention(add, sizes, isSet(config, 'use_qkv_bias'));
      if (isSet(config, 'qk_layernorm')) {
        for (let head = 0; head < sizes.heads; head++) add(`self_attn.q_layernorm.norms.${head}.weight`, sizes.headSize);
        for (let head = 0; head < sizes.keyHeads; head++) add(`self_attn.k_layernorm.norms.${head}.weight`, sizes.headSize);
      }
      gatedMlp(add, sizes.hidden, sizes.inner);
      layerNorm(add, 'input_layernorm', sizes.hidden);
      if (!isSet(config, 'use_parallel_residual')) layerNorm(add, 'post_attention_layernorm', sizes.hidden);
    },
    ends: layerNormEnds,
  },
  phi: {
    block(add, sizes, config) {
      attention(add, sizes, true, 'dense', true);
      if (isSet(config, 'qk_layernorm')) {
        layerNorm(add, 'self_attn.q_layernorm', sizes.headSize);
        layerNorm(add, 'self_attn.k_layernorm', sizes.headSize);
      }
      linear(add, 'mlp.fc1', sizes.inner, sizes.hidden, true);
      linear(add, 'mlp.fc2', sizes.hidden, sizes.inner, true);
      layerNorm(add, 'input_layernorm', sizes.hidden);
    },
    ends(add, { vocabulary, hidden }) {
      add('model.embed_tokens.weight', vocabulary, hidden);
      layerNorm(add, 'model.final_layernorm', hidden);
    },
    outputBias: true,
  },
  gpt_neox: {
    blocks: 'gpt_neox.layers',
    output: 'embed_out',
    block(add, { hidden, inner }, config) {
      const bias = isSet(config, 'attention_bias', true);
      linear(add, 'attention.query_key_value', 3 * hidden, hidden, bias);
      linear(add, 'attention.dense', hidden, hidden, bias);
      linear(add, 'mlp.dense_h_to_4h', inner, hidden, true);
      linear(add, 'mlp.dense_4h_to_h', hidden, inner, true);
      layerNorm(add, 'input_layernorm', hidden);
      layerNorm(add, 'post_attention_layernorm', hidden);
    },
    ends(add, { vocabulary, hidden }) {
      add('gpt_neox.embed_in.weight', vocabulary, hidden);
      layerNorm(add, 'gpt_neox.final_layer_norm', hidden);
    },
  },
  deepseek_v2: {
    block(add, sizes, config, layer) {
      compressedAttention(add, sizes, config);
      const experts = config['n_routed_experts'] === null ? 0 : count(config, 'n_routed_experts', MAX_SIZES.experts, 64);
      const every = count(config, 'moe_layer_freq', MAX_SIZES.layers, 1);
      if (experts === 0 || layer < whole(config, 'first_k_dense_replace', 0) || layer % every !== 0) {
        gatedMlp(add, sizes.hidden, sizes.inner, isSet(config, 'mlp_bias'));
      } else {
        const inner = count(config, 'moe_intermediate_size', MAX_SIZES.inner, 1407);
        const shared = config['n_shared_experts'] === null ? 0 : whole(config, 'n_shared_experts', 2);
        add('mlp.gate.weight', experts, sizes.hidden);
        for (let expert = 0; expert < experts; expert++) gatedMlp(add, sizes.hidden, inner, false, `mlp.experts.${expert}`);
        if (shared > 0) gatedMlp(add, sizes.hidden, inner * shared, isSet(config, 'mlp_bias'), 'mlp.shared_experts');
      }
      rmsNorms(add, sizes);
    },
    ends: rmsEnds,
  },
};

/** DeepSeek V2: keys and values from a compressed state, queries too in the large model. */
function compressedAttention(add: Add, { hidden, heads }: Sizes, config: Config): void {
  const keyRank = count(config, 'kv_lora_rank', MAX_SIZES.hidden, 512);
  const plain = count(config, 'qk_nope_head_dim', MAX_SIZES.hidden, 128);
  const rotary = count(config, 'qk_rope_head_dim', MAX_SIZES.hidden, 64);
  const value = count(config, 'v_head_dim', MAX_SIZES.hidden, 128);
  const bias = isSet(config, 'attention_bias');
  if (config['q_lora_rank'] === null) {
    linear(add, 'self_attn.q_proj', heads * (plain + rotary), hidden);
  } else {
    const queryRank = count(config, 'q_lora_rank', MAX_SIZES.hidden, 1536);
    linear(add, 'self_attn.q_a_proj', queryRank, hidden, bias);
    add('self_attn.q_a_layernorm.weight', queryRank);
    linear(add, 'self_attn.q_b_proj', heads * (plain + rotary), queryRank);
  }
  linear(add, 'self_attn.kv_a_proj_with_mqa', keyRank + rotary, hidden, bias);
  add('self_attn.kv_a_layernorm.weight', keyRank);
  linear(add, 'self_attn.kv_b_proj', heads * (plain + value), keyRank);
  linear(add, 'self_attn.o_proj', hidden, heads * value, bias);
}

export const FAMILY_NAMES = Object.keys(FAMILIES);

/** Buffers that old checkpoints carry; they are computed anew. */
const COMPUTED = /\.(rotary_emb\.(inv_freq|cos_cached|sin_cached)|attention\.(bias|masked_bias))$/;

/** A number of config.json that is not as it must be. */
class ConfigError extends Error {}

/** The tensors of a model by its config.json, or what is wrong with the configuration. */
export function describeLayout(
  config: Config,
): { layout: ModelLayout; problem?: undefined } | { layout?: undefined; problem: ModelProblem } {
  const family = config['model_type'];
  const entry = typeof family === 'string' && Object.hasOwn(FAMILIES, family) ? FAMILIES[family]! : undefined;
  if (!entry) {
    const message = `config.json: model_type is ${shown(family)}; the model families that can be tuned here are ${FAMILY_NAMES.join(', ')}.`;
    return { problem: { code: 'ARCHITECTURE_UNSUPPORTED', file: 'config.json', message } };
  }
  try {
    return { layout: layOut(family as string, entry, config) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { problem: { code: 'CONFIG_INVALID', file: 'config.json', message: `config.json: ${error.message}` } };
  }
}

function layOut(family: string, entry: Family, config: Config): ModelLayout {
  const sizes = readSizes(config);
  const output = entry.output ?? 'lm_head';
  const tied = isSet(config, 'tie_word_embeddings', entry.tied ?? false);
  const tensors = new Map<string, number[]>();
  const add: Add = (name, ...shape) => {
    if (tensors.size >= MAX_TENSORS) throw new ConfigError(`the model would have more than ${MAX_TENSORS} tensors.`);
    tensors.set(name, shape);
  };
  entry.ends(add, sizes, config);
  for (let layer = 0; layer < sizes.layers; layer++) {
    const prefix = `${entry.blocks ?? 'model.layers'}.${layer}.`;
    entry.block((name, ...shape) => add(prefix + name, ...shape), sizes, config, layer);
  }
  if (!tied) add(`${output}.weight`, sizes.vocabulary, sizes.hidden);
  if (entry.outputBias) add(`${output}.bias`, sizes.vocabulary);
  const parameters = [...tensors.values()].reduce((sum, shape) => sum + shape.reduce((product, size) => product * size, 1), 0);
  return {
    family,
    layers: sizes.layers,
    vocabularySize: sizes.vocabulary,
    maxPositions: count(config, 'max_position_embeddings', 100_000_000, 2048),
    parameters,
    mixtureOfExperts: [...tensors.keys()].some((name) => name.includes('.experts.')),
    tensors,
    isOptional: (name) => (tied && name === `${output}.weight`) || COMPUTED.test(name),
  };
}

function readSizes(config: Config): Sizes {
  const hidden = count(config, 'hidden_size', MAX_SIZES.hidden);
  const heads = count(config, 'num_attention_heads', MAX_SIZES.heads);
  const keyHeads = count(config, 'num_key_value_heads', MAX_SIZES.heads, heads);
  const headSize = count(config, 'head_dim', MAX_SIZES.hidden, hidden / heads);
  if (!Number.isInteger(headSize)) throw new ConfigError(`hidden_size ${hidden} is no multiple of num_attention_heads ${heads}.`);
  if (heads % keyHeads !== 0) throw new ConfigError(`num_attention_heads ${heads} is no multiple of num_key_value_heads ${keyHeads}.`);
  return {
    hidden,
    heads,
    keyHeads,
    headSize,
    inner: count(config, 'intermediate_size', MAX_SIZES.inner),
    vocabulary: count(config, 'vocab_size', MAX_SIZES.vocabulary),
    layers: count(config, 'num_hidden_layers', MAX_SIZES.layers),
  };
}

/** A positive whole number; `otherwise` when config.json has none. */
function count(config: Config, name: string, most: number, otherwise?: number): number {
  const value = config[name] ?? otherwise;
  if (value === undefined) throw new ConfigError(`${name} is missing.`);
  if (value === otherwise) return otherwise;
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most) return value as number;
  throw new ConfigError(`${name} must be a whole number from 1 to ${most}, is ${shown(value)}.`);
}

function whole(config: Config, name: string, otherwise: number): number {
  const value = config[name] ?? otherwise;
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_SIZES.experts) return value as number;
  throw new ConfigError(`${name} must be a whole number from 0 to ${MAX_SIZES.experts}, is ${shown(value)}.`);
}

function isSet(config: Config, name: string, otherwise = false): boolean {
  const value = config[name] ?? otherwise;
  if (typeof value === 'boolean') return value;
  throw new ConfigError(`${name} must be true or false, is ${shown(value)}.`);
}
