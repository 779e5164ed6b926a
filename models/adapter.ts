/** A PEFT add-on against its base model: adapter_config.json, and every tensor's name, shape and type, from headers alone. */
import type { ModelLayout } from './families.js';
import { shown, type ModelProblem } from './problems.js';
import type { TensorInfos } from './safetensorsHeader.js';

/** Reference: "Must be an integer between 4 and 64, inclusive." */
const MIN_RANK = 4;
const MAX_RANK = 64;
const MAX_ALPHA = 65_536;
const TYPES = ['F32', 'F16', 'BF16'];
const CONFIG_FILE = 'adapter_config.json';
const WEIGHTS_FILE = 'adapter_model.safetensors';
const MAX_PROBLEMS = 100;

/**
 * Reference: the target modules that add-ons may have. Beside these, what the trainer here tunes in families whose layers have
 * other names: the models of its jobs must come in again.
 */
const REFERENCE_TARGETS = [
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'up_proj',
  'w1',
  'down_proj',
  'w2',
  'gate_proj',
  'w3',
  'block_sparse_moe.gate',
];
const MORE_TARGETS: Record<string, string[]> = {
  starcoder2: ['c_fc', 'c_proj'],
  phi: ['dense', 'fc1', 'fc2'],
  gpt_neox: ['query_key_value', 'dense', 'dense_h_to_4h', 'dense_4h_to_h'],
  deepseek_v2: ['q_a_proj', 'q_b_proj', 'kv_a_proj_with_mqa', 'kv_b_proj'],
};

/** Fields that make something else of an adapter than plain LoRA; `unset` are the values with which they do nothing. */
const VARIANTS: [field: string, unset: unknown[], what: string][] = [
  ['use_dora', [false], 'DoRA'],
  ['modules_to_save', [[]], 'layers saved whole'],
  ['bias', ['none'], 'trained biases'],
  ['lora_bias', [false], 'trained biases'],
  ['rank_pattern', [{}], 'ranks that differ by layer'],
  ['alpha_pattern', [{}], 'alphas that differ by layer'],
  ['layers_to_transform', [[]], 'a part of the layers'],
  ['layers_pattern', [[]], 'a part of the layers'],
  ['layer_replication', [[]], 'layers that are there twice'],
  ['exclude_modules', [[]], 'excluded layers'],
  ['target_parameters', [[]], 'single parameters as targets'],
  ['trainable_token_indices', [[], {}], 'trained token embeddings'],
  ['fan_in_fan_out', [false], 'transposed weights'],
  ['use_qalora', [false], 'QALoRA'],
  ['use_bdlora', [false], 'block-diagonal LoRA'],
  ['megatron_config', [{}], 'Megatron layers'],
  ['auto_mapping', [{}], 'classes of its own'],
  ['arrow_config', [{}], 'routed adapters'],
  ['corda_config', [{}], 'CorDA'],
  ['eva_config', [{}], 'EVA'],
];

export interface AdapterFacts {
  r: number;
  targetModules: string[];
  /** Why the trainer here cannot go on from it, when it cannot. */
  untunable?: string;
}

export interface AdapterCheck {
  problems: ModelProblem[];
  warnings: string[];
  /** Null when adapter_config.json does not give them. */
  facts: AdapterFacts | null;
}

/** @param base  the layout of the base model and its name, for messages */
export function checkAdapter(
  config: Record<string, unknown>,
  tensors: TensorInfos | null,
  base: { name: string; layout: ModelLayout },
): AdapterCheck {
  const warnings: string[] = [];
  const problems = checkConfig(config);
  const rank = readRank(config['r'], problems);
  const modules = readTargets(config['target_modules'], base, problems);
  if (rank === null || modules === null) return { problems, warnings, facts: null };
  if (tensors) problems.push(...checkTensors(tensors, rank, modules.found, base));
  const named = config['base_model_name_or_path'];
  if (typeof named === 'string' && /^[\w-]/.test(named) && !sameModel(named, base.name))
    warnings.push(`${CONFIG_FILE} says that the add-on was trained on ${shown(named)}; it is used on ${base.name}, whose layers it fits.`);
  const routed = [...modules.found.keys()].find((path) => path.includes('.experts.') || path.endsWith('.gate'));
  const untunable = routed ? 'it has weights in the experts or their gate, which the trainer here leaves alone.' : undefined;
  if (untunable) warnings.push(`No job can go on from this add-on: ${untunable}`);
  return { problems, warnings, facts: { r: rank, targetModules: modules.targets, ...(untunable ? { untunable } : {}) } };
}

function checkConfig(config: Record<string, unknown>): ModelProblem[] {
  const problems: ModelProblem[] = [];
  const wrong = (code: ModelProblem['code'], message: string) =>
    problems.push({ code, file: CONFIG_FILE, message: `${CONFIG_FILE}: ${message}` });
  if (config['peft_type'] !== 'LORA') wrong('ADAPTER_CONFIG_INVALID', `peft_type must be "LORA", is ${shown(config['peft_type'])}.`);
  const task = config['task_type'] ?? 'CAUSAL_LM';
  if (task !== 'CAUSAL_LM') wrong('ADAPTER_CONFIG_INVALID', `task_type must be "CAUSAL_LM", is ${shown(task)}.`);
  const alpha = config['lora_alpha'] ?? 8;
  if (typeof alpha !== 'number' || !(alpha > 0 && alpha <= MAX_ALPHA))
    wrong('ADAPTER_CONFIG_INVALID', `lora_alpha must be a number above 0 and at most ${MAX_ALPHA}, is ${shown(alpha)}.`);
  for (const [field, unset, what] of VARIANTS) {
    const value = config[field];
    if (value === undefined || value === null || unset.some((one) => JSON.stringify(one) === JSON.stringify(value))) continue;
    wrong(
      'ADAPTER_VARIANT',
      `${field} is ${shown(value)}: add-ons with ${what} are not supported. Merge them into the base model and upload that, or train plain LoRA.`,
    );
  }
  return problems;
}

