/**
 * Every error of the product, once: its stable code (the `reason` users and scripts match on), the gRPC status that gives
 * its HTTP status and the `code` on the wire, whose it is, and whether trying the same again can help.
 *
 * `TemperError` is the one error type of our own code. It is mapped once to HTTP (api/problems.ts), once to Temporal
 * failures (activities/failures.ts) and once to the CLI (cli/client.ts).
 */

/** gRPC status names with their number on the wire and their HTTP status (grpc-gateway's table). */
export const GRPC_STATUS = {
  OK: { code: 0, http: 200 },
  CANCELLED: { code: 1, http: 499 },
  UNKNOWN: { code: 2, http: 500 },
  INVALID_ARGUMENT: { code: 3, http: 400 },
  DEADLINE_EXCEEDED: { code: 4, http: 504 },
  NOT_FOUND: { code: 5, http: 404 },
  ALREADY_EXISTS: { code: 6, http: 409 },
  PERMISSION_DENIED: { code: 7, http: 403 },
  RESOURCE_EXHAUSTED: { code: 8, http: 429 },
  FAILED_PRECONDITION: { code: 9, http: 400 },
  ABORTED: { code: 10, http: 409 },
  OUT_OF_RANGE: { code: 11, http: 400 },
  UNIMPLEMENTED: { code: 12, http: 501 },
  INTERNAL: { code: 13, http: 500 },
  UNAVAILABLE: { code: 14, http: 503 },
  DATA_LOSS: { code: 15, http: 500 },
  UNAUTHENTICATED: { code: 16, http: 401 },
} as const;
export type GrpcStatus = keyof typeof GRPC_STATUS;

/** Whose the failure is: what the user gave (DATASET, CONFIG), what they may use (QUOTA, CAPACITY), ours (PLATFORM), or a tracker's. */
export type ErrorDomain = 'DATASET' | 'CONFIG' | 'QUOTA' | 'CAPACITY' | 'PLATFORM' | 'TRACKER';

interface ErrorRow {
  status: GrpcStatus;
  domain: ErrorDomain;
  /** True: the same request or step may succeed later, so activities retry it. */
  retryable: boolean;
  /** HTTP status where the gateway's table does not give it. */
  http?: number;
}

const row = (status: GrpcStatus, domain: ErrorDomain, retryable = false, http?: number): ErrorRow => ({ status, domain, retryable, http });

