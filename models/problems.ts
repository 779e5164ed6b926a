/** What validation finds in a model's files. The code is stable; the message says what was found and what was expected, or what to do. */
import type { ErrorDetail } from '../schemas/errors.js';

export type ProblemCode =
  | 'FILE_MISSING'
  | 'FILE_UNEXPECTED'
  | 'SAFETENSORS_INVALID'
  | 'UNSAFE_WEIGHTS'
  | 'CONFIG_INVALID'
  | 'CODE_REFUSED'
  | 'ARCHITECTURE_UNSUPPORTED'
  | 'ALREADY_QUANTIZED'
  | 'MODEL_TOO_LARGE'
  | 'INDEX_INVALID'
  | 'ADAPTER_CONFIG_INVALID'
  | 'LORA_RANK'
  | 'TARGET_MODULES'
  | 'ADAPTER_VARIANT'
  | 'TENSOR_MISSING'
  | 'TENSOR_UNEXPECTED'
  | 'TENSOR_SHAPE'
  | 'TENSOR_TYPE'
  | 'VALUES_NOT_FINITE'
  | 'TOKENIZER_INVALID'
  | 'VOCABULARY_MISMATCH'
  | 'TEMPLATE_INVALID';

export interface ModelProblem {
  code: ProblemCode;
  message: string;
  /** The file it is in. */
  file?: string;
}

const SHOWN = 3;
const MAX_DETAILS = 20;

/** The first problems in one text, and how many there are. */
export function summariseProblems(problems: ModelProblem[]): string {
  const shown = problems.slice(0, SHOWN).map(({ message }) => message);
  const more = problems.length - shown.length;
  return `${shown.join(' ')}${more > 0 ? ` And ${more} more.` : ''}`;
}

export function problemDetails(problems: ModelProblem[]): ErrorDetail[] {
  return problems.slice(0, MAX_DETAILS).map(({ code, message, file }) => ({ reason: code, ...(file ? { field: file } : {}), message }));
}

/** A value as it is shown in a message: short, on one line. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
