/**
 * A fine-tuning job from its creation to a registered model: check, render, train, evaluate, register, report.
 *
 * Training runs as attempts, each one activity. An attempt that dies is followed by another that goes on from the last
 * durable checkpoint; the budget counts attempts that brought no new checkpoint, so a deploy or a spot machine costs nothing.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  allHandlersFinished,
  condition,
  isCancellation,
  patched,
  sleep,
  startChild,
} from '@temporalio/workflow';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import type {
  CleanUpInput,
  EvaluationResult,
  Failure,
  JobInput,
  PreparedSet,
  TrainResult,
  Verification,
  VerifyInput,
} from '../schemas/activities.js';
import { MAX_ATTEMPTS_WITHOUT_PROGRESS, MAX_LOST_ATTEMPTS_WITHOUT_PROGRESS } from '../schemas/limits.js';
import {
  cleanUpActivity,
  dataActivities,
  evaluateActivity,
  recordActivities,
  reportActivities,
  trainActivity,
  turnActivity,
  verifyActivity,
} from './activityOptions.js';
import { reportWorkflowId, TRACKER_TITLES, type Tracker } from '../schemas/tracker.js';
import { failureOf, progressOf } from './failures.js';
import { Job } from './job.js';
import { handleMessages } from './jobMessages.js';
import { REPORT_WORKFLOW, type JobProgress } from './messages.js';
import type { ReportWorkflow } from './report.js';

export async function FineTuningWorkflow(input: JobInput): Promise<JobProgress> {
  const job = new Job(input);
  handleMessages(job);
  // A cancellation asked of Temporal itself, by an operator, is the same wish as the API's.
  CancellationScope.current().cancelRequested.catch(() => job.wishFor('cancel', 'an operator'));
  void watchDeadline(job);
  const { wandb, reporters } = await untilTerminal(job, input);
  if (wandb && job.wish !== 'delete') await reportToTracker(job, input);
  await reporters;
  await CancellationScope.nonCancellable(() => condition(allHandlersFinished));
  if (job.wish === 'delete') await removeJob(job, input);
  return job.progress();
}

/** Brings the job to a terminal state, whatever happens on the way. */
async function untilTerminal(job: Job, input: JobInput): Promise<{ wandb: boolean; reporters: Promise<unknown> }> {
  const plan = { wandb: false, reporters: Promise.resolve<unknown>(undefined) };
  try {
    if (input.abandoned !== undefined) throw new CancelledFailure('Its workflow had ended without it');
    await job.move('VALIDATING', 'checking', 'Checking the settings against the dataset and the base model.');
    const checked = await job.interruptible(() => dataActivities('check settings, dataset and base model').checkJob(input));
    plan.wandb = checked.wandb ?? false;
    plan.reporters = startReporters(job, input, checked.trackers ?? []);

    await job.move('VALIDATING', 'rendering', `Rendering ${checked.examples} examples.`);
    const prepared = await job.interruptible(() => dataActivities(`render ${checked.examples} examples`).renderJob(input));

    const { trained, evaluated } = checked;
    if (checked.approval && !job.begun) await waitForApproval(job, checked.examples);
    if (trained) await job.move('RUNNING', 'training', `Training was complete at step ${trained.steps}: it is not repeated.`);
    const withSet = makeWithSet(job, input, prepared);
    const training = trained ?? (await withSet((set) => train(job, input, set)));

    const evaluation = checked.evaluation ? (evaluated ?? (await withSet((set) => evaluate(job, input, set, training)))) : null;

    const results = { uid: input.uid, name: input.name, training, evaluation };
    const verification =
      evaluation?.verification ??
      (patched('verified-registration') ? await withSet((set) => verify(job, input, { ...results, prepared: set })) : undefined);
    await job.move('WRITING_RESULTS', 'registering', 'Registering the model.');
    const register = (set: PreparedSet) => dataActivities('register the model').registerModel({ ...results, prepared: set, verification });
    await withSet((set) => job.interruptible(() => register(set)));
    await cleanUp(input, { removeModel: false, removeJob: false });
    const ended = training.endedBy ? ` Training ended at step ${training.steps}: ${ENDED_BY[training.endedBy]}.` : '';
    const state = training.earlyStopped || training.endedBy ? 'EARLY_STOPPED' : 'COMPLETED';
    await job.move(state, 'done', `The model ${input.modelName} is ready.${ended}`);
  } catch (error) {
    const cause = isCancellation(error) && job.overdue && !job.ending ? deadlinePassed() : error;
    await CancellationScope.nonCancellable(() => endWithout(job, input, cause));
  }
  return plan;
}

