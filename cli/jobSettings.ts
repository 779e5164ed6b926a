/**
 * The settings of a fine-tuning job as data: the key in a settings file, the flag that wins over it, and the field of the
 * API's request. From a file and flags to one request, with the origin of each value.
 */
import { BASE_MODELS } from '../schemas/baseModels.js';
import { isId, resourceName } from '../schemas/names.js';
import { UsageError } from './failures.js';
import type { Block } from './settingsFile.js';

export type SettingType = 'text' | 'number' | 'integer' | 'boolean';
export type SettingValue = string | number | boolean;

export interface Setting {
  /** Key in a settings file. Those of a kind stand in the kind's block, or at the top level as the flags do. */
  key: string;
  type: SettingType;
  /** The request's field; `block.field` inside a kind's block. */
  field: string;
  flag: string;
  help: string;
}

/** The kinds of the reference, each a block of a settings file and of the request. */
export const KINDS = ['text_completion', 'text_classification', 'conversation'] as const;
export type Kind = (typeof KINDS)[number];

const BLOCKS: Record<Kind, string> = {
  text_completion: 'textCompletion',
  text_classification: 'textClassification',
  conversation: 'conversation',
};

const setting = (key: string, type: SettingType, help: string, block = ''): Setting => ({
  key,
  type,
  help,
  field: block + camelCase(key),
  flag: `--${key.replaceAll('_', '-')}`,
});

export const SETTINGS: readonly Setting[] = [
  setting('dataset', 'text', 'ID of the dataset to train on'),
  setting('base_model', 'text', 'model to start from; this or --warm-start-from'),
  setting('warm_start_from', 'text', 'tuned model to go on from; this or --base-model'),
  setting('from_checkpoint', 'text', 'checkpoint to start from, JOB@STEP or JOB for its newest, with the settings of that job'),
  setting('input_template', 'text', 'text completion: the prompt, with {field} for a field of the row', 'textCompletion.'),
  setting('output_template', 'text', 'text completion: the answer to learn, with {field}', 'textCompletion.'),
  setting('text', 'text', 'text classification: the field with the text', 'textClassification.'),
  setting('label', 'text', 'text classification: the field with the label', 'textClassification.'),
  setting('jinja_template', 'text', "conversation: a chat template instead of the model's own", 'conversation.'),
  setting('epochs', 'number', 'passes over the dataset; may be fractional'),
  setting('learning_rate', 'number', 'peak learning rate'),
  setting('batch_size', 'integer', 'examples of one optimizer step: a power of two below 1024'),
  setting('lora_rank', 'integer', 'rank of the LoRA matrices: 1 to 32'),
  setting('evaluation', 'boolean', 'compare the base and the tuned model on held-out examples'),
  setting('evaluation_split', 'number', 'share of the examples held out for the evaluation (default 0.15)'),
  setting('evaluation_dataset', 'text', 'dataset to evaluate on, instead of held-out examples'),
  setting('evaluation_steps', 'integer', 'steps between two evaluations while training (default: once an epoch); the best one is kept'),
  setting('early_stop', 'boolean', 'end training when the loss on the held-out examples has stopped falling'),
  setting('max_gpu_seconds', 'integer', 'most seconds that training may hold the GPU; then the best so far becomes the model'),
  setting('deadline', 'text', 'when training ends at the latest, such as 2027-01-31T18:00:00Z; then the best so far becomes the model'),
  setting('require_approval', 'boolean', 'wait, checked and rendered, until someone approves or rejects the job'),
  setting('quantization', 'text', 'none (LoRA), nf4 (QLoRA), or auto: QLoRA where memory asks for it; default: what suits the base model'),
  setting('accelerator_count', 'integer', 'GPUs of one machine to train on together (default: 1)'),
  setting('seed', 'integer', 'seed of the split, the order and the adapter'),
  setting('priority', 'integer', 'place in the GPU queue: 1 (first) to 5'),
  setting('model_id', 'text', 'ID of the tuned model (default: chosen for you)'),
  setting('job_id', 'text', 'ID of the job (default: chosen for you)'),
  setting('display_name', 'text', 'name for people'),
  setting('wandb_entity', 'text', 'Weights & Biases entity'),
  setting('wandb_api_key', 'text', 'Weights & Biases API key'),
  setting('wandb_project', 'text', 'Weights & Biases project'),
  setting('mlflow_experiment', 'text', "MLflow experiment, on the deployment's tracking server"),
  setting('tensorboard', 'boolean', 'write a TensorBoard event file'),
];

/** What a job starts from: one of them. */
const STARTS = ['base_model', 'warm_start_from', 'from_checkpoint'];

export interface Given {
  value: SettingValue;
  /** `settings.yaml:7` or `--epochs`. */
  origin: string;
}
export interface JobSettings {
  /** By key. */
  values: Map<string, Given>;
  kind?: { name: Kind; origin: string };
  /** Of a settings file: what is said of retraining beside the jobs' settings. */
  blocks?: { schedule?: Block; retraining?: Block };
}

/**
 * The flags' settings over the file's. What contradicts a flag goes with what the flag replaces: the block of another kind,
 * the other model to start from, the split of an evaluation that is switched off.
 */
