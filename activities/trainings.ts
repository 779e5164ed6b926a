/**
 * The trainers of this process, apart from the activities that follow them. When Temporal has been away for too long, it takes the
 * attempt for lost, and the activity ends; the trainer does not. It goes on, and the job's next attempt, if it comes to this worker,
 * takes it over as it is. If it goes elsewhere, it takes the job over in the records, and this trainer stops.
 */
import { AsyncResource } from 'node:async_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Context } from '@temporalio/activity';
import type { Transaction } from 'kysely';
import type { TrainingMilestone, TrainProgress, TrainResult } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import type { Database, Tables } from '../stores/database.js';
import { isCurrentAttempt, writeAsAttempt } from '../stores/jobs.js';

export interface Training {
  readonly uid: string;
  /** The attempt that it trains for now. */
  attempt: number;
  /** How far it durably got: what heartbeats carry. */
  readonly progress: TrainProgress;
  /** Tells the workflow of the attempt; fails while Temporal is away. */
  tell(milestone: TrainingMilestone): Promise<void>;
  /** The workflow knows that this attempt makes steps. */
  announced: boolean;
  /** Stops the trainer gently: with a checkpoint. */
  readonly stop: AbortController;
  readonly result: Promise<TrainResult>;
  /** Settled while the record of a takeover is under way. */
  takingOver: Promise<void>;
  followed: boolean;
  failed: boolean;
}

/** A trainer that no attempt takes over for this long is stopped: nobody comes for it, and it holds a GPU. */
const UNFOLLOWED_MS = 10 * 60_000;
/** How often it is asked whether the job is still this trainer's. */
const FENCE_MS = 5_000;
/** A signal that takes longer has found no server; the next one says the same, and more. */
const TELL_TIMEOUT_MS = 5_000;

const trainings = new Map<string, Training>();

export type Teller = Training['tell'];

/** Bound to the activity that calls it: a trainer may outlive the one that started it. */
export function tellWorkflowFrom({ info, client }: Context, signalName: string): Teller {
  const { workflowId, runId } = info.workflowExecution!;
  const tell = (milestone: TrainingMilestone): Promise<void> =>
    client.withDeadline(Date.now() + TELL_TIMEOUT_MS, () => client.workflow.getHandle(workflowId, runId).signal(signalName, milestone));
  return AsyncResource.bind(tell);
}

/** Starts a training and keeps it until somebody has seen its end. */
export function startTraining(
  database: Database,
  own: Pick<Training, 'uid' | 'attempt' | 'progress' | 'tell'>,
  run: (training: Training) => Promise<TrainResult>,
): Training {
  const stop = new AbortController();
  const training: Training = {
    ...own,
    announced: false,
    stop,
    takingOver: Promise.resolve(),
    followed: true,
    failed: false,
    result: Promise.resolve().then(() => run(training)),
  };
  training.result.catch(() => (training.failed = true));
  trainings.set(training.uid, training);
  void watchFence(database, training);
  return training;
}

/** Gives the result, stops the training when the activity is cancelled, or leaves it alone when Temporal no longer knows the activity. */
export async function follow(training: Training, context: Context): Promise<TrainResult> {
  const { cancellationSignal } = context;
  const cancelled = new Promise<'cancelled'>((resolve) => {
    if (cancellationSignal.aborted) resolve('cancelled');
    cancellationSignal.addEventListener('abort', () => resolve('cancelled'), { once: true });
  });
  training.followed = true;
  const end = await Promise.race([training.result.catch(() => undefined), cancelled]);
  if (end === 'cancelled') {
    const details = context.cancellationDetails;
    if ((details?.notFound || details?.timedOut) && !details.cancelRequested) {
      training.followed = false;
      setTimeout(() => training.followed || training.stop.abort(), UNFOLLOWED_MS).unref();
      return await context.cancelled;
    }
    training.stop.abort();
  }
  try {
    return await training.result;
  } finally {
    forget(training);
  }
}

/** The job's trainer, if it runs here without an attempt that follows it. Those of other jobs make room: the GPU is somebody else's turn. */
export async function findUnfollowed(uid: string): Promise<Training | undefined> {
  const own = trainings.get(uid);
  const usable = own && !own.followed && !own.failed && !own.stop.signal.aborted ? own : undefined;
  await endUnfollowed(usable);
  return usable;
}

/** Stops, with a checkpoint, the trainers that no attempt follows, but for one. */
export async function endUnfollowed(kept?: Training): Promise<void> {
  for (const training of trainings.values()) if (!training.followed && training !== kept) await end(training);
}

/** For a worker that leaves. */
export async function endTrainings(): Promise<void> {
  await Promise.all([...trainings.values()].map(end));
}

async function end(training: Training): Promise<void> {
  training.stop.abort();
  await training.result.catch(() => undefined);
  forget(training);
}

function forget(training: Training): void {
  if (trainings.get(training.uid) === training) trainings.delete(training.uid);
}

/** True while no other worker has taken the job over, and it has not been ended without its trainer. */
export async function holdsJob(database: Database, training: Training): Promise<boolean> {
  for (;;) {
    await training.takingOver;
    const { attempt, takingOver } = training;
    if (await isCurrentAttempt(database, training.uid, attempt)) return true;
    if (training.takingOver === takingOver) return false;
  }
}

/** Writes what the training has to say, all or nothing. @throws TemperError ATTEMPT_SUPERSEDED when the job is no longer its own */
export async function writeFor(
  database: Database,
  training: Training,
  write: (transaction: Transaction<Tables>) => Promise<void>,
): Promise<void> {
  while (!(await writeAsAttempt(database, training.uid, training.attempt, write)))
    if (!(await holdsJob(database, training))) throw superseded();
}

export function superseded(): TemperError {
  return new TemperError('ATTEMPT_SUPERSEDED', 'A later attempt has taken this job over.');
}

/** Before the attempt's row stands, nothing tells that the job is this training's. */
async function watchFence(database: Database, training: Training): Promise<void> {
  let held = false;
  let over = false;
  void training.result.catch(() => undefined).finally(() => (over = true));
  while (!over && !training.stop.signal.aborted) {
    await sleep(FENCE_MS, undefined, { ref: false });
    const holds = await holdsJob(database, training).catch(() => true); // the database is away: nobody takes a job over
    if (held && !holds) training.stop.abort();
    held ||= holds;
  }
}
