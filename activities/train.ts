/**
 * One attempt at training: bring data, base model and the newest good checkpoint here, run the trainer, and carry its steps
 * and checkpoints away while it runs. Everything it writes is under its attempt's number, and a later attempt shuts it out.
 */
import { mkdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { Context } from '@temporalio/activity';
import {
  MILESTONE_SIGNAL,
  type GpuActivities,
  type TrainInput,
  type TrainProgress,
  type TrainResult,
  type WaitingHeartbeat,
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
import { PROTOCOL_VERSION, type TrainSpec } from '../schemas/trainerProtocol.js';
import type { Database } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import {
  beginAttempt,
  deleteCheckpoint,
  findJobByUid,
  listCheckpoints,
  readAttemptTimes,
  sumTokens,
  updateProgress,
  type CheckpointRecord,
  type JobRecord,
} from '../stores/jobs.js';
import type { ObjectStore } from '../stores/objects.js';
import { closeTraining, isSameLength, takeUpExtension } from '../jobs/extendJob.js';
import { requireBaseModel } from './baseModels.js';
import { toTemporalFailure } from './failures.js';
import { withHeartbeats } from './heartbeat.js';
import { requireJob, requireStartFiles } from './jobs.js';
import { leaseModelFolder, type ModelLease } from './modelCache.js';
import { outageOf, throughOutages } from './outages.js';
import { ensureEvaluation, ensureSet, requireManifest, type PreparedManifest } from './preparedSets.js';
import { makeRecorder } from './recordTraining.js';
import { nothingInTime, timeLimit, type TimeLimit } from './timeLimit.js';
import { runTrainer, type TrainerSettings } from './trainerProcess.js';
import {
  findUnfollowed,
  follow,
  holdsJob,
  startTraining,
  superseded,
  tellWorkflowFrom,
  writeFor,
  type Teller,
  type Training,
} from './trainings.js';

export interface TrainDependencies {
  database: Database;
  objects: ObjectStore;
  cache: string;
  modelCacheBytes: number;
  scratch: string;
  trainer: TrainerSettings;
}

/** How often a trainer's worker asks whether the job was made longer. */
const LENGTH_CHECK_MS = 2_000;

/** What the trainer says of a checkpoint that it does not go on from. */
const UNUSABLE_CHECKPOINT = new Set(['CHECKPOINT_CORRUPT', 'CHECKPOINT_MISMATCH']);

export function makeTrain(deps: TrainDependencies): Pick<GpuActivities, 'train'> {
  return {
    async train(input) {
      let progress: TrainProgress = { attempt: input.attempt, step: 0, totalSteps: 0, checkpointStep: 0 };
      let stop: AbortSignal | undefined;
      try {
        return await withHeartbeats(
          async () => {
            const context = Context.current();
            const tell = tellWorkflowFrom(context, MILESTONE_SIGNAL);
            const running = await findUnfollowed(input.uid);
            const training =
              running ??
              startTraining(deps.database, { uid: input.uid, attempt: input.attempt, progress, tell }, (own) => train(deps, input, own));
            stop = training.stop.signal;
            if (running) {
              progress = running.progress;
              await takeOver(deps.database, input, running, tell);
            }
            return follow(training, context);
          },
          () => ({ ...progress, outage: stop && outageOf(stop) }) satisfies TrainProgress & WaitingHeartbeat,
        );
      } catch (error) {
        throw toTemporalFailure(error, progress);
      }
    },
  };
}

/** The attempt goes on with the trainer that an earlier one of this worker left running. */
async function takeOver(database: Database, { uid, attempt, reason }: TrainInput, running: Training, tell: Teller): Promise<void> {
  const worker = workerName();
  const { step } = running.progress;
  const begin = { attempt, worker, reason, startStep: step, resumedFrom: null };
  const taken = beginAttempt(database, uid, begin);
  running.takingOver = taken.then(
    (isOurs) => {
      if (!isOurs) return;
      running.attempt = running.progress.attempt = attempt;
      running.tell = tell;
      running.announced = false;
    },
    () => undefined,
  );
  if (!(await taken)) throw superseded();
  await running.takingOver;
  await appendEvent(database, uid, {
    key: `attempt/${attempt}/began`,
    type: 'attempt',
    data: { attempt, worker, startStep: step },
    message: `Attempt ${attempt} goes on at step ${step} with the trainer that kept running on ${worker}.`,
  });
  await tell({ attempt, kind: 'began', worker, step, totalSteps: running.progress.totalSteps, resumedFrom: null }).catch(() => undefined);
}

function workerName(): string {
  return `${hostname()}:${process.pid}`;
}

async function train(deps: TrainDependencies, input: TrainInput, training: Training): Promise<TrainResult> {
  const { database } = deps;
  const { progress } = training;
  const { signal } = training.stop;
  const job = await throughOutages(signal, () => requireJob(database, input.uid));
  const folder = path.join(deps.scratch, `train-${process.pid}-${job.uid}-${input.attempt}`);
  const worker = workerName();
  let model: ModelLease | undefined;
  try {
    await mkdir(folder, { recursive: true });
    const checkpoint = await throughOutages(signal, () => begin(deps, job, input, training, folder));
    const ranks = requireAccelerators(job, deps.trainer.accelerators ?? 0);
    const base = await throughOutages(signal, () => requireBaseModel(database, job));
    const lease = await throughOutages(signal, () => leaseModelFolder(base, deps, signal));
    model = lease;
    const baseName = 'hub' in base.source ? base.source.hub : base.name;
    // Later attempts and the evaluation use the same, though the hub moves on meanwhile.
    if (lease.content) await throughOutages(signal, () => updateProgress(database, job.uid, { baseModelContent: lease.content! }));
    const before = await throughOutages(signal, () => sumTokens(database, job.uid, progress.step));
    const recorder = makeRecorder(deps, { job, training, worker, folder, before });
    let seconds = 0;
    // Once, and again for a job that is made longer meanwhile.
    for (let resumeFrom = checkpoint?.folder; ; resumeFrom = checkpointFolder(folder, progress.checkpointStep, checkpoint)) {
      const present = await throughOutages(signal, () => takeUpExtension(database, job.uid, progress.checkpointStep));
      const { settings } = present;
      const limit = await throughOutages(signal, () => requireTime(database, present, training));
      const model = { path: lease.folder, name: baseName };
      const prepared = { input, folder, model, resumeFrom, stopAfterSeconds: limit?.seconds };
      const spec = await throughOutages(signal, () => makeSpec(deps, present, prepared, signal));
      const changed = watchLength(database, present, signal);
      const startedAt = performance.now();
      const run = await runTrainer(
        { ...deps.trainer, scratch: folder },
        { name: 'run', spec, signal: changed.orStopped, onEvent: recorder.onEvent, onStall: recorder.onStall, ranks },
      )
        .catch(async (error: unknown) => {
          if (!(error instanceof TemperError)) throw error;
          if (error.code === 'TRAINER_INTERRUPTED' && changed.seen && !signal.aborted) return null;
          if (checkpoint && UNUSABLE_CHECKPOINT.has(error.code)) await dropCheckpoint(deps, job, checkpoint.record, error.message);
          throw error;
        })
        .finally(() => {
          changed.stop();
          seconds += (performance.now() - startedAt) / 1000;
          return recorder.flush();
        });
      if (!run) continue;
      const { completed } = run;
      const adapterKey = await throughOutages(signal, async () => {
        if (!(await holdsJob(database, training))) throw superseded();
        const key = `jobs/${job.uid}/adapter-${training.attempt}`;
        for (const file of completed.files) {
          await deps.objects.putFile(`${key}/${file.name}`, path.join(spec.outputPath, file.name), { digest: file });
        }
        const trainerSeconds = (job.progress.trainerSeconds ?? 0) + seconds;
        await writeFor(database, training, (transaction) => updateProgress(transaction, job.uid, { trainerSeconds, etaSeconds: 0 }));
        return key;
      });
      const { earlyStopped, bestStep, bestLoss } = completed;
      const held = bestStep === undefined ? {} : { earlyStopped: earlyStopped ?? false, bestStep, bestLoss };
      const ended = completed.timeEnded && limit ? { endedBy: limit.name } : {};
      const result = {
        adapterKey,
        files: completed.files,
        steps: completed.step,
        ...recorder.totals(),
        trainerSeconds: seconds,
        ...held,
        ...ended,
      };
      if (await throughOutages(signal, () => closeTraining(database, job.uid, settings, result))) return result;
    }
  } finally {
    await model?.release();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Brings the checkpoint to go on from, and takes the job over. */
async function begin(deps: TrainDependencies, job: JobRecord, { attempt, reason }: TrainInput, training: Training, folder: string) {
  const { database } = deps;
  const { progress } = training;
  const worker = workerName();
  const checkpoint = await bringCheckpoint(deps, job, folder, training.stop.signal);
  const step = (progress.step = progress.checkpointStep = checkpoint?.record.step ?? 0);
  const resumedFrom = checkpoint?.record.key ?? null;
  if (!(await beginAttempt(database, job.uid, { attempt, worker, reason, startStep: step, resumedFrom }))) throw superseded();
  // Before its model is fetched: a job without time left fails by that, whatever else is wrong with it.
  await requireTime(database, job, training);
  await appendEvent(database, job.uid, {
    key: `attempt/${attempt}/began`,
    type: 'attempt',
    data: { attempt, worker, startStep: step },
    message: `Attempt ${attempt} began on ${worker} ${checkpoint ? `from the checkpoint of step ${step}` : 'from the start'}.`,
  });
  // Temporal may be away: the first step says that the attempt has begun, too.
  await training.tell({ attempt, kind: 'began', worker, step, totalSteps: null, resumedFrom }).catch(() => undefined);
  return checkpoint;
}

/** The limit of time that comes first; null where there is none. @throws TemperError of one that came before any checkpoint */
async function requireTime(database: Database, { uid, settings }: JobRecord, { attempt, progress }: Training): Promise<TimeLimit | null> {
  const { usedSeconds, nowMs } = await readAttemptTimes(database, uid, attempt);
  const limit = timeLimit(settings, usedSeconds, nowMs);
  if (limit?.seconds === 0 && progress.checkpointStep === 0) throw nothingInTime(limit.name);
  return limit;
}

/** The newest: of this attempt, or the one that it began with. */
function checkpointFolder(folder: string, step: number, begun: Brought | null): string | undefined {
  return step === 0 || step === begun?.record.step ? begun?.folder : path.join(folder, 'checkpoints', `step-${step}`);
}

/** Stops the trainer, with a checkpoint, once the records give the job another length than it was started with. */
function watchLength(database: Database, { uid, settings }: JobRecord, stopped: AbortSignal) {
  const changed = new AbortController();
  const timer = setInterval(() => {
    const look = async () => {
      const job = await findJobByUid(database, uid);
      if (job && !isSameLength(job.settings, settings)) changed.abort();
    };
    look().catch(() => {}); // the database is away: nobody changes anything
  }, LENGTH_CHECK_MS);
  return {
    orStopped: AbortSignal.any([changed.signal, stopped]),
    get seen() {
      return changed.signal.aborted;
    },
    stop: () => clearInterval(timer),
  };
}

/** Processes of the attempt, one a GPU. @throws TemperError when this worker has too few: another may have more */
function requireAccelerators({ settings }: JobRecord, accelerators: number): number {
  const wanted = settings.acceleratorCount ?? 1;
  if (wanted > Math.max(1, accelerators))
    throw new TemperError(
      'ACCELERATORS_UNAVAILABLE',
      `The job asks for ${wanted} GPUs (acceleratorCount), and the worker that took it has ${accelerators}. It is tried again, on a larger one if there is one.`,
    );
  return wanted;
}

/** The newest checkpoint that is whole. A damaged one is reported and the one before it used. */
async function bringCheckpoint(deps: TrainDependencies, job: JobRecord, folder: string, signal: AbortSignal): Promise<Brought | null> {
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

/** A checkpoint that lies here. */
interface Brought {
  record: CheckpointRecord;
  folder: string;
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
  const manifest = await requireManifest(deps.objects, input.prepared.key);
  const data = await ensureSet(input.prepared, manifest, deps, signal);
  const stepsPerEpoch = Math.ceil(manifest.trainExamples / settings.batchSize);
  const { extensions = [] } = settings;
  const firstEpochs = extensions[0]?.fromEpochs ?? settings.epochs;
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
      warmStartPath: await bringStart(deps, job, folder, signal),
    },
    data: { kind: settings.task.kind, path: data, cutoffLength: settings.cutoffLength },
    training: {
      epochs: firstEpochs,
      ...(extensions.length > 0 ? { extensions: extensions.map(({ step, toEpochs }) => ({ step: step!, epochs: toEpochs })) } : {}),
      batchSize: settings.batchSize,
      learningRate: settings.learningRate,
      warmupSteps: settings.warmupSteps ?? Math.round(Math.ceil(stepsPerEpoch * firstEpochs) * DEFAULT_WARMUP_SHARE),
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
      everySteps: Math.max(1, Math.ceil((stepsPerEpoch * settings.epochs) / CHECKPOINTS_PER_RUN)),
      everySeconds: CHECKPOINT_EVERY_SECONDS,
      keep: CHECKPOINTS_KEPT,
      resumeFrom,
    },
    evaluation: await evaluateInTraining(deps, job, input, manifest, stepsPerEpoch, signal),
    stopAfterSeconds,
    stopAtStep: settings.stopAtStep,
    accelerators: deps.trainer.accelerators ? (settings.acceleratorCount ?? 1) : 0,
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
    path: await ensureEvaluation(prepared, manifest, deps, signal),
    everySteps: settings.evaluationSteps ?? Math.max(1, Math.ceil(stepsPerEpoch / perEpoch)),
    maxExamples: MAX_IN_TRAINING_EXAMPLES,
    patience: settings.earlyStop ? EARLY_STOP_PATIENCE : null,
  };
}

/** The adapter that the job starts from; undefined: none. */
async function bringStart(deps: TrainDependencies, job: JobRecord, folder: string, signal: AbortSignal): Promise<string | undefined> {
  const target = path.join(folder, 'start');
  const files = await requireStartFiles(deps.database, job);
  for (const file of files) await deps.objects.getFile(file.key, path.join(target, file.name), file, signal);
  return files.length > 0 ? target : undefined;
}
