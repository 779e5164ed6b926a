/** Watching a job to its end: its events as they happen, and one line that shows how far it is. */
import { setTimeout as sleep } from 'node:timers/promises';
import { callApi, type Connection, type Resource } from './client.js';
import { followEvents } from './eventStream.js';
import { ApiError, isPassing, OperationError } from './failures.js';
import { formatTime, plainText } from './format.js';
import { describeJob, describeProgress, hasEnded, hasSucceeded, type Attempt } from './jobText.js';
import { shownState, statusMessage } from './resources.js';
import { printResource, type Session } from './session.js';
import type { StatusLine } from './statusLine.js';

const POLL_MS = 1_000;
/** For the last events, once the job is known to have ended. */
const LAST_EVENTS_MS = 3_000;

/**
 * Returns when the job has succeeded. A lost connection is survived; Ctrl-C ends the watching and not the job.
 * @param path  of the job in the API
 * @throws OperationError when the job failed or was cancelled
 */
export async function watchJob(session: Session, path: string, id: string): Promise<void> {
  const { connection, status } = session;
  const stopWatching = () => {
    status.clear();
    process.stderr.write(
      `\nStopped watching; the job goes on.\n  watch it again:  temper get fine-tuning-job ${id} --wait\n  cancel it:       temper cancel fine-tuning-job ${id}\n`,
    );
    process.exit(130);
  };
  process.on('SIGINT', stopWatching);
  const following = new AbortController();
  const events = printEvents(connection, status, `${path}:streamEvents`, following.signal);
  try {
    const job = await pollUntilEnd(session, path);
    await Promise.race([events, sleep(LAST_EVENTS_MS, undefined, { ref: false })]);
    status.clear();
    printResource(session, job, id, describeJob(job, await fetchAttempts(connection, path)));
    if (!hasSucceeded(job)) throw new OperationError(`the job did not complete: ${statusMessage(job) || shownState(job)}`);
  } finally {
    following.abort();
    process.removeListener('SIGINT', stopWatching);
  }
}

export async function fetchAttempts(connection: Connection, path: string): Promise<Attempt[]> {
  const { attempts = [] } = await callApi<{ attempts?: Attempt[] }>(connection, { method: 'GET', path: `${path}:listAttempts` });
  return attempts;
}

async function pollUntilEnd({ connection, status }: Session, path: string): Promise<Resource> {
  for (;;) {
    try {
      const job = await callApi(connection, { method: 'GET', path });
      if (hasEnded(job)) return job;
      status.show(describeProgress(job));
    } catch (error) {
      if (!isPassing(error)) throw error;
      status.show(`The job goes on, but ${error.message} Trying again.`);
    }
    await sleep(POLL_MS);
  }
}

/** Ends with the job's last event. What refuses the stream refuses the job too, and is reported there. */
async function printEvents(connection: Connection, status: StatusLine, path: string, signal: AbortSignal): Promise<void> {
  try {
    for await (const event of followEvents(connection, path, signal)) {
      const time = event.time ? formatTime(event.time).slice(11) : '';
      status.print([time, event.state ?? '', plainText(event.message)].filter(Boolean).join('  '));
      if (event.state && hasEnded({ state: event.state })) return;
    }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
}