const ENDED_BY = { deadline: 'its deadline had come', maxGpuSeconds: 'its GPU seconds were spent' };

/** At the deadline a job that never began to train fails; what an attempt has reached becomes the model. */
async function watchDeadline(job: Job): Promise<void> {
  await CancellationScope.nonCancellable(async () => {
    for (;;) {
      const { deadline } = job;
      const isChanged = () => job.deadline !== deadline;
      if (deadline === null) await condition(isChanged);
      else if (!(await condition(isChanged, Math.max(1, Date.parse(deadline) - Date.now())))) return job.expire();
    }
  });
}

function deadlinePassed(): ApplicationFailure {
  const message = 'The deadline of the job came before training began. Give it a later one and resume it.';
  const failure: Failure = { code: 'DEADLINE_PASSED', domain: 'CONFIG', retryable: false, message };
  return ApplicationFailure.create({ type: failure.code, message, nonRetryable: true, details: [failure] });
}

/** The end of a job that brings no model: cancelled, or failed with a reason. What it left is removed first. */
async function endWithout(job: Job, input: JobInput, error: unknown): Promise<void> {
  if (isCancellation(error) || job.ending) {
    await job.move('CANCELLING', 'cancelling', `Cancelled by ${job.wishedBy}: stopping, and removing what the job left.`);
    await cleanUp(input, { removeModel: true, removeJob: false });
    await job.move('CANCELLED', 'done', 'The job was cancelled.', {
      code: 'CANCELLED',
      message: 'The job was cancelled.',
      domain: 'CONFIG',
      retryable: false,
    });
    return;
  }
  // A bug of ours is no verdict on the job: thrown on, it only halts this workflow's task until a fixed worker goes on.
  if (!(error instanceof ActivityFailure || error instanceof ApplicationFailure)) throw error;
  const failure = failureOf(error);
  await cleanUp(input, { removeModel: true, removeJob: false, keepWork: true });
  await job.move('FAILED', 'done', failure.message, failure);
}

/**
 * Runs steps that read the rendered set. Where they find it gone, or made by another version of Temper that wrote other files, it is
 * rendered again and the steps are repeated: the same examples in the same order.
 */
function makeWithSet(job: Job, input: JobInput, rendered: PreparedSet) {
  let set = rendered;
  return async <T>(steps: (set: PreparedSet) => Promise<T>): Promise<T> => {
    try {
      return await steps(set);
    } catch (error) {
      if (failureOf(error).code !== 'RENDERED_SET_MISSING' || !patched('rendered-again')) throw error;
      const { stage } = job;
      await job.move(
        job.state,
        'rendering',
        'The rendered examples are gone, or another version of Temper made them: rendering them again.',
      );
      set = await job.interruptible(() => dataActivities('render the examples again').renderJob(input));
      await job.move(job.state, stage, 'The examples are rendered again.');
      return await steps(set);
    }
  };
}

