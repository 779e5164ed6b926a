/** The one place that turns our errors into Temporal's: what retries, and what users read. Everything thrown by an activity passes here. */
import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure, CompleteAsyncError, TemporalFailure } from '@temporalio/common';
import type { ActivityExecuteInput, ActivityInboundCallsInterceptor, Next } from '@temporalio/worker';
import type { Failure, TrainProgress } from '../schemas/activities.js';
import { errorRow, TemperError, type ErrorCode } from '../schemas/errors.js';
import { isDatabaseOutage } from '../stores/outages.js';

export const failureInterceptor: ActivityInboundCallsInterceptor = {
  async execute(input: ActivityExecuteInput, next: Next<ActivityInboundCallsInterceptor, 'execute'>): Promise<unknown> {
    try {
      return await next(input);
    } catch (error) {
      // A step that was cancelled ends as cancelled, whatever broke on its way out. A worker that shuts down hands over instead.
      const { cancellationDetails, cancelled } = Context.current();
      if (cancellationDetails?.cancelRequested) await cancelled;
      throw toTemporalFailure(error);
    }
  },
};

/** @param progress  how far a failed attempt durably got; goes to the workflow beside the failure */
export function toTemporalFailure(error: unknown, progress?: TrainProgress): unknown {
  if (error instanceof TemporalFailure || error instanceof CancelledFailure || error instanceof CompleteAsyncError) return error;
  const failure = describeFailure(error);
  const made = ApplicationFailure.create({
    type: failure.code,
    message: failure.message,
    nonRetryable: !failure.retryable,
    details: progress ? [failure, progress] : [failure],
  });
  if (failure.code === 'INTERNAL') made.stack = `${failure.code}: ${failure.message}\n${framesOf(error)}`;
  return made;
}

/** Where an error of others was thrown, for operators: what it says may hold secrets, where it was thrown does not. */
function framesOf(error: unknown): string {
  const { stack = '' } = (error ?? {}) as { stack?: string };
  return stack
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .join('\n');
}

/** An error as users see it. What is not ours says its kind only: messages of libraries may carry paths, addresses or secrets. */
export function describeFailure(error: unknown): Failure {
  if (error instanceof TemperError) {
    const { domain, retryable } = errorRow(error.code);
    return { code: error.code, message: error.message, domain, retryable, details: error.details.slice(0, 20) };
  }
  const code = codeOfSystemError(error);
  const { domain, retryable } = errorRow(code);
  return {
    code,
    message:
      SYSTEM_MESSAGES[code] ??
      `An unexpected ${error instanceof Error ? error.name : 'error'} of Temper's own; the step is tried again. If that does not help, the worker's log has the cause: tell the operator the name of the job.`,
    domain,
    retryable,
  };
}

const SYSTEM_MESSAGES: Partial<Record<ErrorCode, string>> = {
  NO_SPACE: 'The disk of the worker is full; the step is tried again. Free space on it or point TEMPER_HOME to a larger disk.',
  DATABASE_UNAVAILABLE: 'The database does not answer; the step is tried again.',
  OBJECT_STORE_UNAVAILABLE: 'The object store does not answer; the step is tried again.',
};

function codeOfSystemError(error: unknown): ErrorCode {
  const { code, message, $metadata } = (error ?? {}) as { code?: unknown; message?: string; $metadata?: unknown };
  if (code === 'ENOSPC') return 'NO_SPACE';
  if ($metadata !== undefined) return 'OBJECT_STORE_UNAVAILABLE';
  return isDatabaseOutage(code, message) ? 'DATABASE_UNAVAILABLE' : 'INTERNAL';
}
