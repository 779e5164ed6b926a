/** Heartbeats on a timer: they tell the server that this worker lives and bring cancellations back. Whether the work itself moves is watched elsewhere. */
import { Context } from '@temporalio/activity';
import type { WaitingHeartbeat } from '../schemas/activities.js';
import { outageOf, throughOutages } from './outages.js';

const INTERVAL_MS = 2_000;

/** The same for work that waits while Postgres or S3 is away, which costs it no attempt; what it waits for is in the heartbeats. */
export function withHeartbeatsThroughOutages<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { cancellationSignal } = Context.current();
  return withHeartbeats(
    (signal) => throughOutages(signal, () => work(signal)),
    () => ({ outage: outageOf(cancellationSignal) }) satisfies WaitingHeartbeat,
  );
}

/** Runs work with heartbeats; their details are what `progress` says at the time. */
export async function withHeartbeats<T>(work: (signal: AbortSignal) => Promise<T>, progress: () => unknown = () => undefined): Promise<T> {
  const context = Context.current();
  context.heartbeat(progress());
  const timer = setInterval(() => context.heartbeat(progress()), INTERVAL_MS);
  try {
    return await work(context.cancellationSignal);
  } finally {
    clearInterval(timer);
  }
}
