/** Heartbeats on a timer: they tell the server that this worker lives and bring cancellations back. Whether the work itself moves is watched elsewhere. */
import { Context } from '@temporalio/activity';

const INTERVAL_MS = 2_000;

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
