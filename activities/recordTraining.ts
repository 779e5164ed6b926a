/** Carries what a trainer says to the records, the object store and the workflow, while it trains. */
import { link, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Transaction } from 'kysely';
import { CHECKPOINTS_KEPT } from '../schemas/limits.js';
import type { AdaptedEvent, CheckpointEvent, DataReadEvent, PreparedEvent, StepEvent, TrainerEvent } from '../schemas/trainerProtocol.js';
import type { Database, JobProgressData, StoredFile, Tables } from '../stores/database.js';
import { appendEventIn } from '../stores/events.js';
import {
  deleteCheckpoint,
  listCheckpoints,
  recordAdaptation,
  recordAttemptDevice,
  recordCheckpoint,
  recordMetrics,
  updateProgress,
  type JobRecord,
  type NewMetric,
} from '../stores/jobs.js';
import type { ObjectStore } from '../stores/objects.js';
import { checkpointBytes, checkpoints, trainerSpeed, trainerSteps, trainerTokens } from '../telemetry/metrics.js';
import { throughOutages } from './outages.js';
import type { Stall } from './silence.js';
import { writeFor, type Training } from './trainings.js';

/** Milestones go to the workflow at most this often: its history must stay small. */
const MILESTONES_PER_RUN = 100;
const MILESTONE_INTERVAL_MS = 2_000;
const FLUSH_INTERVAL_MS = 500;

export interface Recording {
  job: JobRecord;
  training: Training;
  worker: string;
  folder: string;
  /** Of the steps that an earlier attempt made and this one goes on from. */
  before: { tokens: number; trainedTokens: number };
}

