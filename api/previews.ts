/**
 * `:preview`: what a job would train on and take, and nothing is created. What creating the job would refuse is refused the same way,
 * by the same code; rows are read by ranges, rendered and counted in processes that are killed at their deadline, a few at a time.
 */
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type, type TObject } from 'typebox';
import { refuseBaseModelId } from '../jobs/createJob.js';
import { resolveSettings } from '../jobs/resolveSettings.js';
import { findWandbKey } from '../jobs/wandbKey.js';
import { previewJob, type PreviewInput } from '../preview/previewJob.js';
import { fieldError, TemperError } from '../schemas/errors.js';
import type { BaseModel } from '../schemas/baseModels.js';
import { DEFAULT_PREVIEW_ROWS, JobPreviewReply, previewFields, type PreviewFields } from '../schemas/preview.js';
import type { Task } from '../schemas/task.js';
import { Id } from '../schemas/wire.js';
import { findTunableModel } from '../stores/baseModels.js';
import { readModelFiles, readTokenizerFiles } from '../stores/modelFiles.js';
import { measureThroughput } from '../stores/throughput.js';
import { taskTemplates, type TaskTemplates } from '../templates/taskTemplates.js';
import { TOKENIZER_SOURCES } from '../tokens/tokenizer.js';
import { JOB_FAMILIES, type JobFamily } from './jobFamilies.js';
import type { ApiDependencies } from './server.js';

/** Each takes two processes for a few seconds. */
const MAX_CONCURRENT_PREVIEWS = 4;

export function previewRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  let running = 0;
  for (const family of JOB_FAMILIES) {
    const { properties } = family.schema as TObject;
    const body = Type.Object({ ...properties, ...previewFields });
    server.post(
      `/v1/accounts/:account/${family.collection}::preview`,
      { config: { access: 'user' }, schema: { params: Type.Object({ account: Id() }), body, response: { 200: JobPreviewReply } } },
      async (request) => {
        if (running >= MAX_CONCURRENT_PREVIEWS)
          throw new TemperError(
            'RATE_LIMITED',
            `The server makes ${running} previews just now, and no more at once. Try again in a few seconds.`,
          );
        running++;
        try {
          return await answerPreview(dependencies, family, request);
        } finally {
          running--;
        }
      },
    );
  }
}

async function answerPreview(dependencies: ApiDependencies, family: JobFamily, request: FastifyRequest): Promise<JobPreviewReply> {
  const { database, objects, config } = dependencies;
  const { accountId } = request.caller;
  const { rows, lines, ...body } = request.body as PreviewFields & { jobId?: string };
  if (rows !== undefined && lines !== undefined)
    throw fieldError('INVALID_FIELD', 'lines', 'Give rows, for the first rows, or lines, for those of your choice, not both.');
  const wanted = family.read(body, accountId, await findWandbKey(database, config.secretKeys, accountId, body));
  const resolved = await resolveSettings({ database, objects, tmpFolder: config.tmpFolder }, accountId, wanted);
  refuseBaseModelId(accountId, wanted.modelId ?? body.jobId ?? '');
  const { settings, origins, warnings, dataset } = resolved;
  const model = (await findTunableModel(database, accountId, settings.baseModel))!;
  const key = dataset.object_key!;
  const gone = new AbortController();
  request.raw.socket.once('close', () => gone.abort(new Error('the client has gone')));
  const preview = await previewJob({
    settings,
    templates: await templatesOf(dependencies, settings.task, model),
    reader: { sizeBytes: dataset.size_bytes, read: (start, end) => objects.getRange(key, start, Math.min(end, dataset.size_bytes)) },
    examples: dataset.examples,
    rows: rows ?? DEFAULT_PREVIEW_ROWS,
    lines: lines ?? [],
    sources: await sourcesOf(dependencies, model),
    throughput: await measureThroughput(database, settings.baseModel),
    prices: config.prices,
    folder: path.join(config.tmpFolder, `preview-${process.pid}-${randomUUID()}`),
    signal: gone.signal,
  });
  return { settings: { ...settings }, settingOrigins: { ...origins }, warnings, ...preview };
}

/** As the worker will choose them. A job's own chat template is shown even where the model's tokens for it cannot be had. */
async function templatesOf({ objects }: ApiDependencies, task: Task, model: BaseModel): Promise<TaskTemplates> {
  if (task.kind !== 'conversation') return taskTemplates(task);
  const files = await readTokenizerFiles(model.source, objects).catch((error: unknown) => {
    if (task.jinjaTemplate === undefined || unreachable(error) === undefined) throw error;
    return { tokenizerConfig: null, chatTemplate: null };
  });
  return taskTemplates(task, { ...files, family: model.chatFamily, now: new Date() });
}

async function sourcesOf({ objects }: ApiDependencies, { source }: BaseModel): Promise<PreviewInput['sources']> {
  return readModelFiles(source, TOKENIZER_SOURCES, objects).catch((error: unknown) => {
    const reason = unreachable(error);
    if (reason === undefined) throw error;
    return { unavailable: `The base model's tokenizer cannot be had: ${reason}` };
  });
}

/** What keeps this deployment from a model's files, where that is the hub's doing. */
function unreachable(error: unknown): string | undefined {
  return error instanceof TemperError && (error.code === 'HUB_UNREACHABLE' || error.code === 'MODEL_GATED') ? error.message : undefined;
}
