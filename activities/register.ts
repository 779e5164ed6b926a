/**
 * Makes the model of a finished job: the adapter's files, a card, its lineage. They lie where nobody can reach them until one
 * statement makes the model READY with all of them, under the ID reserved at the job's creation; from then on nothing changes.
 */
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { DataActivities, RegisterInput } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import { compareReproduction, REPRODUCED_FILES, type Lineage, type Reproduction } from '../schemas/lineage.js';
import { resourceName } from '../schemas/names.js';
import type { Database, StoredFile } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import { recordReproduction } from '../stores/jobs.js';
import { evaluationKey } from '../stores/modelFiles.js';
import { findModel, publishModel, type ModelRecord } from '../stores/models.js';
import type { ObjectStore } from '../stores/objects.js';
import { renderModelCard } from '../templates/modelCard.js';
import { withHeartbeats } from './heartbeat.js';
import { requireJob } from './jobs.js';
import { describeLineage } from './lineage.js';
import { publishResults } from './resultsFile.js';

interface Dependencies {
  database: Database;
  objects: ObjectStore;
  scratch: string;
}

export function makeRegister(deps: Dependencies): Pick<DataActivities, 'registerModel'> {
  return { registerModel: (input) => withHeartbeats((signal) => registerModel(deps, input, signal)) };
}

async function registerModel(deps: Dependencies, input: RegisterInput, signal: AbortSignal): Promise<{ modelName: string }> {
  const { database, objects } = deps;
  const job = await requireJob(database, input.uid);
  const model = await findModel(database, job.account_id, job.model_id);
  const modelName = resourceName(job.account_id, 'models', job.model_id);
  if (!model || model.job_uid !== job.uid)
    throw new TemperError('MODEL_NOT_FOUND', `The model ${modelName} was deleted while its job was running.`);

  const announce = (files: number) =>
    appendEvent(database, job.uid, {
      key: 'registered',
      type: 'model',
      message: `The model ${modelName} is registered with ${files} files.`,
      data: { model: modelName },
    });
  // Published by an attempt whose worker died before it could say so: what is READY is not written again.
  if (model.state === 'READY') {
    await announce(model.files.length);
    return { modelName };
  }

  const folder = path.join(deps.scratch, `register-${process.pid}-${job.uid}`);
  try {
    await mkdir(folder, { recursive: true });
    const files = await copyAdapter(deps, input, model, folder, signal);
    const adapterConfig = JSON.parse(await readFile(path.join(folder, 'adapter_config.json'), 'utf8')) as {
      r: number;
      target_modules: string[];
    };
    const { lineage, template } = await describeLineage(deps, job, input, files);
    const card = renderModelCard({
      ...lineage,
      settings: job.settings,
      modelName,
      displayName: job.display_name || job.model_id,
      targetModules: adapterConfig.target_modules,
    });
    const written: Record<string, string> = { 'README.md': card, 'lineage.json': `${JSON.stringify(lineage, null, 2)}\n` };
    // The reference's own file for a model that answers in a chat template.
    if (template)
      written['fireworks.json'] = `${JSON.stringify({ conversation_config: { style: 'jinja', args: { template } } }, null, 2)}\n`;
    for (const [name, text] of Object.entries(written)) {
      const key = `models/${model.uid}/${name}`;
      files.push({ name, key, ...(await objects.putBytes(key, text)) });
    }
    // For comparing models: the rows of the evaluation, which are no part of what is downloaded.
    if (input.evaluation) await objects.copy(input.evaluation.reportKey, evaluationKey(model.uid));
    await publishResults(deps, job.uid, input.evaluation);
    if (job.reproduction) await compareWithFirst(database, job.uid, job.reproduction, lineage);
    await publishModel(database, {
      accountId: job.account_id,
      id: job.model_id,
      displayName: job.display_name || job.model_id,
      baseModel: job.base_model,
      peft: { baseModel: job.base_model, r: adapterConfig.r, targetModules: adapterConfig.target_modules },
      conversation: template ? { style: 'jinja', template } : null,
      files: files.sort((a, b) => (a.name < b.name ? -1 : 1)),
      contextLength: job.settings.cutoffLength,
      jobUid: job.uid,
      lineage,
      metrics: input.evaluation
        ? { [input.evaluation.metric]: { base: input.evaluation.base, tuned: input.evaluation.tuned, examples: input.evaluation.examples } }
        : null,
    });
    await announce(files.length);
    return { modelName };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Of a job that makes a model once more: whether it is the same. */
async function compareWithFirst(database: Database, uid: string, { first }: Reproduction, lineage: Lineage): Promise<void> {
  const outcome = compareReproduction(first, lineage);
  await recordReproduction(database, uid, { first, outcome });
  await appendEvent(database, uid, {
    key: 'reproduced',
    type: 'model',
    message: outcome.equal
      ? `${REPRODUCED_FILES.join(' and ')} have the same bytes as those of ${first.model}.`
      : `${outcome.differingFiles.join(' and ')} differ from those of ${first.model}. ${outcome.reasons.join(' ')}`,
    data: { ...outcome },
  });
}

/** From the attempt's folder to the model's, each file checked against the hash the trainer gave it. */
async function copyAdapter(
  { objects }: Dependencies,
  input: RegisterInput,
  model: ModelRecord,
  folder: string,
  signal: AbortSignal,
): Promise<StoredFile[]> {
  const files: StoredFile[] = [];
  for (const { name, sha256, sizeBytes } of input.training.files) {
    const local = path.join(folder, name);
    await objects.getFile(`${input.training.adapterKey}/${name}`, local, { sha256 }, signal);
    const key = `models/${model.uid}/${name}`;
    await objects.putFile(key, local, { digest: { sha256, sizeBytes } });
    files.push({ name, key, sha256, sizeBytes });
  }
  return files;
}
