/** Validation, rendering, registration: what needs CPU, disk and the object store. */
import { availableParallelism } from 'node:os';
import { Worker } from '@temporalio/worker';
import { makeCheckJob } from '../activities/checkJob.js';
import { makeCleanUp } from '../activities/cleanup.js';
import { makeExportData } from '../activities/exportModel.js';
import { makeImportModel } from '../activities/importModel.js';
import { makeJanitor } from '../activities/janitor.js';
import { makeRegister } from '../activities/register.js';
import { makeRender } from '../activities/render.js';
import { makeRetrainingData } from '../activities/retrainingData.js';
import { makeRetrainingJobs } from '../activities/retrainingJobs.js';
import { makeValidate } from '../activities/validate.js';
import { makeValidateModel } from '../activities/validateModel.js';
import { DATA_QUEUE } from '../schemas/taskQueues.js';
import { openEnvironment, workerOptions } from './environment.js';
import { runWorker } from './run.js';

/** Activities at once. */
const SLOTS = Math.max(2, availableParallelism());

const environment = await openEnvironment('data');
const worker = await Worker.create({
  ...workerOptions(environment),
  taskQueue: DATA_QUEUE,
  activities: {
    ...makeValidate(environment),
    ...makeImportModel(environment),
    ...makeValidateModel(environment),
    ...makeCheckJob(environment),
    ...makeRender(environment),
    ...makeRegister(environment),
    ...makeCleanUp(environment),
    ...makeRetrainingData(environment),
    ...makeRetrainingJobs(environment),
    ...makeJanitor(environment),
    ...makeExportData(environment),
  },
  maxConcurrentActivityTaskExecutions: SLOTS,
});
await runWorker(worker, environment, { kind: 'data', slots: SLOTS });
