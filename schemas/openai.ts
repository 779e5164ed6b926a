/**
 * OpenAI's fine-tuning protocol on the wire, as its published clients send and parse it: files, uploads in parts, jobs with events
 * and checkpoints, models. Names and spellings are theirs. All of it is a view of our datasets, jobs and models.
 */
import { Type, type TSchema } from 'typebox';
import { MAX_BATCH_SIZE, MAX_FILE_SECONDS, MAX_MULTIPART_UPLOAD_BYTES, MIN_FILE_SECONDS } from './limits.js';
import { Ignored, PlainText } from './wire.js';

const Seconds = (description: string) => Type.Integer({ description: `${description}, in seconds since 1970` });
const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const OpenObject = (description: string) => Type.Object({}, { additionalProperties: true, description });

export const OpenaiError = Type.Object({
  error: Type.Object({
    message: Type.String({ description: 'What is wrong and what to do. Never empty.' }),
    type: Type.String({ description: 'invalid_request_error, rate_limit_error or server_error' }),
    param: Nullable(Type.String({ description: 'The field or parameter that is wrong' })),
    code: Nullable(Type.String({ description: 'A stable code' })),
  }),
});

/** `{ object: 'list', data, has_more }`; the next page is asked for with the last item's ID as `after`. */
export const listOf = (item: TSchema) =>
  Type.Object({
    object: Type.Literal('list'),
    data: Type.Array(item),
    has_more: Type.Boolean(),
    first_id: Type.Optional(Nullable(Type.String())),
    last_id: Type.Optional(Nullable(Type.String())),
  });

export const PageQuery = Type.Object({
  after: Type.Optional(Type.String({ maxLength: 300, description: 'ID of the last item of the page before' })),
  limit: Type.Optional(Type.String({ description: 'At most this many items' })),
});

export const Deleted = Type.Object({ id: Type.String(), object: Type.String(), deleted: Type.Boolean() });

// ---- Files

export const OpenaiFile = Type.Object({
  id: Type.String({ description: 'The ID of the dataset' }),
  object: Type.Literal('file'),
  bytes: Type.Integer(),
  created_at: Seconds('When it was created'),
  expires_at: Type.Optional(Seconds('When it will be removed')),
  filename: Type.String(),
  purpose: Type.String({ description: 'fine-tune, or fine-tune-results for the metrics of a job' }),
  status: Type.String({ enum: ['uploaded', 'processed', 'error'], description: 'uploaded: validation is not over' }),
  status_details: Type.Optional(Type.String({ description: 'The first problems that validation found' })),
});

export const FileListQuery = Type.Object({
  ...PageQuery.properties,
  order: Type.Optional(Type.String({ enum: ['asc', 'desc'] })),
  purpose: Type.Optional(Type.String({ maxLength: 100 })),
});

// ---- Uploads in parts

const Purpose = () => Type.String({ enum: ['fine-tune'], 'x-expected': 'fine-tune: files are for fine-tuning here' });
const ExpiresAfter = Type.Object({
  anchor: Type.Literal('created_at'),
  seconds: Type.Integer({ minimum: MIN_FILE_SECONDS, maximum: MAX_FILE_SECONDS }),
});

export const CreateUpload = Type.Object({
  bytes: Type.Integer({ minimum: 1, maximum: MAX_MULTIPART_UPLOAD_BYTES, 'x-expected': 'a whole number of bytes from 1 to 8 GiB' }),
  filename: Type.String({ minLength: 1, maxLength: 255 }),
  mime_type: PlainText(255),
  purpose: Purpose(),
  expires_after: Type.Optional(ExpiresAfter),
});

export const CompleteUpload = Type.Object({
  part_ids: Type.Array(Type.String({ maxLength: 100 }), { minItems: 1, maxItems: 10_000 }),
  md5: Type.Optional(Type.String({ pattern: '^[0-9a-fA-F]{32}$', 'x-expected': 'an MD5 sum: 32 hexadecimal digits' })),
});

export const OpenaiUpload = Type.Object({
  id: Type.String(),
  object: Type.Literal('upload'),
  bytes: Type.Integer(),
  created_at: Seconds('When it was created'),
  expires_at: Seconds('When it must be complete'),
  filename: Type.String(),
  purpose: Type.String(),
  status: Type.String({ enum: ['pending', 'completed', 'cancelled', 'expired'] }),
  file: Type.Optional(Nullable(OpenaiFile)),
});

export const OpenaiUploadPart = Type.Object({
  id: Type.String(),
  object: Type.Literal('upload.part'),
  created_at: Seconds('When it arrived'),
  upload_id: Type.String(),
});

// ---- Jobs

/** The description stands at both branches, because either may be what a wrong value is compared to. */
const AutoOr = (schema: TSchema, expected: string) =>
  Type.Optional(
    Type.Union([Type.Literal('auto', { 'x-expected': expected }), { ...schema, 'x-expected': expected } as TSchema, Type.Null()], {
      'x-expected': expected,
    }),
  );

export const Hyperparameters = Type.Object({
  batch_size: AutoOr(Type.Integer({ minimum: 1, maximum: MAX_BATCH_SIZE }), `"auto" or a whole number from 1 to ${MAX_BATCH_SIZE}`),
  learning_rate_multiplier: AutoOr(Type.Number({ exclusiveMinimum: 0, maximum: 10_000 }), '"auto" or a number above 0'),
  n_epochs: AutoOr(Type.Integer({ minimum: 1, maximum: 3_000_000 }), '"auto" or a whole number from 1'),
});

const Metadata = Type.Unsafe<Record<string, string> | null>({
  type: ['object', 'null'],
  maxProperties: 16,
  propertyNames: { minLength: 1, maxLength: 64 },
  additionalProperties: { type: 'string', maxLength: 512 },
  'x-expected': 'at most 16 pairs of text, keys of at most 64 and values of at most 512 characters',
});