export const ERRORS = {
  // Requests
  INVALID_JSON: row('INVALID_ARGUMENT', 'CONFIG'),
  INVALID_FIELD: row('INVALID_ARGUMENT', 'CONFIG'),
  UNKNOWN_FIELD: row('INVALID_ARGUMENT', 'CONFIG'),
  MISSING_FIELD: row('INVALID_ARGUMENT', 'CONFIG'),
  INVALID_ID: row('INVALID_ARGUMENT', 'CONFIG'),
  INVALID_PAGE_SIZE: row('INVALID_ARGUMENT', 'CONFIG'),
  INVALID_PAGE_TOKEN: row('INVALID_ARGUMENT', 'CONFIG'),
  INVALID_FILTER: row('INVALID_ARGUMENT', 'CONFIG'),
  INVALID_ORDER_BY: row('INVALID_ARGUMENT', 'CONFIG'),
  INVALID_READ_MASK: row('INVALID_ARGUMENT', 'CONFIG'),
  INVALID_UPDATE_MASK: row('INVALID_ARGUMENT', 'CONFIG'),
  INVALID_UPLOAD: row('INVALID_ARGUMENT', 'CONFIG'),
  UNSUPPORTED_MEDIA_TYPE: row('INVALID_ARGUMENT', 'CONFIG', false, 415),
  BODY_TOO_LARGE: row('INVALID_ARGUMENT', 'QUOTA', false, 413),
  ROUTE_NOT_FOUND: row('NOT_FOUND', 'CONFIG'),
  METHOD_NOT_ALLOWED: row('UNIMPLEMENTED', 'CONFIG', false, 405),
  UNAUTHENTICATED: row('UNAUTHENTICATED', 'CONFIG'),
  PERMISSION_DENIED: row('PERMISSION_DENIED', 'CONFIG'),
  REQUEST_TIMEOUT: row('DEADLINE_EXCEEDED', 'CONFIG', true, 408),
  HEADERS_TOO_LARGE: row('INVALID_ARGUMENT', 'CONFIG', false, 431),
  MALFORMED_REQUEST: row('INVALID_ARGUMENT', 'CONFIG'),
  QUOTA_EXCEEDED: row('RESOURCE_EXHAUSTED', 'QUOTA'),
  RATE_LIMITED: row('RESOURCE_EXHAUSTED', 'QUOTA', true),
  IDEMPOTENCY_KEY_REUSED: row('ALREADY_EXISTS', 'CONFIG'),
  RESOURCE_NOT_FOUND: row('NOT_FOUND', 'CONFIG'),
  RESOURCE_ALREADY_EXISTS: row('ALREADY_EXISTS', 'CONFIG'),
  RESOURCE_IN_USE: row('FAILED_PRECONDITION', 'CONFIG'),
  ILLEGAL_STATE: row('FAILED_PRECONDITION', 'CONFIG'),
  UNIMPLEMENTED: row('UNIMPLEMENTED', 'CONFIG'),

  // Datasets
  DATASET_NOT_FOUND: row('NOT_FOUND', 'DATASET'),
  DATASET_NOT_READY: row('FAILED_PRECONDITION', 'DATASET'),
  DATASET_PROCESSING: row('ABORTED', 'DATASET', true),
  DATASET_IMMUTABLE: row('FAILED_PRECONDITION', 'DATASET'),
  DATASET_INVALID: row('INVALID_ARGUMENT', 'DATASET'),
  UPLOAD_INCOMPLETE: row('FAILED_PRECONDITION', 'DATASET'),
  UPLOAD_MISSING: row('FAILED_PRECONDITION', 'DATASET'),
  DATASET_FIELD_MISSING: row('INVALID_ARGUMENT', 'DATASET'),
  DATASET_FIELD_TYPE: row('INVALID_ARGUMENT', 'DATASET'),
  DATASET_KIND_MISMATCH: row('INVALID_ARGUMENT', 'DATASET'),
  DATASET_TOO_SMALL_TO_SPLIT: row('INVALID_ARGUMENT', 'DATASET'),
  TOO_MANY_EXAMPLES: row('INVALID_ARGUMENT', 'DATASET'),
  RENDER_FAILED: row('INVALID_ARGUMENT', 'DATASET'),
  NO_TRAINABLE_TOKENS: row('INVALID_ARGUMENT', 'DATASET'),

  // Job settings
  JOB_KIND_MISSING: row('INVALID_ARGUMENT', 'CONFIG'),
  JOB_KIND_AMBIGUOUS: row('INVALID_ARGUMENT', 'CONFIG'),
  BASE_MODEL_AND_WARM_START: row('INVALID_ARGUMENT', 'CONFIG'),
  BASE_MODEL_MISSING: row('INVALID_ARGUMENT', 'CONFIG'),
  BASE_MODEL_NOT_FOUND: row('NOT_FOUND', 'CONFIG'),
  BASE_MODEL_NOT_TUNABLE: row('INVALID_ARGUMENT', 'CONFIG'),
  WARM_START_NOT_FOUND: row('NOT_FOUND', 'CONFIG'),
  CHECKPOINT_NOT_FOUND: row('NOT_FOUND', 'CONFIG'),
  WARM_START_NOT_READY: row('FAILED_PRECONDITION', 'CONFIG'),
  WARM_START_MISMATCH: row('INVALID_ARGUMENT', 'CONFIG'),
  EPOCHS_NOT_POSITIVE: row('INVALID_ARGUMENT', 'CONFIG'),
  EXAMPLES_TIMES_EPOCHS_TOO_LARGE: row('INVALID_ARGUMENT', 'QUOTA'),
  BATCH_SIZE_NOT_POWER_OF_TWO: row('INVALID_ARGUMENT', 'CONFIG'),
  LORA_RANK_OUT_OF_RANGE: row('INVALID_ARGUMENT', 'CONFIG'),
  LEARNING_RATE_OUT_OF_RANGE: row('INVALID_ARGUMENT', 'CONFIG'),
  EVALUATION_SPLIT_OUT_OF_RANGE: row('INVALID_ARGUMENT', 'CONFIG'),
  EVALUATION_SPLIT_WITHOUT_EVALUATION: row('INVALID_ARGUMENT', 'CONFIG'),
  WANDB_CONFIG_INVALID: row('INVALID_ARGUMENT', 'CONFIG'),
  TEMPLATE_INVALID: row('INVALID_ARGUMENT', 'CONFIG'),
  TEMPLATE_FIELD_UNKNOWN: row('INVALID_ARGUMENT', 'CONFIG'),
  TEMPLATE_TOO_EXPENSIVE: row('INVALID_ARGUMENT', 'CONFIG'),
  MODEL_FILES_MISSING: row('FAILED_PRECONDITION', 'CONFIG'),
  MODEL_FILES_INVALID: row('INVALID_ARGUMENT', 'CONFIG'),
  MODEL_NOT_VERIFIED: row('DATA_LOSS', 'PLATFORM'),
  MODEL_NOT_REPRODUCIBLE: row('FAILED_PRECONDITION', 'CONFIG'),
  MODEL_NOT_READY: row('FAILED_PRECONDITION', 'CONFIG'),
  MODEL_NOT_FOUND: row('NOT_FOUND', 'CONFIG'),
  MODEL_GATED: row('PERMISSION_DENIED', 'CONFIG'),
  MODEL_ARCHITECTURE_UNSUPPORTED: row('INVALID_ARGUMENT', 'CONFIG'),
  MODEL_ALREADY_QUANTIZED: row('INVALID_ARGUMENT', 'CONFIG'),
  QUANTIZATION_UNSUPPORTED: row('INVALID_ARGUMENT', 'CONFIG'),

  // Retraining
  CRON_INVALID: row('INVALID_ARGUMENT', 'CONFIG'),

  // Training
  SPEC_INVALID: row('INTERNAL', 'PLATFORM'),
  DEADLINE_PASSED: row('DEADLINE_EXCEEDED', 'CONFIG'),
  GPU_SECONDS_SPENT: row('RESOURCE_EXHAUSTED', 'CONFIG'),
  LOSS_NOT_FINITE: row('INVALID_ARGUMENT', 'CONFIG'),
  LOSS_DIVERGED: row('INVALID_ARGUMENT', 'CONFIG'),
  MEMORY_TOO_SMALL: row('RESOURCE_EXHAUSTED', 'CAPACITY'),
  /** The next attempt takes less memory. */
  TRAINER_OOM_ADAPTED: row('RESOURCE_EXHAUSTED', 'CAPACITY', true),
  TRAINER_OOM_GPU: row('RESOURCE_EXHAUSTED', 'CAPACITY'),
  TRAINER_OOM_HOST: row('RESOURCE_EXHAUSTED', 'CAPACITY', true),
  TRAINER_CRASHED: row('INTERNAL', 'PLATFORM', true),
  TRAINER_KILLED: row('INTERNAL', 'PLATFORM', true),
  TRAINER_SILENT: row('DEADLINE_EXCEEDED', 'PLATFORM', true),
  TRAINER_NO_PROGRESS: row('ABORTED', 'PLATFORM'),
  TRAINER_INTERRUPTED: row('ABORTED', 'PLATFORM', true),
  GPU_BUSY: row('UNAVAILABLE', 'CAPACITY', true),
  GPU_MISSING: row('UNAVAILABLE', 'CAPACITY', true),
  ACCELERATORS_UNAVAILABLE: row('FAILED_PRECONDITION', 'CAPACITY', true),
  GPU_LOST: row('UNAVAILABLE', 'CAPACITY', true),
  NO_SPACE: row('RESOURCE_EXHAUSTED', 'PLATFORM', true),
  MERGE_DIFFERS: row('INTERNAL', 'PLATFORM'),
  GGUF_UNSUPPORTED: row('FAILED_PRECONDITION', 'CONFIG'),
  GGUF_DIFFERS: row('INTERNAL', 'PLATFORM'),
  CONVERTER_UNAVAILABLE: row('UNAVAILABLE', 'PLATFORM', true),
  EXPORT_UNSUPPORTED: row('FAILED_PRECONDITION', 'CONFIG'),
  CHECKPOINT_CORRUPT: row('DATA_LOSS', 'PLATFORM', true),
  CHECKPOINT_MISMATCH: row('DATA_LOSS', 'PLATFORM', true),
  ATTEMPT_SUPERSEDED: row('ABORTED', 'PLATFORM'),
  WORKER_LOST: row('UNAVAILABLE', 'PLATFORM', true),

  // Trackers
  TRACKER_FAILED: row('UNAVAILABLE', 'TRACKER', true),
  TRACKER_REFUSED: row('UNAUTHENTICATED', 'TRACKER'),

  // Webhooks
  WEBHOOK_FAILED: row('UNAVAILABLE', 'CONFIG', true),
  WEBHOOK_UNREACHABLE: row('FAILED_PRECONDITION', 'CONFIG'),
  WEBHOOK_ADDRESS_FORBIDDEN: row('FAILED_PRECONDITION', 'CONFIG'),

  // Platform
  CANCELLED: row('CANCELLED', 'CONFIG'),
  SIGN_IN_UNAVAILABLE: row('UNAVAILABLE', 'PLATFORM', true),
  HUB_UNREACHABLE: row('UNAVAILABLE', 'PLATFORM', true),
  OBJECT_STORE_UNAVAILABLE: row('UNAVAILABLE', 'PLATFORM', true),
  OBJECT_CORRUPT: row('DATA_LOSS', 'PLATFORM', true),
  OBJECT_MISSING: row('DATA_LOSS', 'PLATFORM'),
  RENDERED_SET_MISSING: row('DATA_LOSS', 'PLATFORM'),
  DATABASE_UNAVAILABLE: row('UNAVAILABLE', 'PLATFORM', true),
  TEMPORAL_UNAVAILABLE: row('UNAVAILABLE', 'PLATFORM', true),
  INTERNAL: row('INTERNAL', 'PLATFORM', true),
} as const satisfies Record<string, ErrorRow>;
export type ErrorCode = keyof typeof ERRORS;

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value);
}

