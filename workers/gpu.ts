/** Training and evaluation: one job at a time on the GPU (or the CPUs) of this machine. */
import path from 'node:path';
import { Worker } from '@temporalio/worker';
import { makeEvaluate } from '../activities/evaluate.js';
import { makeMergeModel } from '../activities/exportModel.js';
import { makeTrain } from '../activities/train.js';
import { endTrainings } from '../activities/trainings.js';
import { makeVerify } from '../activities/verify.js';
import { gpuQueue } from '../schemas/taskQueues.js';
import { openEnvironment, workerOptions } from './environment.js';
import { countAccelerators } from './presence.js';
import { runWorker } from './run.js';

/** Activities at once. */
const SLOTS = 1;

const environment = await openEnvironment('gpu');
const trainer = {
  python: environment.python,
  scratch: environment.scratch,
  gpuLock: path.join(environment.home, 'gpu.lock'),
  accelerators: await countAccelerators(),
};
const dependencies = { ...environment, trainer };
const worker = await Worker.create({
  ...workerOptions(environment),
  taskQueue: gpuQueue(process.env['TEMPER_GPU_CLASS']),
  activities: { ...makeTrain(dependencies), ...makeEvaluate(dependencies), ...makeVerify(dependencies), ...makeMergeModel(dependencies) },
  maxConcurrentActivityTaskExecutions: SLOTS,
  // A cancelled trainer gets its checkpoint out before the worker goes.
  shutdownGraceTime: 0,
});
await runWorker(worker, environment, { kind: 'gpu', slots: SLOTS, atEnd: endTrainings });
