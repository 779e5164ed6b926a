/** Renders a job's examples into text with loss spans, splits off the evaluation rows, and stores both under their content's hash. */
import { createHash } from 'node:crypto';
import { mkdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { DataActivities, PreparedSet } from '../schemas/activities.js';
import { TemperError, type ErrorDetail } from '../schemas/errors.js';
import type { Database } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import { updateProgress, type JobRecord } from '../stores/jobs.js';
import { readTokenizerFiles } from '../stores/modelFiles.js';
import type { ObjectStore } from '../stores/objects.js';
import type { WrittenFile } from '../templates/holdOut.js';
import { renderSet, type RenderProgress, type RenderRequest, type RenderResult } from '../templates/renderSet.js';
import { taskTemplates, type TaskTemplates } from '../templates/taskTemplates.js';
import { requireBaseModel } from './baseModels.js';
import { withHeartbeats } from './heartbeat.js';
import { requireEvaluationDataset, requireJob, requireReadyDataset, type ReadyDataset } from './jobs.js';
import { PREPARED_VERSION, asPreparedSet, preparedKey, readManifest, type PreparedManifest } from './preparedSets.js';

interface Dependencies {
  database: Database;
  objects: ObjectStore;
  cache: string;
  scratch: string;
}

type Template = TaskTemplates['template'];

const UPLOADS_AT_ONCE = 4;

export function makeRender(deps: Dependencies): Pick<DataActivities, 'renderJob'> {
  return {
    renderJob: ({ uid }) => {
      let progress: RenderProgress | undefined;
      const onProgress = (latest: RenderProgress): void => void (progress = latest);
      return withHeartbeats(
        (signal) => renderJob(deps, uid, { signal, onProgress }),
        () => progress,
      );
    },
  };
}

type Watching = { signal: AbortSignal; onProgress: (progress: RenderProgress) => void };

async function renderJob(deps: Dependencies, uid: string, watching: Watching): Promise<PreparedSet> {
  const { database, objects } = deps;
  const job = await requireJob(database, uid);
  const dataset = await requireReadyDataset(database, job);
  const evaluationDataset = await requireEvaluationDataset(database, job);
  const { template, origin } = await resolveTemplate(deps, job);

  const hash = hashOf(job, dataset, evaluationDataset, template);
  const key = preparedKey(job.account_id, hash);
  const known = await readManifest(objects, key);
  const manifest = known ?? (await make(deps, { job, dataset, evaluationDataset, template, origin, hash, key }, watching));

  const prepared = asPreparedSet(key, manifest, known !== null);
  await updateProgress(database, uid, { trainExamples: prepared.trainExamples, evalExamples: prepared.evalExamples });
  await appendEvent(database, uid, {
    key: 'rendered',
    type: 'data',
    data: { hash, origin, warnings: manifest.warnings },
    message: `Rendered ${prepared.trainExamples} examples for training and ${prepared.evalExamples} for evaluation${known ? ' (an equal set was already there)' : ''}.`,
  });
  for (const warning of manifest.warnings) {
    await appendEvent(database, uid, {
      key: `warning/${warning.code}`,
      type: 'warning',
      message: `${warning.message} (${warning.count} rows)`,
      data: { ...warning },
    });
  }
  return prepared;
}

/** What the rows are rendered with, from the job's task and, for conversations, its chat template. */
async function resolveTemplate({ database, objects }: Dependencies, job: JobRecord): Promise<TaskTemplates> {
  const { task } = job.settings;
  if (task.kind !== 'conversation') return taskTemplates(task);
  const model = await requireBaseModel(database, job);
  const files = await readTokenizerFiles(model.source, objects);
  return taskTemplates(task, {
    ...files,
    family: model.chatFamily,
    now: job.settings.renderTime ? new Date(job.settings.renderTime) : job.create_time,
  });
}

/** Everything that the rendered bytes depend on. The time counts only for templates that print it. */
function hashOf(job: JobRecord, dataset: ReadyDataset, evaluationDataset: ReadyDataset | null, template: Template): string {
  const { evaluation, evaluationSplit, seed } = job.settings;
  const chat = template.chat && !template.chat.template.includes('strftime_now') ? { ...template.chat, now: null } : template.chat;
  const parts = {
    version: PREPARED_VERSION,
    dataset: dataset.sha256,
    evaluationDataset: evaluationDataset?.sha256 ?? null,
    template: { ...template, chat },
    split: evaluation && !evaluationDataset ? evaluationSplit : 0,
    seed,
  };
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

interface Making {
  job: JobRecord;
  dataset: ReadyDataset;
  evaluationDataset: ReadyDataset | null;
  template: Template;
  origin: string;
  hash: string;
  key: string;
}

async function make(deps: Dependencies, making: Making, watching: Watching): Promise<PreparedManifest> {
  const { job, dataset, evaluationDataset, template, hash, key } = making;
  const { evaluation, evaluationSplit, seed } = job.settings;
  const folder = path.join(deps.scratch, `render-${process.pid}-${job.uid}`);
  try {
    const own = await render(
      deps,
      dataset,
      { ...template, seed, evaluationSplit: evaluation && !evaluationDataset ? evaluationSplit : 0 },
      path.join(folder, 'train'),
      watching,
    );
    const apart = evaluationDataset
      ? await render(deps, evaluationDataset, { ...template, seed, evaluationSplit: 1 }, path.join(folder, 'eval'), watching)
      : null;
    const put = (name: string, file: string, digest: WrittenFile): Promise<WrittenFile> =>
      deps.objects.putFile(`${key}/${name}`, path.join(folder, file), { digest, writeOnce: true });
    const set = own.set!;
    const files = [...set.files, { name: 'index.bin', ...set.index }].values();
    const putNext = async (): Promise<void> => {
      for (const { name, sha256, sizeBytes } of files) await put(name, `train/${name}`, { sha256, sizeBytes });
    };
    await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, putNext));
    const held = apart ?? own;
    const evaluationPart = held.evalExamples > 0 ? await put('eval.jsonl', `${apart ? 'eval' : 'train'}/eval.jsonl`, held.eval!) : null;
    const manifest: PreparedManifest = {
      version: PREPARED_VERSION,
      hash,
      kind: template.kind,
      datasetSha256: dataset.sha256,
      trainExamples: own.trainExamples,
      set,
      eval: evaluationPart ? { examples: held.evalExamples, ...evaluationPart } : null,
      labels: own.labels ? [...new Set([...own.labels, ...(apart?.labels ?? [])])].sort() : null,
      template: template.chat ? { origin: making.origin, text: template.chat.template } : null,
      warnings: [...own.warnings, ...(apart?.warnings ?? [])].map(({ code, message, count }) => ({ code, message, count })),
    };
    await deps.objects.putBytes(`${key}/manifest.json`, JSON.stringify(manifest), { writeOnce: true });
    return manifest;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function render(
  deps: Dependencies,
  dataset: ReadyDataset,
  request: Omit<RenderRequest, 'datasetPath' | 'outputFolder'>,
  outputFolder: string,
  watching: Watching,
): Promise<RenderResult> {
  await mkdir(outputFolder, { recursive: true });
  const datasetPath = path.join(deps.cache, 'datasets', `${dataset.sha256}.jsonl`);
  const cached = await stat(datasetPath).then(
    (found) => found.size === dataset.size_bytes,
    () => false,
  );
  if (!cached) await deps.objects.getFile(dataset.object_key, datasetPath, { sha256: dataset.sha256 }, watching.signal);
  const result = await renderSet({ ...request, datasetPath, outputFolder }, watching);
  if (result.problems.length > 0) throw renderFailure(dataset, result);
  return result;
}

function renderFailure(dataset: ReadyDataset, result: RenderResult): TemperError {
  // A problem of the template itself has no rows: its place is in its message.
  const details: ErrorDetail[] = result.problems.flatMap(({ code, field, message, places }) =>
    places.length === 0
      ? [{ reason: code, field, message }]
      : places.slice(0, 3).map(({ line }) => ({ reason: code, field, line, message })),
  );
  const told = result.problems.slice(0, 3).map(({ message, count, places }) => {
    const lines = places.slice(0, 3).map((place) => place.line);
    return lines.length === 0 ? message : `${message} (${count} rows, first at line ${lines.join(', ')})`;
  });
  return new TemperError(
    'RENDER_FAILED',
    `The dataset ${dataset.id} does not fit the job's templates: ${told.join('; ')}. Correct the rows or the templates and start a new job.`,
    details,
  );
}