/** Runs attempts until one ends with an adapter. */
async function train(job: Job, input: JobInput, prepared: PreparedSet): Promise<TrainResult> {
  let bestCheckpoint = 0;
  let withoutProgress = 0;
  /** Those among them that the job itself may be the cause of. */
  let suspicious = 0;
  /** Attempts in a row that another trainer on the GPU turned away: they say nothing against this job, but each waits longer. */
  let turnedAway = 0;
  let reason = 'RENDERED_SET_MISSING';
  if (job.attempt === 0) reason = 'first attempt';
  else if (job.attempt === input.resumed?.attempt) reason = 'resumed';
  for (;;) {
    if (job.overdue && !job.begun) throw deadlinePassed();
    if (job.wish === 'pause') await pause(job);
    if (job.state === 'VALIDATING' || job.state === 'PAUSED')
      await job.move('PENDING', 'queued', job.state === 'PAUSED' ? `Resumed by ${job.wishedBy}; waiting for a GPU.` : 'Waiting for a GPU.');
    if (job.state === 'PENDING' && patched('running-jobs-quota') && !(await takeTurn(job, input))) continue;
    job.attempt += 1;
    job.aside = null;
    const { attempt } = job;
    const place = { accountId: input.accountId, priority: job.priority };
    try {
      const summary = `train, attempt ${attempt}${bestCheckpoint > 0 ? `, from step ${bestCheckpoint}` : ''}`;
      const result = await job.pausable(() =>
        trainActivity(place, summary).train({ uid: input.uid, name: input.name, attempt, prepared, reason }),
      );
      await recordEnd(input, attempt, 'completed');
      if (job.state !== 'RUNNING') await job.move('RUNNING', 'training', 'Training is complete.');
      return result;
    } catch (error) {
      const reached = progressOf(error)?.checkpointStep ?? 0;
      if (isCancellation(error)) {
        const { aside } = job;
        await recordEnd(input, attempt, job.ending || job.overdue ? 'cancelled' : aside ? 'preempted' : 'paused');
        if (job.ending || (job.overdue && !job.begun)) throw error;
        const requeued = aside
          ? `Stepped aside for ${aside}, which goes first; it goes on from its checkpoint.`
          : 'Resumed while it was being paused.';
        if (job.wish !== 'pause') await job.move('RE_QUEUEING', 'requeued', requeued);
        reason = aside ? 'preempted' : 'resumed';
        continue;
      }
      const failure = failureOf(error);
      await recordEnd(input, attempt, 'failed', failure);
      if (!failure.retryable) throw error;
      turnedAway = failure.code === 'GPU_BUSY' ? turnedAway + 1 : 0;
      const isFull = failure.code === 'NO_SPACE' && patched('full-disk');
      const isSuspicious = OUTSIDE_FAILURES.has(failure.code) || isFull ? 0 : 1;
      suspicious = reached > bestCheckpoint ? isSuspicious : suspicious + isSuspicious;
      if (turnedAway === 0) withoutProgress = reached > bestCheckpoint ? 1 : withoutProgress + 1;
      bestCheckpoint = Math.max(bestCheckpoint, reached);
      const isHopeless = suspicious >= MAX_ATTEMPTS_WITHOUT_PROGRESS || withoutProgress >= MAX_LOST_ATTEMPTS_WITHOUT_PROGRESS;
      if (turnedAway === 0 && withoutProgress >= MAX_ATTEMPTS_WITHOUT_PROGRESS && (isHopeless || !patched('lost-attempts')))
        throw noProgress(withoutProgress, failure);
      await job.move(
        'RE_QUEUEING',
        'requeued',
        `Attempt ${attempt} ended: ${failure.message} The next goes on from ${bestCheckpoint > 0 ? `step ${bestCheckpoint}` : 'the start'}.`,
      );
      await job
        .pausable(() => sleep(isFull ? backoffMs(withoutProgress) + FULL_DISK_MS : backoffMs(Math.max(1, suspicious, turnedAway))))
        .catch(rethrowIfEnding(job));
      reason = failure.code;
    }
  }
}

/** Everything is checked and rendered, nothing is spent: waits, holding no GPU, until someone says yes or no. */
async function waitForApproval(job: Job, examples: number): Promise<void> {
  const cause = `Waits for approval: the settings are checked and ${examples} examples rendered, and no GPU is used. Approve or reject it.`;
  await job.move('PAUSED', 'approval', cause);
  await job.interruptible(() => condition(() => job.approval !== null));
  const { by, note } = job.approval!;
  await job.move('PENDING', 'queued', `Approved by ${by}${note ? ` (${note})` : ''}; waiting for a GPU.`);
}

/** Waits until the account may run one more job; false when a pause came first. */
async function takeTurn(job: Job, input: JobInput): Promise<boolean> {
  job.waitsForTurn = true;
  try {
    for (;;) {
      const { calls } = job;
      try {
        await job.pausable(() => turnActivity('wait for the turn of the account').claimRun({ uid: input.uid }));
        return true;
      } catch (error) {
        if (!isCancellation(error) || job.ending) throw error;
        if (job.calls === calls) return false;
      }
    }
  } finally {
    job.waitsForTurn = false;
  }
}

async function evaluate(job: Job, input: JobInput, prepared: PreparedSet, training: TrainResult): Promise<EvaluationResult> {
  await job.move(job.state, 'evaluating', `Evaluating the base and the tuned model on ${prepared.evalExamples} held-out examples.`);
  const place = { accountId: input.accountId, priority: job.priority };
  return job.interruptible(() =>
    evaluateActivity(place, `evaluate on ${prepared.evalExamples} examples`).evaluate({
      uid: input.uid,
      name: input.name,
      prepared,
      adapterKey: training.adapterKey,
    }),
  );
}

/** Whether what is to be published loads, and gives again what the evaluation found. */
async function verify(job: Job, input: JobInput, results: VerifyInput): Promise<Verification> {
  await job.move('WRITING_RESULTS', 'verifying', 'Loading the adapter again from its files.');
  const place = { accountId: input.accountId, priority: job.priority };
  return job.interruptible(() => verifyActivity(place, 'load the adapter again').verifyModel(results));
}

