/** `temper create fine-tuning-job --sweep FILE`: a job for each combination of a grid, and with --wait the table of their results. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { callApi, type ApiRequest, type Resource } from './client.js';
import { ApiError, isPassing, OperationError } from './failures.js';
import { plainText } from './format.js';
import type { JobSettings } from './jobSettings.js';
import { buildRetraining, readSweepFile } from './retraining.js';
import { collectionPath, SWEEP } from './resources.js';
import { describeRun } from './retrainingText.js';
import { printRequest, printResource, type Session } from './session.js';

const POLL_MS = 2_000;

export async function createSweep(session: Session, settings: JobSettings, file: string, wait: boolean): Promise<void> {
  const { retraining, origins, jobId, displayName } = await buildRetraining(session, settings, readSweepFile(file));
  // Chosen here when it is not given, so that a create whose answer got lost can be repeated.
  const sweepId = jobId ?? `sweep-${randomBytes(6).toString('hex')}`;
  const path = await collectionPath(session, SWEEP);
  const body = { sweepId, ...(displayName !== undefined ? { displayName } : {}), retraining };
  const request: ApiRequest = { method: 'POST', path, body, idempotent: true };
  if (session.dryRun) {
    const { wandbApiKey: _key, ...fineTuning } = retraining['fineTuning'] as Record<string, unknown>;
    return printRequest(session, { ...request, body: { ...body, retraining: { ...retraining, fineTuning } } });
  }
  const sweep = await callApi(session.connection, request).catch((error: unknown) => {
    if (error instanceof ApiError) error.origins = origins;
    throw error;
  });
  if (wait) return watchSweep(session, `${path}/${sweepId}`, sweepId);
  printResource(session, sweep, sweepId, `Created ${plainText(sweep.name)}\nIts results: temper get sweep ${sweepId}`);
}

/** Until its end, an approval that it waits for included. Ctrl-C ends the watching and not the sweep. */
async function watchSweep(session: Session, path: string, id: string): Promise<void> {
  for (;;) {
    try {
      const sweep = await callApi(session.connection, { method: 'GET', path });
      if (sweep.endTime !== undefined) {
        session.status.clear();
        printResource(session, sweep, id, describeRun(sweep));
        if (sweep.state !== 'COMPLETED') throw new OperationError(`the sweep is ${plainText(sweep.state)}: ${plainText(sweep.reason)}`);
        return;
      }
      session.status.show(describeState(sweep));
    } catch (error) {
      if (!isPassing(error)) throw error;
      session.status.show(`The sweep goes on, but ${error.message} Trying again.`);
    }
    await sleep(POLL_MS);
  }
}

function describeState(sweep: Resource): string {
  const jobs = (sweep.jobs as { state: string }[] | undefined) ?? [];
  const states = [...new Set(jobs.map(({ state }) => state))].map(
    (state) => `${jobs.filter((job) => job.state === state).length} ${state}`,
  );
  return [plainText(sweep.state), `${jobs.length} jobs:`, states.join(', '), sweep.state === 'RUNNING' ? '' : plainText(sweep.reason)]
    .filter(Boolean)
    .join('  ');
}
