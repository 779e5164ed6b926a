/** Brings a model from the Hugging Face hub to the object store, pinned to a commit. From there on it is an upload like any other. */
import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { DataActivities, ModelInput } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import { refuseModelFile, type ModelKind } from '../schemas/modelFiles.js';
import { PROTOCOL_VERSION, type TrainerEvent } from '../schemas/trainerProtocol.js';
import type { ModelUpload } from '../stores/database.js';
import { findModelByUid, recordImport, recordModelProgress, type ModelRecord } from '../stores/models.js';
import { readSecret } from '../stores/secrets.js';
import { withHeartbeats } from './heartbeat.js';
import { runTrainer } from './trainerProcess.js';
import type { ModelDependencies } from './validateModel.js';

const PROGRESS_EVERY_MS = 1_000;

export function makeImportModel(deps: ModelDependencies): Pick<DataActivities, 'importModel'> {
  return { importModel: (input) => withHeartbeats((signal) => importModel(deps, input, signal)) };
}

async function importModel(deps: ModelDependencies, { uid }: ModelInput, signal: AbortSignal): Promise<void> {
  const { database, objects } = deps;
  const model = await findModelByUid(database, uid);
  if (!model?.import || model.state === 'READY' || model.upload) return;
  // The same folder for every try: what has come is not fetched again.
  const folder = path.join(deps.cache, 'imports', uid);
  const progress = (message: string) => recordModelProgress(database, uid, message);
  try {
    await mkdir(folder, { recursive: true });
    const { repository, revision } = model.import;
    const { completed } = await runTrainer(
      { python: deps.python, scratch: folder },
      {
        name: 'run',
        signal,
        spec: {
          version: PROTOCOL_VERSION,
          work: 'fetch',
          repository,
          revision,
          kind: model.kind === 'HF_BASE_MODEL' ? 'base' : 'addon',
          outputPath: path.join(folder, 'files'),
        },
        network: { token: await readToken(deps, model) },
        onEvent: throttled((event) => event.event === 'progress' && progress(`Importing ${repository}: ${share(event)} fetched.`)),
      },
    );
    const files: ModelUpload['files'] = [];
    for (const { name, sizeBytes, sha256 } of completed.files) {
      const refused = refuseModelFile(model.kind as ModelKind, name, sizeBytes);
      if (refused) throw new TemperError('MODEL_FILES_INVALID', `${repository} cannot be imported: ${name} ${refused}.`);
      await progress(`Importing ${repository}: storing ${files.length + 1} of ${completed.files.length} files.`);
      const key = `uploads/${uid}/${randomUUID()}`;
      await objects.putFile(key, path.join(folder, 'files', name), { digest: { sha256, sizeBytes } });
      files.push({ name, key, sizeBytes });
      signal.throwIfAborted();
    }
    await recordImport(database, uid, { ...model.import, commit: completed.commit }, { id: randomUUID(), files });
    await rm(folder, { recursive: true, force: true });
  } catch (error) {
    if (error instanceof TemperError && error.code === 'HUB_UNREACHABLE') await progress(`The import is tried again. ${error.message}`);
    throw error;
  } finally {
    // Deleted meanwhile: then nothing may stay of it.
    if (!(await findModelByUid(database, uid))) {
      await rm(folder, { recursive: true, force: true });
      await objects.removePrefix(`uploads/${uid}/`);
    }
  }
}

/** The account's own token, or none: the deployment's would open to every account what it opens to the operator. */
async function readToken({ database, secretKeys }: ModelDependencies, model: ModelRecord): Promise<string | null> {
  const id = model.import?.tokenSecretId;
  if (id === undefined) return null;
  const token = await readSecret(database, secretKeys, model.account_id, id);
  if (token === null)
    throw new TemperError('MODEL_GATED', `The secret ${id}, which holds the token for the hub, is gone. Create it again.`);
  return token;
}

function throttled(say: (event: TrainerEvent) => unknown): (event: TrainerEvent) => Promise<void> {
  let saidAt = 0;
  return async (event) => {
    if (event.event !== 'progress' || performance.now() - saidAt < PROGRESS_EVERY_MS) return;
    saidAt = performance.now();
    await say(event);
  };
}

function share({ done, total }: { done: number; total: number | null }): string {
  return `${megabytes(done)}${total ? ` of ${megabytes(total)}` : ''} MB`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0);
}