export function mergeSettings(file: JobSettings, flags: JobSettings): JobSettings {
  const contradicts = (key: string): boolean => {
    const kind = kindOf(key);
    if (kind) return flags.kind !== undefined && flags.kind.name !== kind;
    if (STARTS.includes(key)) return STARTS.some((other) => other !== key && flags.values.has(other));
    return key === 'evaluation_split' && flags.values.get('evaluation')?.value === false;
  };
  const kept = [...file.values].filter(([key]) => !contradicts(key));
  return { values: new Map([...kept, ...flags.values]), kind: flags.kind ?? file.kind, blocks: file.blocks };
}

export interface JobRequest {
  body: Record<string, unknown>;
  /** One row a value, in the order of the settings. */
  rows: { field: string; value: SettingValue | Record<string, never>; origin: string }[];
}

/**
 * @param given.data  what to train on is said elsewhere, so the settings need not name a dataset
 * @throws UsageError  when what every job needs is missing or contradicts itself, with what to add
 */
export function buildJobRequest({ values, kind }: JobSettings, accountId: string, given: { data?: boolean } = {}): JobRequest {
  requireComplete(values, kind?.name, given.data ?? false);
  const body: Record<string, unknown> = {};
  const rows: JobRequest['rows'] = [];
  const block: Record<string, SettingValue> = {};
  for (const { key, field } of SETTINGS) {
    const given = values.get(key);
    if (!given) continue;
    const value = fullName(key, given.value, accountId);
    const owner = kindOf(key);
    if (owner && owner !== kind!.name)
      throw new UsageError(`${key} (${given.origin}) is a setting of ${owner}, and the job's kind is ${kind!.name} (${kind!.origin})`);
    if (owner) block[field.slice(field.indexOf('.') + 1)] = value;
    else body[field] = value;
    rows.push({ field, value, origin: value === given.value ? given.origin : `${given.origin}, as its full name` });
  }
  body[BLOCKS[kind!.name]] = block;
  if (Object.keys(block).length === 0) rows.push({ field: BLOCKS[kind!.name], value: {}, origin: kind!.origin });
  return { body, rows };
}

/** Where each field came from, under each name an error of the API may use for it. */
export function requestOrigins(request: JobRequest): Map<string, string> {
  const origins = new Map<string, string>();
  for (const { field, origin } of request.rows) {
    for (const name of [field, field.slice(field.indexOf('.') + 1)]) {
      origins.set(name, origin);
      origins.set(snakeCase(name), origin);
    }
  }
  return origins;
}

/** The kind that a setting belongs to; undefined for those that every job has. */
export function kindOf(key: string): Kind | undefined {
  const field = SETTINGS.find((candidate) => candidate.key === key)?.field ?? '';
  return KINDS.find((kind) => field.startsWith(`${BLOCKS[kind]}.`));
}

/** The kind of a job as the API shows it, by the block that it has. */
export function kindOfJob(job: Record<string, unknown>): Kind | undefined {
  return KINDS.find((kind) => job[BLOCKS[kind]] !== undefined);
}

function requireComplete(values: JobSettings['values'], kind: Kind | undefined, hasData: boolean): void {
  if (!values.has('dataset') && !hasData) throw new UsageError('no dataset: give --dataset ID, or `dataset: ID` in the settings file');
  const [start, other] = STARTS.filter((key) => values.has(key));
  if (start === undefined)
    throw new UsageError(
      'no model to start from: give --base-model or --warm-start-from (`base_model:` or `warm_start_from:` in the settings file)',
    );
  if (other !== undefined)
    throw new UsageError(
      `both ${start} (${values.get(start)!.origin}) and ${other} (${values.get(other)!.origin}) are given: keep one of them`,
    );
  if (!kind) {
    throw new UsageError(
      'no kind of job: give --input-template and --output-template, or --text and --label, or --conversation (the blocks text_completion, text_classification or conversation in the settings file)',
    );
  }
  const required = { text_completion: ['input_template', 'output_template'], text_classification: ['text', 'label'], conversation: [] }[
    kind
  ];
  for (const key of required) {
    if (!values.has(key))
      throw new UsageError(
        `a job of kind ${kind} needs ${key}: give --${key.replaceAll('_', '-')} or \`${key}:\` in the block ${kind} of the settings file`,
      );
  }
}

/** A bare ID as the name the API wants: of the account, or for a base model of the catalogue where it is the only one. */
function fullName(key: string, value: SettingValue, accountId: string): SettingValue {
  if (typeof value !== 'string' || !isId(value)) return value;
  if (key === 'dataset' || key === 'evaluation_dataset') return resourceName(accountId, 'datasets', value);
  if (key === 'warm_start_from') return resourceName(accountId, 'models', value);
  if (key !== 'base_model') return value;
  const known = BASE_MODELS.filter((model) => model.name.endsWith(`/models/${value}`));
  return known.length === 1 ? known[0]!.name : resourceName(accountId, 'models', value);
}

function camelCase(key: string): string {
  return key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
function snakeCase(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
