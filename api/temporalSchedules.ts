/**
 * Schedules as Temporal has them. The row is first: what Temporal was not told, because a process died or Temporal was away,
 * is told by the next round of `applyPendingSchedules`. Whether a schedule is paused and when it ran is asked of Temporal.
 */
import {
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  ApplicationFailure,
  type Client,
  type ScheduleHandle,
  type ScheduleOptions,
  type UpdateDefinition,
  type WorkflowStartOptions,
} from '@temporalio/client';
import { runName } from '../jobs/retrainingRun.js';
import { TemperError } from '../schemas/errors.js';
import { startAttributes } from '../schemas/jobStart.js';
import { DEFAULT_CATCHUP_WINDOW_SECONDS } from '../schemas/limits.js';
import { resourceName } from '../schemas/names.js';
import type { RetrainingInput } from '../schemas/retraining.js';
import { OVERLAP_POLICIES } from '../schemas/schedule.js';
import { CONTROL_QUEUE } from '../schemas/taskQueues.js';
import type { Database } from '../stores/database.js';
import { markRunStarted, recordRunState, runsWithoutWorkflow, type RunRecord } from '../stores/retrainingRuns.js';
import { deleteSchedule, markScheduleApplied, schedulesToApply, type ScheduleRecord } from '../stores/schedules.js';
import { RETRAINING_WORKFLOW } from '../workflows/messages.js';
import { isTemporalOutage } from './problems.js';

const CALL_TIMEOUT_MS = 5_000;
const UPDATE_TIMEOUT_MS = 25_000;

/** What Temporal knows of a schedule. */
export interface ScheduleFacts {
  paused: boolean;
  note: string;
  nextRunTimes: Date[];
}

/** Makes Temporal's schedule, or brings the one that is there to the row's timing; pauses and notes stay as they are. */
export async function applySchedule(client: Client, database: Database, schedule: ScheduleRecord): Promise<void> {
  const { startPaused, note } = schedule.timing;
  const options = scheduleOptions(schedule);
  try {
    await within(client, () => client.schedule.create({ ...options, state: { paused: startPaused ?? false, note } }));
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    const { spec, action, policies } = options;
    await within(client, () => handle(client, schedule).update(({ state }) => ({ spec, action, policies, state })));
  }
  await markScheduleApplied(database, schedule.uid, schedule.version);
}

/** Tells Temporal what it has not been told. @param olderThanSeconds  younger ones are still in the hands of who made them */
export async function applyPendingSchedules(
  client: Client,
  database: Database,
  olderThanSeconds: number,
  onError: (error: unknown, id: string) => void,
): Promise<void> {
  for (const schedule of await schedulesToApply(database, olderThanSeconds)) {
    const apply = schedule.deleting ? removeSchedule : applySchedule;
    await apply(client, database, schedule).catch((error: unknown) => onError(error, schedule.id));
  }
  for (const run of await runsWithoutWorkflow(database, olderThanSeconds))
    await startSweep(client, database, run).catch((error: unknown) => onError(error, run.id));
}

/** Temporal's schedule first, then the row. */
export async function removeSchedule(client: Client, database: Database, schedule: ScheduleRecord): Promise<void> {
  try {
    await within(client, () => handle(client, schedule).delete());
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error;
  }
  await deleteSchedule(database, schedule.uid);
}

/** Null when Temporal has not been told of it yet, or does not answer. */
export async function describeSchedule(client: Client, schedule: ScheduleRecord): Promise<ScheduleFacts | null> {
  try {
    const { state, info } = await within(client, () => handle(client, schedule).describe());
    return { paused: state.paused, note: state.note ?? '', nextRunTimes: state.paused ? [] : info.nextActionTimes };
  } catch (error) {
    if (error instanceof ScheduleNotFoundError || isTemporalOutage(error)) return null;
    throw error;
  }
}

/** Does something to Temporal's schedule; made first if Temporal was not told of it yet, or an operator deleted it there. */
export async function onSchedule(client: Client, database: Database, schedule: ScheduleRecord, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error;
    await applySchedule(client, database, schedule);
    await act();
  }
}

export const pauseSchedule = (client: Client, schedule: ScheduleRecord, note: string) =>
  within(client, () => handle(client, schedule).pause(note));
export const unpauseSchedule = (client: Client, schedule: ScheduleRecord, note: string) =>
  within(client, () => handle(client, schedule).unpause(note));
/** Now, by the schedule's own overlap policy. */
export const triggerSchedule = (client: Client, schedule: ScheduleRecord) => within(client, () => handle(client, schedule).trigger());
/** One after the other, whatever the policy: each is a run that would have been. */
export const backfillSchedule = (client: Client, schedule: ScheduleRecord, start: Date, end: Date) =>
  within(client, () => handle(client, schedule).backfill({ start, end, overlap: 'BUFFER_ALL' }));