export function makeRecorder(deps: { database: Database; objects: ObjectStore }, recording: Recording) {
  const { database } = deps;
  const { job, training, worker, folder } = recording;
  const { uid } = job;
  const { progress } = training;
  const { signal } = training.stop;
  let unwritten: NewMetric[] = [];
  let latest: StepEvent | null = null;
  let totals = { ...recording.before, finalLoss: 0 };
  let flushedAt = 0;
  let milestoneAt = -MILESTONE_INTERVAL_MS;
  let telling: Promise<void> | null = null;
  let stalled = false;
  let stalls = 0;
  let uploads: Promise<void> = Promise.resolve();

  /** Nothing is written in the name of an attempt that another one has followed. */
  const write = (work: (transaction: Transaction<Tables>) => Promise<void>): Promise<void> =>
    throughOutages(signal, () => writeFor(database, training, work));

  /** The trainer is not read while a server is away; it goes on, as far as the pipe takes what it says. */
  async function onEvent(event: TrainerEvent): Promise<void> {
    switch (event.event) {
      case 'started':
        return write(async (transaction) => {
          await recordAttemptDevice(transaction, uid, training.attempt, event.device);
          await updateProgress(transaction, uid, { device: event.device, versions: event.versions });
        });
      case 'prepared':
        progress.totalSteps = event.totalSteps;
        return write((transaction) =>
          updateProgress(transaction, uid, {
            totalSteps: event.totalSteps,
            ...cutOff(event),
            targetModules: event.targetModules,
            microBatchTokens: event.microBatchTokens,
            recompute: event.recompute,
            quantization: event.quantization,
            attention: event.attention,
            compiled: event.compiled,
            optimizer: event.optimizer,
          }),
        );
      case 'adapted':
        return write((transaction) => recordAdapted(transaction, event));
      case 'dataRead':
        return write((transaction) => updateProgress(transaction, uid, cutOff(event)));
      case 'checkpoint':
        return onCheckpoint(event);
      case 'step':
        return onStep(event);
      case 'warning':
        return write((transaction) =>
          appendEventIn(transaction, uid, {
            key: `warning/${event.code}/${training.attempt}/${progress.step}`,
            type: 'warning',
            message: event.message,
            data: { code: event.code },
          }),
        );
      default:
        return;
    }
  }

  /** Kept with the attempt, and with the job for the attempts that follow. */
  async function recordAdapted(
    transaction: Transaction<Tables>,
    { code, step, message, microBatchTokens, recompute, quantization }: AdaptedEvent,
  ): Promise<void> {
    const adaptation = { code, step, microBatchTokens, recompute, quantization };
    await recordAdaptation(transaction, uid, training.attempt, adaptation);
    await updateProgress(transaction, uid, { microBatchTokens, recompute, quantization, adapted: true });
    // What was learned on other weights is no beginning: the next attempt starts over.
    if (code === 'QUANTIZED')
      for (const record of await listCheckpoints(transaction, uid)) await deleteCheckpoint(transaction, uid, record.attempt, record.step);
    const key = `adapted/${training.attempt}/${code}/${microBatchTokens}`;
    return appendEventIn(transaction, uid, { key, type: 'warning', message, data: { attempt: training.attempt, ...adaptation } });
  }

  async function onCheckpoint(event: CheckpointEvent): Promise<void> {
    const kept = await keepFiles(event.path, path.join(folder, 'uploads', `step-${event.step}`));
    const loss = latest?.loss ?? null;
    uploads = uploads.then(() => throughOutages(signal, () => publishCheckpoint(kept, event.step, event.manifestSha256, loss)));
    uploads.catch(() => {}); // awaited, and thrown, by flush
  }

  /** Shown to whoever waits; the watch kills the trainer if nothing comes, and the next attempt goes on. */
  function onStall({ silentSeconds, usualSeconds, killedInSeconds }: Stall): void {
    stalls += 1;
    stalled = true;
    const message =
      `No step for ${Math.round(silentSeconds)} s, where one usually takes ${usualSeconds.toFixed(1)} s. If nothing comes in ` +
      `${Math.round(killedInSeconds)} s, the trainer is killed and the job goes on from its last checkpoint.`;
    const key = `stalled/${training.attempt}/${stalls}`;
    const data = { code: 'STALLED', step: progress.step };
    const stalledSince = new Date(Date.now() - silentSeconds * 1000).toISOString();
    writeFor(database, training, async (transaction) => {
      await appendEventIn(transaction, uid, { key, type: 'warning', message, data });
      await updateProgress(transaction, uid, { stalledSince });
    }).catch(() => {}); // an outage of the database must not end the training
  }

  async function onStep(event: StepEvent): Promise<void> {
    const first = latest === null;
    if (stalled || (first && job.progress.stalledSince))
      await write((transaction) => updateProgress(transaction, uid, { stalledSince: null }));
    stalled = false;
    latest = event;
    trainerSteps.inc();
    trainerTokens.inc({ kind: 'all' }, event.tokens);
    trainerTokens.inc({ kind: 'trained' }, event.trainedTokens);
    trainerSpeed.set(event.tokensPerSecond);
    progress.step = event.step;
    totals = { tokens: totals.tokens + event.tokens, trainedTokens: totals.trainedTokens + event.trainedTokens, finalLoss: event.loss };
    unwritten.push({
      step: event.step,
      attempt: training.attempt,
      epoch: event.epoch,
      loss: event.loss,
      learning_rate: event.learningRate,
      grad_norm: event.gradNorm,
      tokens: event.tokens,
      trained_tokens: event.trainedTokens,
      tokens_per_second: event.tokensPerSecond,
      evaluation_loss: event.evaluationLoss ?? null,
      machine: event.machine,
    });
    const { evaluationLoss } = event;
    if (evaluationLoss !== undefined)
      await write((transaction) =>
        appendEventIn(transaction, uid, {
          key: `evaluation/${event.step}`,
          type: 'evaluation',
          message: `Loss on the held-out examples after step ${event.step}: ${evaluationLoss.toFixed(4)}.`,
          data: { step: event.step, loss: evaluationLoss },
        }),
      );
    const now = performance.now();
    if (now - flushedAt > FLUSH_INTERVAL_MS) await writeSteps();
    const share = Math.max(1, Math.floor(event.totalSteps / MILESTONES_PER_RUN));
    // The first that arrives says that the attempt makes steps.
    const isDue = now - milestoneAt > MILESTONE_INTERVAL_MS && (!training.announced || event.step % share === 0);
    if (isDue) telling ??= tellStep(event).finally(() => (telling = null));
  }

  /** Not waited for, and made up for by a later one: Temporal may be away. */
  async function tellStep({ step, totalSteps, epoch, loss, etaSeconds }: StepEvent): Promise<void> {
    const { announced, attempt } = training;
    milestoneAt = performance.now();
    try {
      await training.tell({ attempt, kind: announced ? 'step' : 'firstStep', worker, step, totalSteps, epoch, loss, etaSeconds });
      if (training.attempt === attempt) training.announced = true;
    } catch {
      // Heartbeats tell of an attempt that the workflow no longer knows.
    }
  }

  async function writeSteps(): Promise<void> {
    flushedAt = performance.now();
    const metrics = [...unwritten];
    await write((transaction) => recordSteps(transaction, metrics));
    unwritten = unwritten.filter((metric) => !metrics.includes(metric));
  }

  async function recordSteps(transaction: Transaction<Tables>, metrics: NewMetric[]): Promise<void> {
    await recordMetrics(transaction, uid, metrics);
    if (!latest) return;
    const { step, totalSteps, epoch, loss, learningRate, tokensPerSecond, etaSeconds } = latest;
    await updateProgress(transaction, uid, {
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

  /** Durable only once the record stands: its files are in the store by then, each checked against its hash. */
  async function publishCheckpoint(kept: string, step: number, manifestSha256: string, loss: number | null): Promise<void> {
    // The losses up to a checkpoint are part of it: whoever goes on from here will not make those steps again.
    await writeSteps();
    const manifest = JSON.parse(await readFile(path.join(kept, 'manifest.json'), 'utf8')) as {
      files: Record<string, { sha256: string; sizeBytes: number }>;
    };
    const { attempt } = training;
    const key = `jobs/${uid}/checkpoints/${attempt}-${step}`;
    const files: StoredFile[] = [];
    for (const [name, digest] of Object.entries(manifest.files)) {
      await deps.objects.putFile(`${key}/${name}`, path.join(kept, name), { digest });
      files.push({ name, key: `${key}/${name}`, ...digest });
    }
    const own = await deps.objects.putFile(`${key}/manifest.json`, path.join(kept, 'manifest.json'));
    files.push({ name: 'manifest.json', key: `${key}/manifest.json`, ...own });
    const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
    await write((transaction) => recordCheckpoint(transaction, uid, { step, attempt, key, manifestSha256, files, sizeBytes, loss }));
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
    const written = writeSteps();
    // Both, whatever becomes of either: what is being uploaded is removed after that.
    await Promise.allSettled([written, uploads]);
    await written;
    await uploads;
    await telling;
  }

  return { onEvent, onStall, flush, totals: () => totals };
}

/** What the cut-off did to the examples that were read so far. */
function cutOff({ readExamples, truncatedExamples, droppedExamples }: PreparedEvent | DataReadEvent): Partial<JobProgressData> {
  return { readExamples, truncatedExamples, droppedExamples };
}

/** Hard links, so that the trainer may delete its copy while ours is still being uploaded. */
async function keepFiles(source: string, target: string): Promise<string> {
  await mkdir(target, { recursive: true });
  for (const name of await readdir(source)) await link(path.join(source, name), path.join(target, name));
  return target;
}
