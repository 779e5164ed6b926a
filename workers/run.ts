/** The life of a worker process once its worker is made: known to operators while it runs, gone when it has handed over what it held. */
import type { Worker } from '@temporalio/worker';
import type { WorkerKind } from '../schemas/worker.js';
import { announceReady, type Environment } from './environment.js';
import { announcePresence } from './presence.js';

/**
 * Ends the process. Temporal's worker stops by itself on SIGTERM and SIGINT.
 * @param slots  activities that it runs at once, at most
 * @param atEnd  what is left to do once all activities have ended
 */
export async function runWorker(
  worker: Worker,
  environment: Environment,
  { kind, slots, atEnd }: { kind: WorkerKind; slots: number; atEnd?: () => Promise<void> },
): Promise<void> {
  const queue = worker.options.taskQueue;
  const running = worker.run();
  announceReady();
  const { telemetry } = environment;
  await telemetry.serve(async () => (worker.getState() === 'RUNNING' ? null : `the worker is ${worker.getState()}`));
  const busy = () => worker.getStatus().numInFlightActivities;
  const presence = await announcePresence(environment, { kind, queue, slots, busy });
  await running;
  await atEnd?.();
  await presence.leave();
  await telemetry.close();
  process.exit(0);
}
