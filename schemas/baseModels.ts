/**
 * The base models that can be tuned, as data: the reference's table of supported models (defaults, cut-off length, hub
 * source, "conversation recommended"), and the small model the embedded stack builds for itself.
 */

/** A file of a model in the object store. */
export interface ModelFile {
  name: string;
  key: string;
  sizeBytes: number;
  sha256: string;
}

/** Where a model's files come from: the Hugging Face hub, a folder on the workers, a prefix of the object store, or the files of a model that an account uploaded or imported. */
export type ModelSource = { hub: string; revision?: string } | { folder: string } | { prefix: string } | { files: ModelFile[] };

/** Family of built-in chat template; null: the generic one. */
export type ChatFamily = 'llama3' | 'mistral' | 'chatml' | null;

export interface BaseModel {
  name: string;
  displayName: string;
  source: ModelSource;
  batchSize: number;
  loraRank: number;
  epochs: number;
  learningRate: number;
  /** Tokens, prompt and answer together. */
  cutoffLength: number;
  conversationRecommended: boolean;
  chatFamily: ChatFamily;
  parameters: number;
  /** Its experts stay in 16 bits: it cannot be trained quantized. */
  mixtureOfExperts?: boolean;
  /** The reference trains its 70B class with QLoRA, all others with LoRA. */
  quantization: 'none' | 'nf4';
}

type Row = [
  id: string,
  hub: string,
  billions: number,
  batchSize: number,
  loraRank: number,
  learningRate: number,
  cutoffLength: number,
  chatFamily: ChatFamily,
];

/* Reference, "Supported base models". One epoch by default for each. Conversation is recommended where a chat family stands. */
const REFERENCE_ROWS: Row[] = [
  ['llama-v3p2-1b-instruct', 'meta-llama/Llama-3.2-1B-Instruct', 1.24, 32, 4, 1e-4, 16384, 'llama3'],
  ['llama-v3p2-3b-instruct', 'meta-llama/Llama-3.2-3B-Instruct', 3.21, 32, 4, 1e-4, 16384, 'llama3'],
  ['llama-v3p1-70b-instruct', 'meta-llama/Meta-Llama-3.1-70B-Instruct', 70.6, 8, 4, 2e-5, 8192, 'llama3'],
  ['llama-v3p1-8b-instruct', 'meta-llama/Meta-Llama-3.1-8B-Instruct', 8.03, 16, 8, 1e-4, 8192, 'llama3'],
  ['llama-v3-70b-instruct-hf', 'meta-llama/Meta-Llama-3-70B-Instruct', 70.6, 8, 4, 2e-5, 8192, 'llama3'],
  ['llama-v3-8b-instruct-hf', 'meta-llama/Meta-Llama-3-8B-Instruct', 8.03, 16, 8, 1e-4, 8192, 'llama3'],
  ['mixtral-8x7b-instruct-hf', 'mistralai/Mixtral-8x7B-Instruct-v0.1', 46.7, 16, 8, 1e-4, 32768, 'mistral'],
  ['mixtral-8x22b-instruct-hf', 'mistralai/Mixtral-8x22B-Instruct-v0.1', 141, 16, 8, 1e-4, 8192, 'mistral'],
  ['mixtral-8x22b-hf', 'mistralai/Mixtral-8x22B-v0.1', 141, 8, 8, 1e-4, 8192, null],
  ['mixtral-8x7b', 'mistralai/Mixtral-8x7B-v0.1', 46.7, 16, 8, 1e-4, 8192, null],
  ['mistral-7b-instruct-v0p2', 'mistralai/Mistral-7B-Instruct-v0.2', 7.24, 16, 8, 1e-4, 4096, 'mistral'],
  ['mistral-7b', 'mistralai/Mistral-7B-v0.1', 7.24, 16, 8, 1e-4, 4096, 'mistral'],
  ['code-qwen-1p5-7b', 'Qwen/CodeQwen1.5-7B', 7.25, 16, 8, 3e-4, 65536, null],
  ['deepseek-coder-v2-lite-base', 'deepseek-ai/DeepSeek-Coder-V2-Lite-Base', 15.7, 16, 8, 3e-4, 16384, null],
  ['deepseek-coder-7b-base', 'deepseek-ai/deepseek-coder-6.7b-base', 6.74, 16, 8, 3e-4, 16384, null],
  ['deepseek-coder-1b-base', 'deepseek-ai/deepseek-coder-1.3b-base', 1.35, 16, 8, 3e-4, 16384, null],
  ['codegemma-7b', 'google/codegemma-7b', 8.54, 16, 8, 3e-4, 8192, null],
  ['codegemma-2b', 'google/codegemma-2b', 2.51, 16, 8, 3e-4, 8192, null],
  ['starcoder2-15b', 'bigcode/starcoder2-15b', 16, 16, 8, 1e-4, 16384, null],
  ['starcoder2-7b', 'bigcode/starcoder2-7b', 7.17, 16, 8, 1e-4, 16384, null],
  ['starcoder2-3b', 'bigcode/starcoder2-3b', 3.03, 16, 8, 1e-4, 16384, null],
  ['stablecode-3b', 'stabilityai/stable-code-3b', 2.8, 16, 8, 3e-4, 16384, null],
  ['qwen2-72b-instruct', 'Qwen/Qwen2-72B-Instruct', 72.7, 8, 8, 3e-4, 16384, 'chatml'],
];

