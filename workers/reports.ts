/** Reporting to trackers: the clients of others, in processes of their own, apart from everything that jobs depend on. */
import { Worker } from '@temporalio/worker';
import { makeReport } from '../activities/report.js';
import { REPORT_QUEUE } from '../schemas/taskQueues.js';
import { openEnvironment, workerOptions } from './environment.js';
import { runWorker } from './run.js';

/** Jobs that are reported at once: each holds its slot while it trains, and a process of about 150 MB for Weights & Biases. The others' steps wait. */
const SLOTS = 20;

const environment = await openEnvironment('reports');
const worker = await Worker.create({
  ...workerOptions(environment),
  taskQueue: REPORT_QUEUE,
  activities: makeReport(environment),
  maxConcurrentActivityTaskExecutions: SLOTS,
  shutdownGraceTime: 0,
});
await runWorker(worker, environment, { kind: 'reports', slots: SLOTS });
