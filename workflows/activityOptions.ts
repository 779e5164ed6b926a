/**
 * Every activity's time-outs and retries, one row a class; docs/faults.md has them as a table. What cannot succeed is not
 * retried: the failure itself says so (`retryable` in schemas/errors.ts), so no list of error types stands here.
 *
 * `train` is the exception: one attempt an activity. The workflow runs the attempts (fineTuning.ts), because it alone can
 * tell an attempt that brought the job forward from one that did not, and so that every attempt stands in the history.
 */
import { proxyActivities, type ActivityOptions } from '@temporalio/workflow';
import type { ControlActivities, DataActivities, GpuActivities, ReportActivities } from '../schemas/activities.js';
import type { ExportDataActivities, ExportGpuActivities } from '../schemas/export.js';
import type { JanitorActivities } from '../schemas/janitor.js';
import type { RetrainingDataActivities, RetrainingGpuActivities, RetrainingRecordActivities } from '../schemas/retraining.js';
import { CONTROL_QUEUE, DATA_QUEUE, gpuQueue, REPORT_QUEUE } from '../schemas/taskQueues.js';

/** Postgres: short, and worth repeating for as long as the database is away. */
export const RECORD: ActivityOptions = {
  taskQueue: CONTROL_QUEUE,
  startToCloseTimeout: '10s',
  retry: { initialInterval: '200ms', maximumInterval: '30s' },
};

/** A job's turn among those of its account: asked for until it comes. The activity says itself when to ask again. */
export const TURN: ActivityOptions = {
  taskQueue: CONTROL_QUEUE,
  startToCloseTimeout: '10s',
  retry: { initialInterval: '1s', maximumInterval: '30s' },
};

/** Validate, render, register: as long as the data is large; the heartbeat tells a dead worker in 15 s. */
export const STREAM: ActivityOptions = {
  taskQueue: DATA_QUEUE,
  startToCloseTimeout: '6h',
  heartbeatTimeout: '15s',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '1s', maximumInterval: '1m' },
};

/** Exports: as long as the model is large. What fails this often does so for a reason of its own. */
export const EXPORT: ActivityOptions = { ...STREAM, retry: { initialInterval: '1s', maximumInterval: '5m', maximumAttempts: 8 } };

/** Removing what a job left: worth a long time, and the end of the job does not depend on it. */
export const CLEANUP: ActivityOptions = {
  taskQueue: DATA_QUEUE,
  startToCloseTimeout: '5m',
  retry: { initialInterval: '1s', maximumInterval: '1m', maximumAttempts: 100 },
};

/** Delivery to a tracker goes on for as long as the job trains, and tries on for a day after: the activity itself says when that is over. */
export const DELIVER_REPORT: ActivityOptions = {
  taskQueue: REPORT_QUEUE,
  startToCloseTimeout: '30d',
  heartbeatTimeout: '30s',
  // A delivery with another key begins when the earlier one has let go of the run.
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '5s', maximumInterval: '2m' },
};

/** The same for jobs that began before reporters had a workflow of their own. */
export const REPORT: ActivityOptions = {
  taskQueue: CONTROL_QUEUE,
  startToCloseTimeout: '10m',
  heartbeatTimeout: '30s',
  scheduleToCloseTimeout: '24h',
  retry: { initialInterval: '5s', maximumInterval: '10m' },
};

/** A webhook that does not answer is called again for three days: after 5 s, 15 s, … and at last every six hours. */
export const DELIVER: ActivityOptions = {
  taskQueue: CONTROL_QUEUE,
  startToCloseTimeout: '30s',
  scheduleToCloseTimeout: '72h',
  retry: { initialInterval: '5s', backoffCoefficient: 3, maximumInterval: '6h' },
};

/** The longest a job may hold a GPU in one attempt; waiting in the queue does not count. */
const GPU: ActivityOptions = {
  startToCloseTimeout: '72h',
  heartbeatTimeout: '15s',
  // Cancelled is only what has stopped: the trainer is gone and its last checkpoint is stored.
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
};

