/**
 * Scores models on the held-out rows of a job, accuracy for classification, perplexity for the others: the job's own adapter
 * beside its base model, and adapters registered earlier that a new one is to be compared with.
 */
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { EvaluateInput, EvaluationResult, GpuActivities, PreparedSet, Verification } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import { MAX_EVALUATION_EXAMPLES } from '../schemas/limits.js';
import { parseName } from '../schemas/names.js';
import type { RetrainingGpuActivities } from '../schemas/retraining.js';
import { PROTOCOL_VERSION, type EvaluatedEvent, type EvaluateSpec, type TrainerEvent } from '../schemas/trainerProtocol.js';
import { appendEvent } from '../stores/events.js';
import { recordEvaluation, updateProgress, type JobRecord } from '../stores/jobs.js';
import { findModel } from '../stores/models.js';
import { requireBaseModel } from './baseModels.js';
import { withHeartbeatsThroughOutages } from './heartbeat.js';
import { requireJob, trainedQuantization } from './jobs.js';
import { leaseModelFolder, type ModelLease } from './modelCache.js';
import { ensureEvaluation, requireManifest } from './preparedSets.js';
import type { TrainDependencies } from './train.js';
import { runTrainer } from './trainerProcess.js';
import { endUnfollowed } from './trainings.js';
import { readVerification, tellVerified } from './verify.js';

export function makeEvaluate(deps: TrainDependencies): Pick<GpuActivities, 'evaluate'> & RetrainingGpuActivities {
  return {
    evaluate: (input) => withHeartbeatsThroughOutages((signal) => evaluate(deps, input, signal)),
    evaluateModel: (input) => withHeartbeatsThroughOutages((signal) => evaluateModel(deps, input, signal)),
  };
}

async function evaluate(deps: TrainDependencies, input: EvaluateInput, signal: AbortSignal): Promise<EvaluationResult> {
  const { database, objects } = deps;
  const job = await requireJob(database, input.uid);
  const adapter = (await objects.list(`${input.adapterKey}/`)).map(({ key }) => ({ key, name: path.basename(key) }));
  const scoring = { prepared: input.prepared, base: job, adapter, verify: true };
  return score(deps, job, scoring, signal, async ({ base, tuned, seconds, report, verification }) => {
    const reportKey = `jobs/${job.uid}/evaluation.json`;
    await objects.putFile(reportKey, report);
    const result: EvaluationResult = {
      metric: tuned.metric,
      base: base.value,
      tuned: tuned.value,
      examples: tuned.examples,
      reportKey,
      trainerSeconds: seconds,
      change: tuned.change,
      verification,
    };
    await recordEvaluation(database, job.uid, result);
    await updateProgress(database, job.uid, { trainerSeconds: (job.progress.trainerSeconds ?? 0) + seconds });
    await appendEvent(database, job.uid, {
      key: 'evaluated',
      type: 'evaluation',
      data: { base, tuned },
      message: `${tuned.metric} on ${tuned.examples} held-out examples: ${base.value.toFixed(4)} base, ${tuned.value.toFixed(4)} tuned.`,
    });
    if (verification) await tellVerified(database, job, verification, 'gives the same as evaluated');
    return result;
  });
}

/** A registered adapter, on its own base model, on the rows that the job was evaluated on. */
async function evaluateModel(
  deps: TrainDependencies,
  { model: name, jobUid, prepared }: Parameters<RetrainingGpuActivities['evaluateModel']>[0],
  signal: AbortSignal,
): ReturnType<RetrainingGpuActivities['evaluateModel']> {
  const job = await requireJob(deps.database, jobUid);
  const parsed = parseName(name, 'models', job.account_id);
  const model = parsed ? await findModel(deps.database, job.account_id, parsed.id) : undefined;
  if (model?.state !== 'READY' || !model.base_model)
    throw new TemperError('MODEL_NOT_FOUND', `The model ${name} is gone: there is nothing to compare with.`);
  const progress = model.base_model === job.base_model ? job.progress : {};
  const scoring = { prepared, base: { account_id: job.account_id, base_model: model.base_model, progress }, adapter: model.files };
  return score(deps, job, scoring, signal, async ({ tuned }) => ({ metric: tuned.metric, value: tuned.value, examples: tuned.examples }));
}

interface Scoring {
  prepared: PreparedSet;
  base: Parameters<typeof requireBaseModel>[1];
  adapter: { name: string; key: string }[];
  /** Before the adapter is published: it is loaded a second time, and must give the same. */
  verify?: boolean;
}
interface Scores {
  base: EvaluatedEvent;
  tuned: EvaluatedEvent;
  seconds: number;
  verification?: Verification;
  /** The trainer's own file with the result of every row; there until `use` is over. */
  report: string;
}

/** Runs the trainer once: the base model without and with the adapter, on the evaluation rows of the job. */
async function score<T>(
  deps: TrainDependencies,
  job: JobRecord,
  { prepared, base, adapter, verify }: Scoring,
  signal: AbortSignal,
  use: (scores: Scores) => Promise<T>,
): Promise<T> {
  const { database, objects } = deps;
  const folder = path.join(deps.scratch, `evaluate-${process.pid}-${job.uid}`);
  let model: ModelLease | undefined;
  try {
    await mkdir(folder, { recursive: true });
    await endUnfollowed(); // a trainer that Temporal has lost sight of leaves the GPU
    const manifest = await requireManifest(objects, prepared.key);
    const adapterPath = path.join(folder, 'adapter');
    for (const { key, name } of adapter) await objects.getFile(key, path.join(adapterPath, name), undefined, signal);

    model = await leaseModelFolder(await requireBaseModel(database, base), deps, signal);
    const spec: EvaluateSpec = {
      version: PROTOCOL_VERSION,
      work: 'evaluate',
      model: { path: model.folder, quantization: trainedQuantization(job), dtype: 'auto' },
      adapterPath,
      data: {
        kind: job.settings.task.kind,
        path: await ensureEvaluation(prepared, manifest, deps, signal),
        cutoffLength: job.settings.cutoffLength,
      },
      labels: manifest.labels ?? undefined,
      maxExamples: MAX_EVALUATION_EXAMPLES,
      ...(verify ? { verify } : {}),
      outputPath: path.join(folder, 'evaluation.json'),
    };
    const scores: Partial<Record<'base' | 'tuned', EvaluatedEvent>> = {};
    let verification: Verification | undefined;
    const onEvent = (event: TrainerEvent): void => {
      if (event.event === 'evaluated') scores[event.target] = event;
      verification = readVerification(event) ?? verification;
    };
    const { seconds } = await runTrainer({ ...deps.trainer, scratch: folder }, { name: 'run', spec, signal, onEvent });
    const { tuned } = scores;
    if (!scores.base || !tuned) throw new TemperError('TRAINER_CRASHED', 'The evaluation ended without a result; it is tried again.');
    return await use({ base: scores.base, tuned, seconds, verification, report: spec.outputPath });
  } finally {
    await model?.release();
    await rm(folder, { recursive: true, force: true });
  }
}
