/** Carries what a trainer says to the records, the object store and the workflow, while it trains. */
import { link, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { TemperError } from '../schemas/errors.js';
import { CHECKPOINTS_KEPT } from '../schemas/limits.js';
import type { AdaptedEvent, DataReadEvent, PreparedEvent, StepEvent, TrainerEvent } from '../schemas/trainerProtocol.js';
import type { Database, JobProgressData, StoredFile } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
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
import { holdsJob, type Training } from './trainings.js';

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

  /** The trainer is not read while a server is away; it goes on, as far as the pipe takes what it says. */
  const onEvent = (event: TrainerEvent): Promise<void> =>
    event.event === 'step' ? onStep(event) : throughOutages(signal, () => record(event));

  async function record(event: Exclude<TrainerEvent, StepEvent>): Promise<void> {
    switch (event.event) {
      case 'started':
        await recordAttemptDevice(database, uid, training.attempt, event.device);
        await updateProgress(database, uid, { device: event.device, versions: event.versions });
        return;
      case 'prepared':
        progress.totalSteps = event.totalSteps;
        await updateProgress(database, uid, {
          totalSteps: event.totalSteps,
          ...cutOff(event),
          targetModules: event.targetModules,
          microBatchTokens: event.microBatchTokens,
          recompute: event.recompute,
          quantization: event.quantization,
          attention: event.attention,
          compiled: event.compiled,
          optimizer: event.optimizer,
        });
        return;
      case 'adapted':
        return onAdapted(event);
      case 'dataRead':
        await updateProgress(database, uid, cutOff(event));
        return;
      case 'checkpoint': {
        const kept = await keepFiles(event.path, path.join(folder, 'uploads', `step-${event.step}`));
        const loss = latest?.loss ?? null;
        const publish = () => publishCheckpoint(kept, event.step, event.manifestSha256, loss);
        uploads = uploads.then(() => throughOutages(signal, publish));
        uploads.catch(() => {}); // awaited, and thrown, by flush
        return;
      }
      case 'warning':
        return appendEvent(database, uid, {
          key: `warning/${event.code}/${training.attempt}/${progress.step}`,
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
    await recordAdaptation(database, uid, training.attempt, adaptation);
    await updateProgress(database, uid, { microBatchTokens, recompute, quantization, adapted: true });
    // What was learned on other weights is no beginning: the next attempt starts over.
    if (code === 'QUANTIZED')
      for (const record of await listCheckpoints(database, uid)) await deleteCheckpoint(database, uid, record.attempt, record.step);
    const key = `adapted/${training.attempt}/${code}/${microBatchTokens}`;
    return appendEvent(database, uid, { key, type: 'warning', message, data: { attempt: training.attempt, ...adaptation } });
  }

  /** Shown to whoever waits; the watch kills the trainer if nothing comes, and the next attempt goes on. */
  function onStall({ silentSeconds, usualSeconds, killedInSeconds }: Stall): void {
    stalls += 1;
    stalled = true;
    const message =
      `No step for ${Math.round(silentSeconds)} s, where one usually takes ${usualSeconds.toFixed(1)} s. If nothing comes in ` +
      `${Math.round(killedInSeconds)} s, the trainer is killed and the job goes on from its last checkpoint.`;
    const told = [
      appendEvent(database, uid, {
        key: `stalled/${training.attempt}/${stalls}`,
        type: 'warning',
        message,
        data: { code: 'STALLED', step: progress.step },
      }),
      updateProgress(database, uid, { stalledSince: new Date(Date.now() - silentSeconds * 1000).toISOString() }),
    ];
    Promise.all(told).catch(() => {}); // an outage of the database must not end the training
  }

  async function onStep(event: StepEvent): Promise<void> {
    const first = latest === null;
    if (stalled || (first && job.progress.stalledSince))
      await throughOutages(signal, () => updateProgress(database, uid, { stalledSince: null }));
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
      await throughOutages(signal, () =>
        appendEvent(database, uid, {
          key: `evaluation/${event.step}`,
          type: 'evaluation',
          message: `Loss on the held-out examples after step ${event.step}: ${evaluationLoss.toFixed(4)}.`,
          data: { step: event.step, loss: evaluationLoss },
        }),
      );
    const now = performance.now();
    if (now - flushedAt > FLUSH_INTERVAL_MS) await throughOutages(signal, writeSteps);
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
    const metrics = [...unwritten];
    flushedAt = performance.now();
    await recordMetrics(database, uid, metrics);
    unwritten = unwritten.filter((metric) => !metrics.includes(metric));
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
    if (!(await holdsJob(database, training))) throw superseded();
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
    await recordCheckpoint(database, uid, { step, attempt, key, manifestSha256, files, sizeBytes, loss });
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
    await throughOutages(signal, writeSteps);
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

export function superseded(): TemperError {
  return new TemperError('ATTEMPT_SUPERSEDED', 'A later attempt has taken this job over.');
}