export const TRAIN: ActivityOptions = { ...GPU, retry: { maximumAttempts: 1 } };

/** Evaluation starts over after a crash; one that crashes this often does so for a reason of its own. */
export const EVALUATE: ActivityOptions = { ...GPU, retry: { initialInterval: '1s', maximumInterval: '5m', maximumAttempts: 10 } };

/** @param summary  the line that the Temporal UI shows on the activity */
export function recordActivities(summary: string) {
  return proxyActivities<Omit<ControlActivities, 'report' | 'claimRun' | 'deliverWebhook'>>({ ...RECORD, summary });
}

export function turnActivity(summary: string) {
  return proxyActivities<Pick<ControlActivities, 'claimRun'>>({ ...TURN, summary });
}

export function cleanUpActivity(summary: string) {
  return proxyActivities<Pick<DataActivities, 'cleanUpJob'>>({ ...CLEANUP, summary });
}

export function dataActivities(summary: string) {
  return proxyActivities<Omit<DataActivities, 'cleanUpJob'>>({ ...STREAM, summary });
}

export function reportActivities(summary: string) {
  return proxyActivities<Pick<ControlActivities, 'report'>>({ ...REPORT, summary });
}

export function deliverReportActivity(summary: string) {
  return proxyActivities<ReportActivities>({ ...DELIVER_REPORT, summary });
}

export function deliveryActivity(summary: string, once: boolean) {
  const retry = once ? { maximumAttempts: 1 } : DELIVER.retry;
  return proxyActivities<Pick<ControlActivities, 'deliverWebhook'>>({ ...DELIVER, retry, summary });
}

/** Place in the GPU queue: by priority first, then in fair turns between accounts. */
export interface GpuPlace {
  accountId: string;
  priority: number;
}

/** What ends a job goes before what begins one like it: a trained model must not wait behind a whole queue of trainings. */
function sooner({ accountId, priority }: GpuPlace): GpuPlace {
  return { accountId, priority: Math.max(1, priority - 1) };
}

export function trainActivity(place: GpuPlace, summary: string) {
  return proxyActivities<Pick<GpuActivities, 'train'>>({ ...TRAIN, ...inQueue(place), summary });
}

export function evaluateActivity(place: GpuPlace, summary: string) {
  return proxyActivities<Pick<GpuActivities, 'evaluate'>>({ ...EVALUATE, ...inQueue(sooner(place)), summary });
}

export function verifyActivity(place: GpuPlace, summary: string) {
  return proxyActivities<Pick<GpuActivities, 'verifyModel'>>({ ...EVALUATE, ...inQueue(sooner(place)), summary });
}

export function retrainingRecords(summary: string) {
  return proxyActivities<RetrainingRecordActivities>({ ...RECORD, summary });
}

export function retrainingData(summary: string) {
  return proxyActivities<RetrainingDataActivities>({ ...STREAM, summary });
}

export function janitorActivity(summary: string) {
  return proxyActivities<JanitorActivities>({ ...STREAM, summary });
}

export function exportData(summary: string) {
  return proxyActivities<Omit<ExportDataActivities, 'abandonExport'>>({ ...EXPORT, summary });
}

export function abandonExportActivity(summary: string) {
  return proxyActivities<Pick<ExportDataActivities, 'abandonExport'>>({ ...STREAM, summary });
}

export function mergeActivity(place: GpuPlace, summary: string) {
  return proxyActivities<ExportGpuActivities>({ ...EVALUATE, ...inQueue(place), summary });
}

export function evaluateModelActivity(place: GpuPlace, summary: string) {
  return proxyActivities<RetrainingGpuActivities>({ ...EVALUATE, ...inQueue(place), summary });
}

function inQueue({ accountId, priority }: GpuPlace): ActivityOptions {
  return { taskQueue: gpuQueue(), priority: { priorityKey: priority, fairnessKey: accountId } };
}
