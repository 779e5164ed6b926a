/** Scores the base and the tuned model on the same held-out rows: accuracy for classification, perplexity for the others. */
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { EvaluateInput, EvaluationResult, GpuActivities } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import { MAX_EVALUATION_EXAMPLES } from '../schemas/limits.js';
import { PROTOCOL_VERSION, type EvaluatedEvent, type EvaluateSpec } from '../schemas/trainerProtocol.js';
import { appendEvent } from '../stores/events.js';
import { recordEvaluation, updateProgress } from '../stores/jobs.js';
import { requireBaseModel } from './baseModels.js';
import { withHeartbeats } from './heartbeat.js';
import { requireJob } from './jobs.js';
import { leaseModelFolder, type ModelLease } from './modelCache.js';
import { ensurePart, readManifest } from './preparedSets.js';
import type { TrainDependencies } from './train.js';
import { runTrainer } from './trainerProcess.js';

export function makeEvaluate(deps: TrainDependencies): Pick<GpuActivities, 'evaluate'> {
  return { evaluate: (input) => withHeartbeats((signal) => evaluate(deps, input, signal)) };
}

async function evaluate(deps: TrainDependencies, input: EvaluateInput, signal: AbortSignal): Promise<EvaluationResult> {
  const { database, objects } = deps;
  const job = await requireJob(database, input.uid);
  const folder = path.join(deps.scratch, `evaluate-${process.pid}-${job.uid}`);
  let model: ModelLease | undefined;
  try {
    await mkdir(folder, { recursive: true });
    const manifest = await readManifest(objects, input.prepared.key);
    if (!manifest?.eval)
      throw new TemperError('OBJECT_MISSING', 'The evaluation rows of the job are gone from the object store. Start the job again.');
    const adapterPath = path.join(folder, 'adapter');
    for (const { key } of await objects.list(`${input.adapterKey}/`))
      await objects.getFile(key, path.join(adapterPath, path.basename(key)), undefined, signal);

    model = await leaseModelFolder(await requireBaseModel(database, job), deps, signal);
    const spec: EvaluateSpec = {
      version: PROTOCOL_VERSION,
      work: 'evaluate',
      model: { path: model.folder, quantization: job.settings.quantization, dtype: 'auto' },
      adapterPath,
      data: {
        kind: job.settings.task.kind,
        path: await ensurePart('eval', input.prepared, manifest, deps, signal),
        cutoffLength: job.settings.cutoffLength,
      },
      labels: manifest.labels ?? undefined,
      maxExamples: MAX_EVALUATION_EXAMPLES,
      outputPath: path.join(folder, 'evaluation.json'),
    };
    const scores: Partial<Record<'base' | 'tuned', EvaluatedEvent>> = {};
    const { seconds } = await runTrainer(
      { ...deps.trainer, scratch: folder },
      { name: 'run', spec, signal, onEvent: (event) => void (event.event === 'evaluated' && (scores[event.target] = event)) },
    );
    const { base, tuned } = scores;
    if (!base || !tuned) throw new TemperError('TRAINER_CRASHED', 'The evaluation ended without a result; it is tried again.');

    const reportKey = `jobs/${job.uid}/evaluation.json`;
    await objects.putFile(reportKey, spec.outputPath);
    const result: EvaluationResult = {
      metric: tuned.metric,
      base: base.value,
      tuned: tuned.value,
      examples: tuned.examples,
      reportKey,
      trainerSeconds: seconds,
    };
    await recordEvaluation(database, job.uid, result);
    await updateProgress(database, job.uid, { trainerSeconds: (job.progress.trainerSeconds ?? 0) + seconds });
    await appendEvent(database, job.uid, {
      key: 'evaluated',
      type: 'evaluation',
      data: { base, tuned },
      message: `${tuned.metric} on ${tuned.examples} held-out examples: ${base.value.toFixed(4)} base, ${tuned.value.toFixed(4)} tuned.`,
    });
    return result;
  } finally {
    await model?.release();
    await rm(folder, { recursive: true, force: true });
  }
}
