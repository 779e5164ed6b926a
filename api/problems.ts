/** Every error as the one body that clients see, `{ code, message, details: [{ reason, field?, line?, message? }] }`, and its HTTP status. */
import { isGrpcServiceError, ServiceError } from '@temporalio/client';
import { errorRow, GRPC_STATUS, TemperError, type ErrorCode, type ErrorDetail } from '../schemas/errors.js';
import { isDatabaseOutage } from '../stores/outages.js';

export interface Problem {
  code: ErrorCode;
  status: number;
  body: { code: number; message: string; details: ErrorDetail[] };
  /** Set when trying the same again can help. */
  retryAfterSeconds?: number;
  /** A bug of ours: to be logged with its stack. */
  unexpected: boolean;
}

const RETRY_AFTER_SECONDS = 2;

export function describeError(error: unknown, requestId: string): Problem {
  const known = knownError(error);
  if (known) return describe(known, false);
  return describe(
    new TemperError(
      'INTERNAL',
      `Something went wrong on our side. Try again; if it persists, tell the operator the request ID ${requestId}.`,
    ),
    true,
  );
}

function describe(error: TemperError, unexpected: boolean): Problem {
  const row = errorRow(error.code);
  const grpc = GRPC_STATUS[row.status];
  const status = row.http ?? grpc.http;
  return {
    code: error.code,
    status,
    body: { code: grpc.code, message: error.message, details: error.details },
    ...(row.retryable && (status === 503 || status === 429) ? { retryAfterSeconds: RETRY_AFTER_SECONDS } : {}),
    unexpected,
  };
}

interface CodedError {
  code?: unknown;
  statusCode?: unknown;
  message?: string;
  name?: string;
  $metadata?: unknown;
}

function knownError(error: unknown): TemperError | null {
  if (error instanceof TemperError) return error;
  if (typeof error !== 'object' || error === null) return null;
  const { code, message, statusCode, $metadata } = error as CodedError;
  if (typeof code === 'string' && FRAMEWORK_ERRORS[code]) {
    const [ours, text] = FRAMEWORK_ERRORS[code];
    return new TemperError(ours, text);
  }
  if (typeof code === 'string' && code.startsWith('FST_') && typeof statusCode === 'number' && statusCode < 500) {
    return new TemperError('INVALID_FIELD', `The request cannot be read: ${message ?? code}`);
  }
  if ($metadata !== undefined)
    return new TemperError('OBJECT_STORE_UNAVAILABLE', 'The object store does not answer just now. Try again shortly.');
  if (code === 'ENOSPC')
    return new TemperError('NO_SPACE', 'The disk of the server is full. Try again later; an operator has to make room.');
  if (isTemporalOutage(error))
    return new TemperError('TEMPORAL_UNAVAILABLE', 'The workflow service does not answer just now. Try again shortly.');
  if (isDatabaseOutage(code, message))
    return new TemperError('DATABASE_UNAVAILABLE', 'The database does not answer just now. Try again shortly.');
  return null;
}

/** Fastify's own refusals, before a handler runs. */
const FRAMEWORK_ERRORS: Record<string, [ErrorCode, string]> = {
  FST_ERR_BAD_URL: ['MALFORMED_REQUEST', 'The path is not valid: each % must begin an escape of UTF-8 text, such as %20.'],
  FST_ERR_MAX_PARAM_LENGTH: ['INVALID_ID', 'A part of the path is too long: IDs have at most 63 characters.'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'UNSUPPORTED_MEDIA_TYPE',
    'The body must be JSON: send it with Content-Type: application/json (a file upload: multipart/form-data).',
  ],
  FST_ERR_CTP_BODY_TOO_LARGE: ['BODY_TOO_LARGE', 'The body is too large.'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['INVALID_JSON', 'The body does not have the length that Content-Length declares.'],
  FST_INVALID_MULTIPART_CONTENT_TYPE: ['UNSUPPORTED_MEDIA_TYPE', 'Send the file as multipart/form-data, in a part with a file name.'],
  FST_REQ_FILE_TOO_LARGE: ['BODY_TOO_LARGE', 'The file is too large for a direct upload.'],
  FST_FILES_LIMIT: ['INVALID_UPLOAD', 'Send exactly one file: a dataset is one JSONL file.'],
  FST_PARTS_LIMIT: ['INVALID_UPLOAD', 'The form has too many parts.'],
  FST_FIELDS_LIMIT: ['INVALID_UPLOAD', 'The form has too many fields.'],
  FST_PROTO_VIOLATION: ['INVALID_UPLOAD', 'The form has a field with a forbidden name.'],
};

/** gRPC: DEADLINE_EXCEEDED, UNAVAILABLE, and the two that a restarting server answers with. */
const TEMPORAL_CODES = new Set([4, 14, 1, 8]);

/** Of an update, when several control workers in a row died over the workflow's task: the next one is a matter of seconds. */
function isWaitingForWorker(details: string): boolean {
  return details.includes('Workflow Task in failed state');
}

export function isTemporalOutage(error: unknown): boolean {
  const cause =
    error instanceof ServiceError || (error as Error).name === 'WorkflowUpdateRPCTimeoutOrCancelledError' ? (error as Error).cause : error;
  if (isGrpcServiceError(cause)) return TEMPORAL_CODES.has(cause.code) || isWaitingForWorker(cause.details);
  return (error as Error).name === 'WorkflowUpdateRPCTimeoutOrCancelledError';
}
