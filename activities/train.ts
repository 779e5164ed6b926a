/**
 * One attempt at training: bring data, base model and the newest good checkpoint here, run the trainer, and carry its steps
 * and checkpoints away while it runs. Everything it writes is under its attempt's number, and a later attempt shuts it out.
 */
import { link, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { Context } from '@temporalio/activity';
import {
  MILESTONE_SIGNAL,
  type GpuActivities,
  type TrainInput,
  type TrainingMilestone,
  type TrainProgress,
  type TrainResult,
} from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import {
  CHECKPOINT_EVERY_SECONDS,
  CHECKPOINTS_KEPT,
  CHECKPOINTS_PER_RUN,
  DEFAULT_WARMUP_SHARE,
  EARLY_STOP_EVALUATIONS_PER_EPOCH,
  EARLY_STOP_PATIENCE,
  MAX_IN_TRAINING_EXAMPLES,
} from '../schemas/limits.js';
import { PROTOCOL_VERSION, type AdaptedEvent, type StepEvent, type TrainerEvent, type TrainSpec } from '../schemas/trainerProtocol.js';
import type { Database, StoredFile } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import {
  beginAttempt,
  deleteCheckpoint,
  isCurrentAttempt,
  listCheckpoints,
  recordAdaptation,
  recordAttemptDevice,
  recordCheckpoint,
  recordMetrics,
  sumAttemptSeconds,
  sumTokens,
  updateProgress,
  type CheckpointRecord,
  type JobRecord,
  type NewMetric,
} from '../stores/jobs.js';
import type { ObjectStore } from '../stores/objects.js';
import { checkpointBytes, checkpoints, trainerSpeed, trainerSteps, trainerTokens } from '../telemetry/metrics.js';
import { requireBaseModel } from './baseModels.js';
import { toTemporalFailure } from './failures.js';
import { withHeartbeats } from './heartbeat.js';
import { requireJob, requireWarmStartFiles } from './jobs.js';
import { leaseModelFolder, type ModelLease } from './modelCache.js';
import { ensurePart, readManifest, type PreparedManifest } from './preparedSets.js';
import { nothingInTime, timeLimit } from './timeLimit.js';
import { runTrainer, type TrainerSettings } from './trainerProcess.js';

export interface TrainDependencies {
  database: Database;
  objects: ObjectStore;
  cache: string;
  modelCacheBytes: number;
  scratch: string;
  trainer: TrainerSettings;
}

/** Milestones go to the workflow at most this often: its history must stay small. */
const MILESTONES_PER_RUN = 100;
/** What the trainer says of a checkpoint that it does not go on from. */
const UNUSABLE_CHECKPOINT = new Set(['CHECKPOINT_CORRUPT', 'CHECKPOINT_MISMATCH']);
const MILESTONE_INTERVAL_MS = 2_000;
const FLUSH_INTERVAL_MS = 500;

export function makeTrain(deps: TrainDependencies): Pick<GpuActivities, 'train'> {
  return {
    async train(input) {
      const progress: TrainProgress = { attempt: input.attempt, step: 0, totalSteps: 0, checkpointStep: 0 };
      try {
        return await withHeartbeats(
          (signal) => train(deps, input, progress, signal),
          () => progress,
        );
      } catch (error) {
        throw toTemporalFailure(error, progress);
      }
    },
  };
}

async function train(deps: TrainDependencies, input: TrainInput, progress: TrainProgress, signal: AbortSignal): Promise<TrainResult> {
  const { database } = deps;
  const job = await requireJob(database, input.uid);
  const folder = path.join(deps.scratch, `train-${process.pid}-${job.uid}-${input.attempt}`);
  const worker = `${hostname()}:${process.pid}`;
  let model: ModelLease | undefined;
  try {
    await mkdir(folder, { recursive: true });
    const checkpoint = await bringCheckpoint(deps, job, folder, signal);
    progress.step = progress.checkpointStep = checkpoint?.record.step ?? 0;
    const begin = {
      attempt: input.attempt,
      worker,
      reason: input.reason,
      startStep: progress.step,
      resumedFrom: checkpoint?.record.key ?? null,
    };
    if (!(await beginAttempt(database, job.uid, begin))) throw superseded();
    const limit = timeLimit(job.settings, await sumAttemptSeconds(database, job.uid, input.attempt));
    if (limit && limit.seconds === 0 && !checkpoint) throw nothingInTime(limit.name);
    await appendEvent(database, job.uid, {
      key: `attempt/${input.attempt}/began`,
      type: 'attempt',
      data: { attempt: input.attempt, worker, startStep: progress.step },
      message: `Attempt ${input.attempt} began on ${worker} ${checkpoint ? `from the checkpoint of step ${progress.step}` : 'from the start'}.`,
    });
    await tellWorkflow({
      attempt: input.attempt,
      kind: 'began',
      worker,
      step: progress.step,
      totalSteps: null,
      resumedFrom: begin.resumedFrom,
    });

    const base = await requireBaseModel(database, job);
    model = await leaseModelFolder(base, deps, signal);
    // Later attempts and the evaluation use the same, though the hub moves on meanwhile.
    if (model.content) await updateProgress(database, job.uid, { baseModelContent: model.content });
    const baseName = 'hub' in base.source ? base.source.hub : base.name;
    const spec = await makeSpec(
      deps,
      job,
      { input, folder, model: { path: model.folder, name: baseName }, resumeFrom: checkpoint?.folder, stopAfterSeconds: limit?.seconds },
      signal,
    );
    const recorder = makeRecorder(deps, {
      job,
      input,
      worker,
      folder,
      progress,
      before: await sumTokens(database, job.uid, progress.step),
    });
    const { completed, seconds } = await runTrainer(
      { ...deps.trainer, scratch: folder },
      { name: 'run', spec, signal, onEvent: recorder.onEvent },
    )
      .catch(async (error: unknown) => {
        if (checkpoint && error instanceof TemperError && UNUSABLE_CHECKPOINT.has(error.code))
          await dropCheckpoint(deps, job, checkpoint.record, error.message);
        throw error;
      })
      .finally(() => recorder.flush());

    if (!(await isCurrentAttempt(database, job.uid, input.attempt))) throw superseded();
    const adapterKey = `jobs/${job.uid}/adapter-${input.attempt}`;
    for (const file of completed.files) {
      await deps.objects.putFile(`${adapterKey}/${file.name}`, path.join(spec.outputPath, file.name), { digest: file });
    }
    const totals = recorder.totals();
    await updateProgress(database, job.uid, { trainerSeconds: (job.progress.trainerSeconds ?? 0) + seconds, etaSeconds: 0 });
    const { earlyStopped, bestStep, bestLoss } = completed;
    const held = bestStep === undefined ? {} : { earlyStopped: earlyStopped ?? false, bestStep, bestLoss };
    const ended = completed.timeEnded && limit ? { endedBy: limit.name } : {};
    return { adapterKey, files: completed.files, steps: completed.step, ...totals, trainerSeconds: seconds, ...held, ...ended };
  } finally {
    await model?.release();
    await rm(folder, { recursive: true, force: true });
  }
}

function superseded(): TemperError {
  return new TemperError('ATTEMPT_SUPERSEDED', 'A later attempt has taken this job over.');
}

function tellWorkflow(milestone: TrainingMilestone): Promise<void> {
  const { info, client } = Context.current();
  return client.workflow.getHandle(info.workflowExecution!.workflowId, info.workflowExecution!.runId).signal(MILESTONE_SIGNAL, milestone);
}

/** The newest checkpoint that is whole. A damaged one is reported and the one before it used. */
async function bringCheckpoint(
  deps: TrainDependencies,
  job: JobRecord,
  folder: string,
  signal: AbortSignal,
): Promise<{ record: CheckpointRecord; folder: string } | null> {
  for (const record of await listCheckpoints(deps.database, job.uid)) {
    const target = path.join(folder, 'resume', `step-${record.step}`);
    try {
      for (const file of record.files) await deps.objects.getFile(file.key, path.join(target, file.name), file, signal);
      return { record, folder: target };
    } catch (error) {
      if (!(error instanceof TemperError) || !['OBJECT_CORRUPT', 'OBJECT_MISSING'].includes(error.code)) throw error;
      await rm(target, { recursive: true, force: true });
      await dropCheckpoint(deps, job, record, error.message);
    }
  }
  return null;
}

/** The next attempt takes the one before. */
async function dropCheckpoint(deps: TrainDependencies, job: JobRecord, record: CheckpointRecord, why: string): Promise<void> {
  await deleteCheckpoint(deps.database, job.uid, record.attempt, record.step);
  await appendEvent(deps.database, job.uid, {
    key: `checkpoint/${record.attempt}/${record.step}/dropped`,
    type: 'warning',
    data: { step: record.step },
    message: `The checkpoint of step ${record.step} cannot be used; the one before it is. ${why}`,
  });
}

interface Prepared {
  input: TrainInput;
  folder: string;
  /** The base model's folder, and the name that the adapter's configuration gives it. */
  model: { path: string; name: string };
  resumeFrom: string | undefined;
  stopAfterSeconds: number | undefined;
}

async function makeSpec(
  deps: TrainDependencies,
  job: JobRecord,
  { input, folder, model, resumeFrom, stopAfterSeconds }: Prepared,
  signal: AbortSignal,
): Promise<TrainSpec> {
  const { settings } = job;
  const manifest = await readManifest(deps.objects, input.prepared.key);
  if (!manifest)
    throw new TemperError('OBJECT_MISSING', 'The rendered examples of the job are gone from the object store. Start the job again.');
  const data = await ensurePart('train', input.prepared, manifest, deps, signal);
  const stepsPerEpoch = Math.ceil(manifest.train.examples / settings.batchSize);
  const steps = Math.ceil(stepsPerEpoch * settings.epochs);
  return {
    version: PROTOCOL_VERSION,
    work: 'train',
    // "auto" is decided once: checkpoints are of one kind.
    model: {
      ...model,
      quantization: settings.quantization === 'auto' ? (job.progress.quantization ?? 'auto') : settings.quantization,
      dtype: 'auto',
    },
    adapter: {
      rank: settings.loraRank,
      alpha: settings.loraAlpha,
      dropout: settings.loraDropout,
      warmStartPath: settings.warmStartFrom ? await bringWarmStart(deps, job, folder, signal) : undefined,
    },
    data: { kind: settings.task.kind, path: data, cutoffLength: settings.cutoffLength },
    training: {
      epochs: settings.epochs,
      batchSize: settings.batchSize,
      learningRate: settings.learningRate,
      warmupSteps: settings.warmupSteps ?? Math.round(steps * DEFAULT_WARMUP_SHARE),
      schedule: settings.schedule,
      weightDecay: settings.weightDecay,
      maxGradNorm: settings.maxGradNorm,
      seed: settings.seed,
      // Where the attempt before found the memory too small, this one begins with what it had come to.
      microBatchTokens: job.progress.adapted ? (job.progress.microBatchTokens ?? null) : null,
      recompute: job.progress.adapted ? job.progress.recompute : undefined,
    },
    checkpoints: {
      directory: path.join(folder, 'checkpoints'),
      everySteps: Math.max(1, Math.ceil(steps / CHECKPOINTS_PER_RUN)),
      everySeconds: CHECKPOINT_EVERY_SECONDS,
      keep: CHECKPOINTS_KEPT,
      resumeFrom,
    },
    evaluation: await evaluateInTraining(deps, job, input, manifest, stepsPerEpoch, signal),
    stopAfterSeconds,
    outputPath: path.join(folder, 'adapter'),
  };
}

/** Undefined for a job without held-out rows, and for one of before there was such a thing. */
async function evaluateInTraining(
  deps: TrainDependencies,
  { settings }: JobRecord,
  { prepared }: TrainInput,
  manifest: PreparedManifest,
  stepsPerEpoch: number,
  signal: AbortSignal,
): Promise<TrainSpec['evaluation']> {
  if (!manifest.eval || settings.evaluationSteps === undefined) return undefined;
  const perEpoch = settings.earlyStop ? EARLY_STOP_EVALUATIONS_PER_EPOCH : 1;
  return {
    path: await ensurePart('eval', prepared, manifest, deps, signal),
    everySteps: settings.evaluationSteps ?? Math.max(1, Math.ceil(stepsPerEpoch / perEpoch)),
    maxExamples: MAX_IN_TRAINING_EXAMPLES,
    patience: settings.earlyStop ? EARLY_STOP_PATIENCE : null,
  };
}

async function bringWarmStart(deps: TrainDependencies, job: JobRecord, folder: string, signal: AbortSignal): Promise<string> {
  const target = path.join(folder, 'warm-start');
  for (const file of await requireWarmStartFiles(deps.database, job))
    await deps.objects.getFile(file.key, path.join(target, file.name), file, signal);
  return target;
}

interface Recording {
  job: JobRecord;
  input: TrainInput;
  worker: string;
  folder: string;
  progress: TrainProgress;
  /** Of the steps that an earlier attempt made and this one goes on from. */
  before: { tokens: number; trainedTokens: number };
}

/** Carries the trainer's events to the records, the object store and the workflow. */
function makeRecorder(deps: TrainDependencies, recording: Recording) {
  const { database } = deps;
  const { job, input, worker, folder, progress } = recording;
  const { uid } = job;
  let unwritten: NewMetric[] = [];
  let latest: StepEvent | null = null;
  let totals = { ...recording.before, finalLoss: 0 };
  let flushedAt = 0;
  let milestoneAt = 0;
  let uploads: Promise<void> = Promise.resolve();

  async function onEvent(event: TrainerEvent): Promise<void> {
    switch (event.event) {
      case 'started':
        await recordAttemptDevice(database, uid, input.attempt, event.device);
        await updateProgress(database, uid, { device: event.device, versions: event.versions });
        return;
      case 'prepared':
        progress.totalSteps = event.totalSteps;
        await updateProgress(database, uid, {
          totalSteps: event.totalSteps,
          truncatedExamples: event.truncatedExamples,
          droppedExamples: event.droppedExamples,
          targetModules: event.targetModules,
          microBatchTokens: event.microBatchTokens,
          recompute: event.recompute,
          quantization: event.quantization,
        });
        return;
      case 'adapted':
        return onAdapted(event);
      case 'step':
        return onStep(event);
      case 'checkpoint': {
        const kept = await keepFiles(event.path, path.join(folder, 'uploads', `step-${event.step}`));
        const loss = latest?.loss ?? null;
        uploads = uploads.then(() => publishCheckpoint(kept, event.step, event.manifestSha256, loss));
        uploads.catch(() => {}); // awaited, and thrown, by flush
        return;
      }
      case 'warning':
        return appendEvent(database, uid, {
          key: `warning/${event.code}/${input.attempt}`,
          type: 'warning',
          message: event.message,
          data: { code: event.code },
        });
      default:
        return;
    }
  }

  /** Kept with the attempt, and with the job for the attempts that follow. */
  async function onAdapted({ code, step, message, microBatchTokens, recompute, quantization }: AdaptedEvent): Promise<void> {
    const adaptation = { code, step, microBatchTokens, recompute, quantization };
    await recordAdaptation(database, uid, input.attempt, adaptation);
    await updateProgress(database, uid, { microBatchTokens, recompute, quantization, adapted: true });
    // What was learned on other weights is no beginning: the next attempt starts over.
    if (code === 'QUANTIZED')
      for (const record of await listCheckpoints(database, uid)) await deleteCheckpoint(database, uid, record.attempt, record.step);
    const key = `adapted/${input.attempt}/${code}/${microBatchTokens}`;
    return appendEvent(database, uid, { key, type: 'warning', message, data: { attempt: input.attempt, ...adaptation } });
  }

  async function onStep(event: StepEvent): Promise<void> {
    const first = latest === null;
    latest = event;
    trainerSteps.inc();
    trainerTokens.inc({ kind: 'all' }, event.tokens);
    trainerTokens.inc({ kind: 'trained' }, event.trainedTokens);
    trainerSpeed.set(event.tokensPerSecond);
    progress.step = event.step;
    totals = { tokens: totals.tokens + event.tokens, trainedTokens: totals.trainedTokens + event.trainedTokens, finalLoss: event.loss };
    unwritten.push({
      step: event.step,
      attempt: input.attempt,
      epoch: event.epoch,
      loss: event.loss,
      learning_rate: event.learningRate,
      grad_norm: event.gradNorm,
      tokens: event.tokens,
      trained_tokens: event.trainedTokens,
      tokens_per_second: event.tokensPerSecond,
      evaluation_loss: event.evaluationLoss ?? null,
    });
    if (event.evaluationLoss !== undefined)
      await appendEvent(database, uid, {
        key: `evaluation/${event.step}`,
        type: 'evaluation',
        message: `Loss on the held-out examples after step ${event.step}: ${event.evaluationLoss.toFixed(4)}.`,
        data: { step: event.step, loss: event.evaluationLoss },
      });
    const now = performance.now();
    if (now - flushedAt > FLUSH_INTERVAL_MS) await writeSteps();
    const share = Math.max(1, Math.floor(event.totalSteps / MILESTONES_PER_RUN));
    if (first || (event.step % share === 0 && now - milestoneAt > MILESTONE_INTERVAL_MS)) {
      milestoneAt = now;
      await tellWorkflow({
        attempt: input.attempt,
        kind: first ? 'firstStep' : 'step',
        worker,
        step: event.step,
        totalSteps: event.totalSteps,
        epoch: event.epoch,
        loss: event.loss,
        etaSeconds: event.etaSeconds,
      });
    }
  }

  async function writeSteps(): Promise<void> {
    const metrics = unwritten;
    unwritten = [];
    flushedAt = performance.now();
    await recordMetrics(database, uid, metrics);
    if (latest) {
      const { step, totalSteps, epoch, loss, learningRate, tokensPerSecond, etaSeconds } = latest;
      await updateProgress(database, uid, {
        step,
        totalSteps,
        epoch,
        loss,
        learningRate,
        tokensPerSecond,
        etaSeconds,
        tokens: totals.tokens,
        trainedTokens: totals.trainedTokens,
      });
    }
  }

  /** Durable only once the record stands: its files are in the store by then, each checked against its hash. */
  async function publishCheckpoint(kept: string, step: number, manifestSha256: string, loss: number | null): Promise<void> {
    if (!(await isCurrentAttempt(database, uid, input.attempt))) throw superseded();
    // The losses up to a checkpoint are part of it: whoever goes on from here will not make those steps again.
    await writeSteps();
    const manifest = JSON.parse(await readFile(path.join(kept, 'manifest.json'), 'utf8')) as {
      files: Record<string, { sha256: string; sizeBytes: number }>;
    };
    const key = `jobs/${uid}/checkpoints/${input.attempt}-${step}`;
    const files: StoredFile[] = [];
    for (const [name, digest] of Object.entries(manifest.files)) {
      await deps.objects.putFile(`${key}/${name}`, path.join(kept, name), { digest });
      files.push({ name, key: `${key}/${name}`, ...digest });
    }
    const own = await deps.objects.putFile(`${key}/manifest.json`, path.join(kept, 'manifest.json'));
    files.push({ name: 'manifest.json', key: `${key}/manifest.json`, ...own });
    const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
    await recordCheckpoint(database, uid, { step, attempt: input.attempt, key, manifestSha256, files, sizeBytes, loss });
    checkpoints.inc();
    checkpointBytes.inc(sizeBytes);
    progress.checkpointStep = Math.max(progress.checkpointStep, step);
    await rm(kept, { recursive: true, force: true });
    for (const old of (await listCheckpoints(database, uid)).slice(CHECKPOINTS_KEPT)) {
      await deleteCheckpoint(database, uid, old.attempt, old.step);
      await deps.objects.removePrefix(`${old.key}/`);
    }
  }

  /** Everything said so far is written and every checkpoint uploaded. */
  async function flush(): Promise<void> {
    trainerSpeed.set(0);
    await writeSteps();
    await uploads;
  }

  return { onEvent, flush, totals: () => totals };
}

/** Hard links, so that the trainer may delete its copy while ours is still being uploaded. */
async function keepFiles(source: string, target: string): Promise<string> {
  await mkdir(target, { recursive: true });
  for (const name of await readdir(source)) await link(path.join(source, name), path.join(target, name));
  return target;
}