/** Waits, holding no GPU, until someone resumes or ends the job. */
async function pause(job: Job): Promise<void> {
  await job.move(
    'PAUSED',
    'paused',
    `Paused by ${job.wishedBy}; the GPU is free. The job goes on from its last checkpoint when it is resumed.`,
  );
  await job.interruptible(() => condition(() => job.wish !== 'pause'));
  if (job.ending) throw new CancelledFailure('Cancelled while paused');
}

/** Each tracker's reporter is a workflow of its own, which the job never waits for. It has nothing to say before the first step, or the end. */
async function startReporters(job: Job, input: JobInput, trackers: Tracker[]): Promise<void> {
  if (trackers.length === 0) return;
  await CancellationScope.nonCancellable(async () => {
    await condition(() => job.state === 'RUNNING' || job.terminal);
    if (job.wish === 'delete') return;
    for (const tracker of trackers) await startReporter(input, tracker);
  });
}

async function startReporter({ uid, name, accountId }: JobInput, tracker: Tracker): Promise<void> {
  try {
    await startChild<typeof ReportWorkflow>(REPORT_WORKFLOW, {
      workflowId: reportWorkflowId({ name, tracker }),
      args: [{ uid, name, accountId, tracker }],
      parentClosePolicy: 'ABANDON',
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      staticSummary: `report to ${TRACKER_TITLES[tracker]}`,
    });
  } catch (error) {
    // Someone has started it by hand.
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}

/** For jobs that began before reporters had a workflow of their own. Delivery happens after the end: an outage of the tracker costs the job no time, and its failure no result. */
async function reportToTracker(job: Job, input: JobInput): Promise<void> {
  try {
    await job.interruptible(() =>
      reportActivities('report to Weights & Biases').report({ uid: input.uid, name: input.name, outcome: job.state }),
    );
  } catch (error) {
    if (isCancellation(error)) return;
    const { code, message } = failureOf(error);
    await recordActivities('a warning').recordEvent({
      uid: input.uid,
      key: 'report/failed',
      type: 'report',
      message: `Reporting to Weights & Biases was given up: ${message}`,
      data: { code },
    });
  }
}

async function removeJob(job: Job, input: JobInput): Promise<void> {
  await CancellationScope.nonCancellable(async () => {
    await job.move('DELETING', 'done', `Deleted by ${job.wishedBy}: removing the job.`);
    await cleanUpActivity('remove what the job left').cleanUpJob({ uid: input.uid, name: input.name, removeModel: false, removeJob: true });
  });
}

/** Left-overs must not decide the end of a job: what this misses, the next removal of the job takes. */
async function cleanUp(input: JobInput, what: Omit<CleanUpInput, 'uid' | 'name'>): Promise<void> {
  try {
    await cleanUpActivity('remove what the job left').cleanUpJob({ uid: input.uid, name: input.name, ...what });
  } catch (error) {
    if (isCancellation(error)) throw error;
    const { message } = failureOf(error);
    await recordActivities('a warning').recordEvent({
      uid: input.uid,
      key: 'cleanup/failed',
      type: 'warning',
      message: `Something was left in the object store: ${message}`,
    });
  }
}

function recordEnd(input: JobInput, attempt: number, outcome: string, failure?: Failure): Promise<void> {
  return CancellationScope.nonCancellable(() =>
    recordActivities(`attempt ${attempt} ${outcome}`).recordAttemptEnd({ uid: input.uid, attempt, outcome, failure }),
  );
}

/** Ends of attempts that come from outside: worker, database or object store went away, or another trainer has the GPU. */
const OUTSIDE_FAILURES = new Set([
  'WORKER_LOST',
  'TRAINER_INTERRUPTED',
  'GPU_BUSY',
  'TRAINER_KILLED',
  'DATABASE_UNAVAILABLE',
  'OBJECT_STORE_UNAVAILABLE',
]);

/** A disk is full until somebody makes room, which takes longer than a process to start: twenty attempts are over an hour. */
const FULL_DISK_MS = 5_000;

/** 1 s after an attempt that made progress or the first that did not, then doubling to 5 minutes. */
function backoffMs(withoutProgress: number): number {
  return Math.min(1000 * 2 ** (withoutProgress - 1), 300_000);
}

function rethrowIfEnding(job: Job) {
  return (error: unknown): void => {
    if (job.ending || !isCancellation(error)) throw error;
  };
}

function noProgress(attempts: number, last: Failure): ApplicationFailure {
  const failure: Failure = {
    code: 'TRAINER_NO_PROGRESS',
    domain: last.domain,
    retryable: false,
    message: `${attempts} attempts in a row ended without a new checkpoint. The last one: ${last.message}`,
  };
  return ApplicationFailure.create({ type: failure.code, message: failure.message, nonRetryable: true, details: [failure] });
}