function readRank(rank: unknown, problems: ModelProblem[]): number | null {
  if (Number.isInteger(rank) && (rank as number) >= MIN_RANK && (rank as number) <= MAX_RANK) return rank as number;
  const message = `${CONFIG_FILE}: r must be an integer between ${MIN_RANK} and ${MAX_RANK}, inclusive, is ${shown(rank)}.`;
  problems.push({ code: 'LORA_RANK', file: CONFIG_FILE, message });
  return null;
}

/** The base model's layers that the targets name, as PEFT finds them: by the end of their path. */
function readTargets(
  targets: unknown,
  { name, layout }: { name: string; layout: ModelLayout },
  problems: ModelProblem[],
): { targets: string[]; found: Map<string, [outputs: number, inputs: number]> } | null {
  const wrong = (message: string) => {
    problems.push({ code: 'TARGET_MODULES', file: CONFIG_FILE, message: `${CONFIG_FILE}: ${message}` });
    return null;
  };
  const supported = [...REFERENCE_TARGETS, ...(MORE_TARGETS[layout.family] ?? [])];
  // PEFT takes a string for a regular expression, which can be made to hang.
  if (!Array.isArray(targets) || targets.length === 0 || !targets.every((target) => typeof target === 'string'))
    return wrong(`target_modules must be a list of names out of ${supported.join(', ')}, is ${shown(targets)}.`);
  const unsupported = targets.filter((target) => !supported.includes(target as string));
  if (unsupported.length > 0)
    return wrong(`target_modules has ${unsupported.slice(0, 5).map(shown).join(', ')}; supported are ${supported.join(', ')}.`);
  const linear = linearLayers(layout);
  const found = new Map<string, [number, number]>();
  for (const target of new Set(targets as string[])) {
    const matches = [...linear].filter(([path]) => path.endsWith(`.${target}`));
    if (matches.length === 0) {
      const names = new Set([...linear.keys()].map((path) => path.slice(path.lastIndexOf('.') + 1)));
      return wrong(`target_modules has ${shown(target)}, and ${name} has no such layer; it has ${[...names].join(', ')}.`);
    }
    for (const [path, shape] of matches) found.set(path, shape);
  }
  return { targets: [...new Set(targets as string[])].sort(), found };
}

/** Path and shape of the weight of each linear layer inside the blocks. */
function linearLayers(layout: ModelLayout): Map<string, [number, number]> {
  const layers = new Map<string, [number, number]>();
  for (const [name, shape] of layout.tensors) {
    if (shape.length === 2 && /layers\.\d+\./.test(name)) layers.set(name.replace(/\.weight$/, ''), shape as [number, number]);
  }
  return layers;
}

function checkTensors(
  tensors: TensorInfos,
  rank: number,
  modules: Map<string, [number, number]>,
  { name: baseName }: { name: string },
): ModelProblem[] {
  const problems: ModelProblem[] = [];
  const wrong = (code: ModelProblem['code'], message: string) => problems.push({ code, file: WEIGHTS_FILE, message });
  const expected = new Map<string, number[]>();
  for (const [path, [outputs, inputs]] of modules) {
    expected.set(`${path}.lora_A.weight`, [rank, inputs]);
    expected.set(`${path}.lora_B.weight`, [outputs, rank]);
  }
  const left = new Set(expected.keys());
  for (const [fullName, { dtype, shape }] of tensors) {
    if (problems.length >= MAX_PROBLEMS) return problems;
    const name = fullName.replace(/^base_model\.model\./, '');
    const wanted = fullName === name ? undefined : expected.get(name);
    if (!wanted) {
      wrong(
        'TENSOR_UNEXPECTED',
        `Unexpected LoRA weight ${fullName.slice(0, 200)}: ${baseName} with these target modules has no such layer.`,
      );
      continue;
    }
    left.delete(name);
    if (shape.length !== 2 || shape[0] !== wanted[0] || shape[1] !== wanted[1])
      wrong(
        'TENSOR_SHAPE',
        `Invalid LoRA weight ${name} shape: torch.Size([${shape.join(', ')}]), expected (${wanted.join(', ')}) for ${baseName}.`,
      );
    if (!TYPES.includes(dtype)) wrong('TENSOR_TYPE', `Invalid LoRA weight ${name} type: ${dtype}, expected one of ${TYPES.join(', ')}.`);
  }
  for (const name of [...left].slice(0, MAX_PROBLEMS - problems.length))
    wrong('TENSOR_MISSING', `Missing LoRA weight ${name}, expected (${expected.get(name)!.join(', ')}).`);
  return problems;
}

/** The hub's name of a model against the name here: only a plain difference is worth a warning. */
function sameModel(named: string, baseName: string): boolean {
  const plain = (name: string) =>
    name
      .slice(name.lastIndexOf('/') + 1)
      .toLowerCase()
      .replace(/[^a-z0-9]|(?<=\d)p(?=\d)/g, '');
  return plain(named) === plain(baseName);
}
