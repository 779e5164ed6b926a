/** Workflows and the light steps: Postgres, trackers. Any number of these may run. */
import { fileURLToPath } from 'node:url';
import { Worker } from '@temporalio/worker';
import { makeClaimRun } from '../activities/claimRun.js';
import { makeDeliverWebhook } from '../activities/deliverWebhook.js';
import { makeRecords } from '../activities/records.js';
import { makeReport } from '../activities/report.js';
import { makeRetraining } from '../activities/retraining.js';
import { CONTROL_QUEUE, DEPLOYMENT_NAME } from '../schemas/taskQueues.js';
import { workflowBundle } from '../processes/workflowBundle.js';
import { openEnvironment, workerOptions } from './environment.js';
import { runWorker } from './run.js';

/** Activities at once. */
const SLOTS = 40;

const pathOf = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const environment = await openEnvironment('control');
const buildId = process.env['TEMPER_BUILD_ID'];
const options = workerOptions(environment);
const { workflowModules, ...interceptors } = options.interceptors ?? {};
const codePath = await workflowBundle(
  { workflowsPath: pathOf('../workflows/index.ts'), workflowInterceptorModules: workflowModules },
  pathOf('../node_modules'),
);
const worker = await Worker.create({
  ...options,
  interceptors,
  taskQueue: CONTROL_QUEUE,
  workflowBundle: { codePath },
  activities: {
    ...makeRecords(environment),
    ...makeClaimRun(environment),
    ...makeReport(environment),
    ...makeRetraining(environment),
    ...makeDeliverWebhook(environment),
  },
  // With a version, a workflow keeps to the version it began on, to its end (docs/operations.md).
  workerDeploymentOptions: buildId
    ? { useWorkerVersioning: true, version: { deploymentName: DEPLOYMENT_NAME, buildId }, defaultVersioningBehavior: 'PINNED' }
    : undefined,
  maxConcurrentWorkflowTaskExecutions: 40,
  maxConcurrentActivityTaskExecutions: SLOTS,
  // Each costs about 0.3 MB (bench/queue.ts); one that waits in a long queue is read again from its short history when it moves.
  maxCachedWorkflows: 500,
  // A workflow cached by a worker that was killed waits this long before another takes it.
  stickyQueueScheduleToStartTimeout: '1s',
});
await runWorker(worker, environment, { kind: 'control', slots: SLOTS });
