/** Errors in OpenAI's body, `{ error: { message, type, param, code } }`, with the headers by which its clients decide whether to try again. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { errorRow, fieldError, type ErrorCode, type TemperError } from '../../schemas/errors.js';
import { toSnakeCase } from '../body.js';
import { describeError } from '../problems.js';

/** Codes that programs written for OpenAI match on; any other is ours in lower case. */
const CODES: Partial<Record<ErrorCode, string>> = {
  UNAUTHENTICATED: 'invalid_api_key',
  RATE_LIMITED: 'rate_limit_exceeded',
  UNKNOWN_FIELD: 'unknown_parameter',
  MISSING_FIELD: 'missing_required_parameter',
  INVALID_FIELD: 'invalid_value',
  BASE_MODEL_NOT_FOUND: 'model_not_found',
  WARM_START_NOT_FOUND: 'model_not_found',
  MODEL_NOT_FOUND: 'model_not_found',
};

/** Our fields by OpenAI's names. */
const PARAMETERS: Record<string, string> = {
  dataset: 'training_file',
  evaluationDataset: 'validation_file',
  baseModel: 'model',
  warmStartFrom: 'model',
  epochs: 'n_epochs',
  learningRate: 'learning_rate_multiplier',
  batchSize: 'batch_size',
  modelId: 'suffix',
};

export function answerOpenaiError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = describeError(error, request.id);
  request.failureReason = problem.code;
  const [detail] = problem.body.details;
  if (problem.unexpected) request.log.error({ err: error }, 'unexpected error');
  else if (problem.status >= 500) request.log.warn({ reason: problem.code, cause: (error as Error).message }, 'unavailable');
  if (problem.retryAfterSeconds !== undefined) void reply.header('retry-after', String(problem.retryAfterSeconds));
  // Its clients try 409 and 5xx again by themselves: where that cannot help, they are told.
  void reply.header('x-should-retry', String(errorRow(problem.code).retryable));
  const body = {
    error: {
      message: problem.body.message,
      type: errorType(problem.status),
      param: detail?.field === undefined ? null : parameterOf(detail.field),
      code: CODES[problem.code] ?? problem.code.toLowerCase(),
    },
  };
  return reply.status(problem.status).type('application/json').serializer(JSON.stringify).send(body);
}

/** Fields are what a client wrote: `constructor`, for example. */
function parameterOf(field: string): string {
  return Object.hasOwn(PARAMETERS, field) ? PARAMETERS[field]! : toSnakeCase(field);
}

function errorType(status: number): string {
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

/** A code of a failure as these clients see it. */
export function openaiCode(code: string): string {
  return CODES[code as ErrorCode] ?? code.toLowerCase();
}

export function noSuchObject(parameter: string, what: string, id: string): TemperError {
  return fieldError(
    'RESOURCE_NOT_FOUND',
    parameter,
    `There is no ${what} ${JSON.stringify(id.slice(0, 100))}, or you have no access to it.`,
  );
}