export function errorRow(code: ErrorCode): ErrorRow {
  return ERRORS[code];
}

/** One place of a problem, as it appears in `details` of an error's body. */
export interface ErrorDetail {
  reason: string;
  field?: string;
  line?: number;
  message?: string;
  /** What to do about it. */
  hint?: string;
}

type Advice = 'again' | 'changed';
const NEXT_ACTIONS: Record<ErrorDomain, Record<Advice, string>> = {
  DATASET: {
    again: 'Upload the file again.',
    changed: 'Correct the dataset where the message says, upload it as a new one, and start a new job on it.',
  },
  CONFIG: { again: 'Resume the job.', changed: 'Change the settings that the message names, and start a new job.' },
  QUOTA: { again: 'Wait, and resume the job.', changed: 'Stay within the quota, or ask an admin for a larger one.' },
  CAPACITY: {
    again: 'Resume the job; if it fails the same way, use a worker with more memory or more GPUs.',
    changed: 'Lower what the message names, allow quantization, or use a worker with more memory.',
  },
  PLATFORM: {
    again: 'Resume the job; if it fails the same way, tell the operator its name.',
    changed: 'Tell the operator the name of the job: the Temporal UI and the log of the worker have the cause.',
  },
  TRACKER: { again: 'Nothing: delivery is tried again by itself.', changed: 'Correct the settings or the key of the tracker.' },
};