/** An array or null, whose items are still checked field by field. */
const Integrations = Type.Unsafe<{ type: string; wandb?: WandbIntegration }[] | null>({
  type: ['array', 'null'],
  maxItems: 1,
  'x-expected': 'a list of at most one integration',
  items: Type.Object({
    type: Type.Literal('wandb', { 'x-expected': '"wandb": no other integration is supported' }),
    wandb: Type.Object({
      project: PlainText(128),
      entity: Type.Optional(Nullable(PlainText(128))),
      name: Type.Optional(Nullable(PlainText(63))),
      tags: Type.Optional(Type.Array(PlainText(64), { maxItems: 20 })),
    }),
  }),
});
export interface WandbIntegration {
  project: string;
  entity?: string | null;
  name?: string | null;
  tags?: string[];
}

export const CreateFineTuningJob = Type.Object({
  model: Type.String({ minLength: 1, maxLength: 300 }),
  training_file: Type.String({ minLength: 1, maxLength: 200 }),
  validation_file: Type.Optional(Nullable(Type.String({ minLength: 1, maxLength: 200 }))),
  suffix: Type.Optional(Nullable(PlainText(64))),
  seed: Type.Optional(Nullable(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }))),
  metadata: Type.Optional(Metadata),
  method: Type.Optional(
    Type.Object({
      type: Type.Optional(Type.String({ enum: ['supervised', 'dpo', 'reinforcement'] })),
      supervised: Type.Optional(Type.Object({ hyperparameters: Type.Optional(Hyperparameters) })),
      dpo: Type.Optional(OpenObject('Not supported: refused with a message')),
      reinforcement: Type.Optional(OpenObject('Not supported: refused with a message')),
    }),
  ),
  hyperparameters: Type.Optional({
    ...Hyperparameters,
    description: 'Deprecated: use method.supervised.hyperparameters',
  } as typeof Hyperparameters),
  integrations: Type.Optional(Integrations),
  user: Ignored('Who asked for a job is the user of the key.'),
});
export interface CreateFineTuningJob {
  model: string;
  training_file: string;
  validation_file?: string | null;
  suffix?: string | null;
  seed?: number | null;
  metadata?: Record<string, string> | null;
  method?: { type?: string; supervised?: { hyperparameters?: HyperparametersGiven } };
  hyperparameters?: HyperparametersGiven;
  integrations?: { type: string; wandb?: WandbIntegration }[] | null;
}
export interface HyperparametersGiven {
  batch_size?: number | 'auto' | null;
  learning_rate_multiplier?: number | 'auto' | null;
  n_epochs?: number | 'auto' | null;
}

export const OPENAI_JOB_STATES = ['validating_files', 'queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled'] as const;
export type OpenaiJobState = (typeof OPENAI_JOB_STATES)[number];

const JobHyperparameters = Type.Object({
  n_epochs: Type.Number(),
  batch_size: Type.Integer(),
  learning_rate_multiplier: Type.Number({ description: 'Of the base model’s own learning rate' }),
});

export const OpenaiJob = Type.Object({
  id: Type.String(),
  object: Type.Literal('fine_tuning.job'),
  created_at: Seconds('When it was created'),
  finished_at: Nullable(Seconds('When it ended')),
  estimated_finish: Nullable(Seconds('When training is expected to end; null unless it runs')),
  model: Type.String(),
  fine_tuned_model: Nullable(Type.String({ description: 'null until the job has succeeded' })),
  organization_id: Type.String({ description: 'The account' }),
  status: Type.String({ enum: [...OPENAI_JOB_STATES] }),
  training_file: Type.String(),
  validation_file: Nullable(Type.String()),
  result_files: Type.Array(Type.String()),
  hyperparameters: JobHyperparameters,
  method: Type.Object({ type: Type.Literal('supervised'), supervised: Type.Object({ hyperparameters: JobHyperparameters }) }),
  trained_tokens: Nullable(Type.Integer({ description: 'Tokens of all steps; null until the job has ended' })),
  seed: Type.Integer(),
  error: Nullable(Type.Object({ code: Type.String(), message: Type.String(), param: Nullable(Type.String()) })),
  integrations: Nullable(Type.Array(OpenObject('type and wandb'))),
  metadata: Nullable(OpenObject('Pairs of text')),
  user_provided_suffix: Nullable(Type.String()),
});

export const OpenaiJobEvent = Type.Object({
  id: Type.String(),
  object: Type.Literal('fine_tuning.job.event'),
  created_at: Seconds('When it happened'),
  level: Type.String({ enum: ['info', 'warn', 'error'] }),
  message: Type.String(),
  type: Type.String({ enum: ['message', 'metrics'], description: 'metrics: a training step' }),
  data: OpenObject('Of a step: step, total_steps, train_loss, and valid_loss where it was measured'),
});

export const OpenaiCheckpoint = Type.Object({
  id: Type.String(),
  object: Type.Literal('fine_tuning.job.checkpoint'),
  created_at: Seconds('When it was stored'),
  fine_tuned_model_checkpoint: Type.String(),
  fine_tuning_job_id: Type.String(),
  step_number: Type.Integer(),
  metrics: Type.Object({
    step: Type.Integer(),
    train_loss: Type.Optional(Type.Number()),
    valid_loss: Type.Optional(Type.Number({ description: 'After this step, where it was measured' })),
    full_valid_loss: Type.Optional(Type.Number({ description: 'Of the finished model' })),
  }),
});

// ---- Models

export const OpenaiModel = Type.Object({
  id: Type.String(),
  object: Type.Literal('model'),
  created: Seconds('When it was made'),
  owned_by: Type.String(),
});