/** Starts a sweep's workflow unless it has one, and remembers that it has. */
export async function startSweep(client: Client, database: Database, run: RunRecord): Promise<void> {
  const input: RetrainingInput = { accountId: run.account_id, runUid: run.uid };
  try {
    await within(client, () =>
      client.workflow.start(RETRAINING_WORKFLOW, {
        ...startOptions(run.account_id, runName(run), run.created_by),
        args: [input],
        taskQueue: CONTROL_QUEUE,
        workflowId: run.workflow_id,
        memo: { uid: run.uid },
      } as WorkflowStartOptions),
    );
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
  await markRunStarted(database, run.uid);
}

/** Cancels a run and with it the jobs that it waits for. @returns false when its workflow is over: then the record says so from now on */
export async function cancelRun(client: Client, database: Database, run: RunRecord): Promise<boolean> {
  try {
    await within(client, () => client.workflow.getHandle(run.workflow_id).cancel());
    return true;
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
    await recordRunState(database, run.uid, 'CANCELLED', 'Its workflow was ended in the Temporal UI.');
    return false;
  }
}

/** Whether the run's workflow goes on; one that an operator terminated is recorded as cancelled. */
export async function isRunning(client: Client, database: Database, run: RunRecord): Promise<boolean> {
  try {
    const { status } = await within(client, () => client.workflow.getHandle(run.workflow_id).describe());
    if (status.name === 'RUNNING') return true;
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
  await recordRunState(database, run.uid, 'CANCELLED', 'Its workflow was ended in the Temporal UI.');
  return false;
}

/** @throws TemperError ILLEGAL_STATE, with the workflow's reason, when it refuses or is over */
export async function decideRun<Request>(
  client: Client,
  run: RunRecord,
  definition: UpdateDefinition<string, [Request]>,
  request: Request,
): Promise<void> {
  try {
    await client.withDeadline(Date.now() + UPDATE_TIMEOUT_MS, () =>
      client.workflow.getHandle(run.workflow_id).executeUpdate(definition, { args: [request] }),
    );
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) throw new TemperError('ILLEGAL_STATE', 'The run is over: it waits for no approval.');
    if (error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure)
      throw new TemperError('ILLEGAL_STATE', error.cause.message);
    throw error;
  }
}

function scheduleOptions(schedule: ScheduleRecord): Omit<ScheduleOptions, 'state'> {
  const { cron, timeZone, interval, jitter, overlapPolicy, catchupWindow } = schedule.timing;
  const name = scheduleName(schedule);
  const input: RetrainingInput = { accountId: schedule.account_id, scheduleUid: schedule.uid };
  return {
    scheduleId: name,
    spec: {
      ...(cron !== undefined ? { cronExpressions: [cron], timezone: timeZone ?? 'UTC' } : {}),
      ...(interval !== undefined ? { intervals: [{ every: millis(interval) }] } : {}),
      ...(jitter !== undefined ? { jitter: millis(jitter) } : {}),
    },
    action: {
      type: 'startWorkflow',
      workflowType: RETRAINING_WORKFLOW,
      workflowId: name,
      taskQueue: CONTROL_QUEUE,
      args: [input],
      memo: { uid: schedule.uid },
      ...startOptions(schedule.account_id, name, schedule.created_by),
    },
    policies: {
      overlap: OVERLAP_POLICIES.find((policy) => policy === overlapPolicy) ?? 'SKIP',
      catchupWindow: catchupWindow === undefined ? DEFAULT_CATCHUP_WINDOW_SECONDS * 1000 : millis(catchupWindow),
    },
    memo: { uid: schedule.uid },
  };
}

function startOptions(accountId: string, name: string, createdBy: string) {
  return {
    staticSummary: `retraining by ${name.split('/').slice(2).join('/')}`,
    staticDetails: `**Retraining** of \`${name}\`, made by ${createdBy}`,
    typedSearchAttributes: startAttributes({ account: accountId, state: 'RUNNING', stage: 'created' }),
  };
}

export function scheduleName(schedule: Pick<ScheduleRecord, 'account_id' | 'id'>): string {
  return resourceName(schedule.account_id, 'schedules', schedule.id);
}

function handle(client: Client, schedule: ScheduleRecord): ScheduleHandle {
  return client.schedule.getHandle(scheduleName(schedule));
}

function within<T>(client: Client, call: () => Promise<T>): Promise<T> {
  return client.withDeadline(Date.now() + CALL_TIMEOUT_MS, call);
}

function millis(duration: string): number {
  return 1000 * Number.parseInt(duration, 10);
}