/** From this size on the reference calls a model "70B class" and trains it quantized; experts cannot be (bitsandbytes keeps them in bfloat16). */
const QUANTIZED_FROM_BILLIONS = 70;

function referenceModel([id, hub, billions, batchSize, loraRank, learningRate, cutoffLength, chatFamily]: Row): BaseModel {
  const mixtureOfExperts = id.startsWith('mixtral') || id.startsWith('deepseek-coder-v2');
  return {
    name: `accounts/fireworks/models/${id}`,
    displayName: hub.slice(hub.indexOf('/') + 1),
    source: { hub },
    batchSize,
    loraRank,
    epochs: 1,
    learningRate,
    cutoffLength,
    chatFamily,
    conversationRecommended: chatFamily !== null,
    parameters: Math.round(billions * 1e9),
    mixtureOfExperts,
    quantization: billions >= QUANTIZED_FROM_BILLIONS && !mixtureOfExperts ? 'nf4' : 'none',
  };
}

export const TINY_MODEL_NAME = 'accounts/temper/models/temper-tiny';

const TINY_MODEL: BaseModel = {
  name: TINY_MODEL_NAME,
  displayName: 'Temper tiny',
  source: { prefix: 'base-models/temper-tiny' },
  batchSize: 16,
  loraRank: 16,
  epochs: 1,
  learningRate: 2e-3,
  cutoffLength: 512,
  conversationRecommended: true,
  chatFamily: null,
  parameters: 1_278_912,
  quantization: 'none',
};

const catalogue: BaseModel[] = [TINY_MODEL, ...REFERENCE_ROWS.map(referenceModel)];
export const BASE_MODELS: readonly BaseModel[] = catalogue;

/** Adds an operator's own base models, at a process' start; one with a name that is there already takes its place. */
export function addBaseModels(models: BaseModel[]): void {
  for (const model of models) {
    const index = catalogue.findIndex(({ name }) => name === model.name);
    if (index < 0) catalogue.push(model);
    else catalogue[index] = model;
  }
}

/** The rows of models that nobody has tried settings for: what the reference uses for most models of the size. */
export function defaultTuning(
  parameters: number,
  mixtureOfExperts: boolean,
): Pick<BaseModel, 'batchSize' | 'loraRank' | 'epochs' | 'learningRate' | 'quantization'> {
  if (parameters < QUANTIZED_FROM_BILLIONS * 1e9)
    return { batchSize: 16, loraRank: 8, epochs: 1, learningRate: 1e-4, quantization: 'none' };
  return { batchSize: 8, loraRank: 8, epochs: 1, learningRate: 1e-4, quantization: mixtureOfExperts ? 'none' : 'nf4' };
}

/** By full name. Undefined when the catalogue has no such model. */
export function findBaseModel(name: string): BaseModel | undefined {
  return BASE_MODELS.find((model) => model.name === name);
}
