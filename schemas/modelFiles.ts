/** Which files a model that someone brings may have: plain names in one folder, no code, no other formats. */
import { MAX_SIGNED_UPLOAD_BYTES } from './limits.js';

export type ModelKind = 'HF_PEFT_ADDON' | 'HF_BASE_MODEL';

/** A part of the largest models, of some hundred. */
export const MAX_MODEL_FILES = 1000;
/** Configuration, templates, tokenizers: the largest known has 33 MB. */
export const MAX_SMALL_FILE_BYTES = 64 * 1024 * 1024;

const TEXTS = [
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'generation_config.json',
  'fireworks.json',
  'README.md',
  'LICENSE',
  'LICENSE.md',
  'LICENSE.txt',
];

const SMALL_FILES: Record<ModelKind, string[]> = {
  HF_PEFT_ADDON: ['adapter_config.json', ...TEXTS],
  HF_BASE_MODEL: ['config.json', 'model.safetensors.index.json', 'pytorch_model.bin.index.json', ...TEXTS],
};

const WEIGHTS: Record<ModelKind, RegExp> = {
  HF_PEFT_ADDON: /^adapter_model\.(safetensors|bin)$/,
  HF_BASE_MODEL: /^[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.safetensors$|^pytorch_model(-\d{5}-of-\d{5})?\.bin$/,
};

/** Why a file cannot be part of a model, as the end of a sentence; null when it can. */
export function refuseModelFile(kind: ModelKind, name: string, sizeBytes: number): string | null {
  const isSmall = SMALL_FILES[kind].includes(name);
  if (!isSmall && !WEIGHTS[kind].test(name)) return `is no file of a ${kind}: ${whatIsTaken(kind)}`;
  const mostBytes = isSmall ? MAX_SMALL_FILE_BYTES : MAX_SIGNED_UPLOAD_BYTES;
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 1 && sizeBytes <= mostBytes) return null;
  const advice = isSmall ? '' : '; save large weights in parts (max_shard_size="4GB")';
  return `must have 1 to ${mostBytes} bytes, not ${sizeBytes}${advice}`;
}

export function isModelFile(kind: ModelKind, name: string): boolean {
  return SMALL_FILES[kind].includes(name) || WEIGHTS[kind].test(name);
}

function whatIsTaken(kind: ModelKind): string {
  const weights =
    kind === 'HF_PEFT_ADDON' ? 'adapter_model.safetensors or adapter_model.bin' : '*.safetensors or pytorch_model*.bin with their index';
  return `it has ${SMALL_FILES[kind][0]}, ${weights}, tokenizer files, fireworks.json, README.md and LICENSE`;
}
