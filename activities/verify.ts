/**
 * The last look at the adapter of a job that asked for no evaluation: its files, as they are stored, loaded with PEFT on the base
 * model by a process of its own. Where there is an evaluation, its process does this, with the rows that it has measured.
 */
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { GpuActivities, Verification, VerifyInput } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import { PROTOCOL_VERSION, type TrainerEvent, type VerifySpec } from '../schemas/trainerProtocol.js';
import { appendEvent } from '../stores/events.js';
import { updateProgress, type JobRecord } from '../stores/jobs.js';
import type { Database } from '../stores/database.js';
import { requireBaseModel } from './baseModels.js';
import { withHeartbeatsThroughOutages } from './heartbeat.js';
import { requireJob, trainedQuantization } from './jobs.js';
import { leaseModelFolder, type ModelLease } from './modelCache.js';
import { ensureSet, requireManifest } from './preparedSets.js';
import type { TrainDependencies } from './train.js';
import { runTrainer } from './trainerProcess.js';
import { endUnfollowed } from './trainings.js';

export function makeVerify(deps: TrainDependencies): Pick<GpuActivities, 'verifyModel'> {
  return { verifyModel: (input) => withHeartbeatsThroughOutages((signal) => verifyModel(deps, input, signal)) };
}

async function verifyModel(deps: TrainDependencies, input: VerifyInput, signal: AbortSignal): Promise<Verification> {
  const { database, objects } = deps;
  const job = await requireJob(database, input.uid);
  const folder = path.join(deps.scratch, `verify-${process.pid}-${job.uid}`);
  let model: ModelLease | undefined;
  try {
    await mkdir(folder, { recursive: true });
    await endUnfollowed(); // a trainer that Temporal has lost sight of leaves the GPU
    const manifest = await requireManifest(objects, input.prepared.key);
    const adapterPath = path.join(folder, 'adapter');
    for (const { name, sha256 } of input.training.files)
      await objects.getFile(`${input.training.adapterKey}/${name}`, path.join(adapterPath, name), { sha256 }, signal);

    model = await leaseModelFolder(await requireBaseModel(database, job), deps, signal);
    const spec: VerifySpec = {
      version: PROTOCOL_VERSION,
      work: 'verify',
      model: { path: model.folder, quantization: trainedQuantization(job), dtype: 'auto' },
      adapterPath,
      data: {
        kind: job.settings.task.kind,
        path: await ensureSet(input.prepared, manifest, deps, signal),
        cutoffLength: job.settings.cutoffLength,
      },
    };
    let verification: Verification | undefined;
    const { seconds } = await runTrainer(
      { ...deps.trainer, scratch: folder },
      { name: 'run', spec, signal, onEvent: (event) => void (verification = readVerification(event) ?? verification) },
    );
    if (!verification) throw new TemperError('TRAINER_CRASHED', 'The trainer ended without a result; it is tried again.');
    await updateProgress(database, job.uid, { trainerSeconds: (job.progress.trainerSeconds ?? 0) + seconds });
    await tellVerified(database, job, verification, 'gives finite losses');
    return verification;
  } finally {
    await model?.release();
    await rm(folder, { recursive: true, force: true });
  }
}

export function readVerification(event: TrainerEvent): Verification | undefined {
  return event.event === 'verified' ? { rows: event.rows, largestDifference: event.largestDifference } : undefined;
}

export async function tellVerified(database: Database, job: JobRecord, verification: Verification, found: string): Promise<void> {
  await appendEvent(database, job.uid, {
    key: 'verified',
    type: 'model',
    data: { ...verification },
    message: `Loaded again from its files with PEFT, the adapter ${found} on ${verification.rows} rows.`,
  });
}
