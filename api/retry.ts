/** What a step last failed with, while it is tried again: Temporal knows, and is asked where one resource is read by itself. */
import type { Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { LRUCache } from 'lru-cache';
import { jobInput } from '../jobs/jobInput.js';
import type { Failure, WaitingHeartbeat } from '../schemas/activities.js';
import type { Retry } from '../schemas/job.js';
import { isTerminal } from '../schemas/states.js';
import type { Database } from '../stores/database.js';
import { listAttempts, type JobRecord } from '../stores/jobs.js';

/** What somebody reads must not wait for a server that is away. */
const ASK_TIMEOUT_MS = 1_000;
/** An answer serves whoever asks within this time: many watch the same job, and Temporal describes a few hundred workflows a second. */
const ANSWER_AGE_MS = 1_000;

type Described = Awaited<ReturnType<ReturnType<Client['workflow']['getHandle']>['describe']>>;
type PendingActivity = NonNullable<Described['raw']['pendingActivities']>[number];
type Timestamp = PendingActivity['scheduledTime'];

/** By workflow ID. No retry where Temporal does not answer, or knows no such workflow. */
const retries = new LRUCache<string, { retry: Retry | null }, Client>({
  max: 10_000,
  ttl: ANSWER_AGE_MS,
  fetchMethod: async (workflowId, _old, { context: temporal }) => ({ retry: await askForRetry(temporal, workflowId) }),
});

/** Nothing for a job whose steps go well, and for all of them while Temporal is away. */
export async function viewJobRetry(temporal: Client, database: Database, job: JobRecord): Promise<{ retry?: Retry }> {
  if (isTerminal(job.state)) return {};
  // Before its first step, and while it waits for its turn, nothing can have failed; and there may be thousands of these.
  if (!job.is_running && (job.state === 'CREATING' || job.state === 'PENDING')) return {};
  const retry = await findRetry(temporal, jobInput(job).name);
  if (retry) return { retry };
  // Attempts at training are the workflow's own: one that failed stands in the records.
  if (job.state !== 'RE_QUEUEING') return {};
  const last = (await listAttempts(database, job.uid)).findLast(({ end_time }) => end_time !== null);
  return last?.failure ? { retry: { step: 'train', attempt: last.attempt + 1, failure: last.failure } } : {};
}

/** A dataset or model, with what its validation last failed with as its message, where that is under way and tried again. */
export async function tellRetry<Row extends { state: string; status_code: string; status_message: string }>(
  temporal: Client,
  name: string,
  row: Row,
): Promise<Row> {
  if (row.state === 'READY' || row.status_code !== 'OK') return row;
  const retry = await findRetry(temporal, name);
  if (!retry) return row;
  const { attempt, failure, nextAttemptTime } = retry;
  const message = `${failure.message} (${failure.code}; attempt ${attempt}${nextAttemptTime ? ` at ${nextAttemptTime}` : ''})`;
  return { ...row, status_message: message };
}

/** The first step of a workflow that has failed, or waits for a server that is away. */
async function findRetry(temporal: Client, workflowId: string): Promise<Retry | null> {
  return (await retries.forceFetch(workflowId, { context: temporal })).retry;
}

async function askForRetry(temporal: Client, workflowId: string): Promise<Retry | null> {
  const { raw } = await temporal
    .withDeadline(Date.now() + ASK_TIMEOUT_MS, () => temporal.workflow.getHandle(workflowId).describe())
    .catch(() => ({ raw: null }));
  for (const activity of raw?.pendingActivities ?? []) {
    const failure = readOutage(activity) ?? (activity.lastFailure ? readFailure(activity.lastFailure) : undefined);
    if (!failure) continue;
    const nextAttemptTime = readTime(activity.nextAttemptScheduleTime);
    return {
      step: activity.activityType?.name ?? '',
      attempt: activity.attempt ?? 1,
      failure,
      ...(nextAttemptTime ? { nextAttemptTime } : {}),
    };
  }
  return null;
}

/** What the attempt that runs waits for. */
function readOutage({ heartbeatDetails }: PendingActivity): Failure | undefined {
  const [details] = heartbeatDetails?.payloads ?? [];
  return details ? defaultPayloadConverter.fromPayload<WaitingHeartbeat | undefined>(details)?.outage : undefined;
}

/** As the activity described it (activities/failures.ts). One whose worker fell silent described nothing. */
function readFailure(failure: NonNullable<PendingActivity['lastFailure']>): Failure {
  const [details] = failure.applicationFailureInfo?.details?.payloads ?? [];
  const described = details ? defaultPayloadConverter.fromPayload<Failure | undefined>(details) : undefined;
  if (described?.code) return described;
  const code = failure.applicationFailureInfo?.type ?? 'WORKER_LOST';
  const message = code === 'WORKER_LOST' ? 'The worker that ran this step stopped answering; another takes it.' : (failure.message ?? '');
  return { code, message, domain: 'PLATFORM', retryable: true };
}

function readTime(time: Timestamp): string | undefined {
  return time?.seconds ? new Date(Number(time.seconds) * 1000 + (time.nanos ?? 0) / 1e6).toISOString() : undefined;
}
