/**
 * What Temper costs a job beyond training: everything from the POST to COMPLETED, less the running time of the trainer's own
 * processes. Beside it the same work by hand: the trainer alone, started twice from a shell, with nothing durable about it.
 *
 *   node --import tsx bench/overhead.ts [--jobs 5]
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { Connection } from '../cli/client.js';
import type { EvaluateSpec, TrainSpec } from '../schemas/trainerProtocol.js';
import { median, runJob, uploadRows } from './runJob.js';
import { startTemporaryStack } from './temporaryStack.js';

const { values } = parseArgs({ options: { jobs: { type: 'string', default: '5' } } });
const { python, baseModel, stack, home, close } = await startTemporaryStack();
try {
  const { apiUrl, apiKey, accountId } = stack.dev();
  const connection = { apiUrl, apiKey, accountId } as Connection;
  await uploadRows(connection, 200);

  const overheads: number[] = [];
  const totals: number[] = [];
  // The first job brings the base model to the worker, and is not counted.
  for (let index = 0; index <= Number(values.jobs); index += 1) {
    // A different seed a job: nothing is shared but the base model.
    const job = await runJob(connection, `job-${index}`, { seed: index });
    if (index === 0) continue;
    totals.push(job.total);
    overheads.push(job.total - job.trainer);
    console.log(
      `job ${index}: ${job.total.toFixed(2)} s, of which trainer ${job.trainer.toFixed(2)} s, overhead ${(job.total - job.trainer).toFixed(2)} s`,
    );
  }
  const byHand = runByHand();
  console.log(`\noverhead of a job, median of ${overheads.length}: ${median(overheads).toFixed(2)} s`);
  console.log(
    `whole job against the trainer by hand: ${median(totals).toFixed(2)} s / ${byHand.toFixed(2)} s = ${(median(totals) / byHand).toFixed(2)}`,
  );
} finally {
  await close();
}

/** The rendered rows that the last job left in the worker's cache, trained and evaluated by the bare trainer. */
function runByHand(): number {
  const prepared = path.join(home, 'cache', 'prepared', readdirSync(path.join(home, 'cache', 'prepared'))[0]!);
  const model = { path: baseModel, quantization: 'none', dtype: 'auto' } as const;
  const train: TrainSpec = {
    version: 1,
    work: 'train',
    model,
    adapter: { rank: 16, alpha: 32, dropout: 0 },
    data: { kind: 'textClassification', path: prepared, cutoffLength: 512 },
    training: {
      epochs: 1,
      batchSize: 16,
      learningRate: 2e-3,
      warmupSteps: 0,
      schedule: 'cosine',
      weightDecay: 0,
      maxGradNorm: 1,
      seed: 1,
      microBatchTokens: null,
    },
    checkpoints: { directory: path.join(home, 'by-hand', 'checkpoints'), everySteps: 1000, everySeconds: 1000, keep: 1 },
    outputPath: path.join(home, 'by-hand', 'adapter'),
  };
  const evaluate: EvaluateSpec = {
    version: 1,
    work: 'evaluate',
    model,
    adapterPath: train.outputPath,
    data: { ...train.data, path: path.join(prepared, 'eval.jsonl') },
    labels: ['a', 'b', 'c'],
    maxExamples: null,
    outputPath: path.join(home, 'evaluation.json'),
  };
  const started = performance.now();
  for (const spec of [train, evaluate]) {
    const file = path.join(home, `${spec.work}.json`);
    writeFileSync(file, JSON.stringify(spec));
    const { status, stderr } = spawnSync(python, ['-m', 'temper_trainer', file]);
    if (status !== 0) throw new Error(stderr.toString());
  }
  readFileSync(evaluate.outputPath);
  return (performance.now() - started) / 1000;
}