/** What whoever reads a failure can do about it. The message says it more exactly where more is known. */
export function nextAction({ domain, retryable }: { domain: ErrorDomain; retryable: boolean }): string {
  return NEXT_ACTIONS[domain][retryable ? 'again' : 'changed'];
}

export class TemperError extends Error {
  override readonly name = 'TemperError';

  /**
   * @param code     the stable code
   * @param message  what is wrong and what to do, for the user: no secret, no stack, no path of ours
   * @param details  the places: each with its own reason; defaults to one detail naming `code`
   */
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly details: ErrorDetail[] = [{ reason: code }],
  ) {
    super(message);
  }
}

/** An error about one field of a request. */
export function fieldError(code: ErrorCode, field: string, message: string): TemperError {
  return new TemperError(code, message, [{ reason: code, field, message }]);
}

const NOT_FOUND_CODES = { datasets: 'DATASET_NOT_FOUND', models: 'MODEL_NOT_FOUND' } as const;

/** The one answer for a resource that is not there or not the caller's to see. */
export function notFound(accountId: string, collection: string, id: string): TemperError {
  const code = collection in NOT_FOUND_CODES ? NOT_FOUND_CODES[collection as keyof typeof NOT_FOUND_CODES] : 'RESOURCE_NOT_FOUND';
  return new TemperError(code, `accounts/${accountId}/${collection}/${id} was not found, or you have no access to it.`);
}
