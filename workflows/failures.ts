/** What went wrong, read from what Temporal throws into a workflow. */
import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/workflow';
import type { Failure, TrainProgress } from '../schemas/activities.js';

const UNEXPECTED = 'An unexpected error; the page of the job in the Temporal UI has the cause.';

/** A failure as users see it. Activities put it in the details of their ApplicationFailure (activities/failures.ts). */
export function failureOf(error: unknown): Failure {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure) {
    const [described] = (cause.details ?? []) as [Failure?];
    if (described?.code) return described;
    return { code: 'INTERNAL', message: cause.message || UNEXPECTED, domain: 'PLATFORM', retryable: !cause.nonRetryable };
  }
  if (cause instanceof TimeoutFailure) {
    return { code: 'WORKER_LOST', message: 'The worker that ran this step stopped answering.', domain: 'PLATFORM', retryable: true };
  }
  return { code: 'INTERNAL', message: cause instanceof Error ? cause.message : String(cause), domain: 'PLATFORM', retryable: true };
}

/** How far a failed attempt of `train` durably got: from the failure's details, or the last heartbeat of a worker that died. */
export function progressOf(error: unknown): TrainProgress | null {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure) return ((cause.details ?? [])[1] as TrainProgress | undefined) ?? null;
  if (cause instanceof TimeoutFailure) return (cause.lastHeartbeatDetails as TrainProgress | undefined) ?? null;
  return null;
}
