/** Models: an account's own, made by its jobs or brought by its users (modelUploads.ts), and the catalogue's base models, which everyone may read. */
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { Type, type Static } from 'typebox';
import { resolveModelName } from '../jobs/modelNames.js';
import { ModelId } from '../schemas/alias.js';
import { BASE_MODELS, findBaseModel, type BaseModel } from '../schemas/baseModels.js';
import { notFound, TemperError } from '../schemas/errors.js';
import { DOWNLOAD_URL_SECONDS } from '../schemas/limits.js';
import { Model } from '../schemas/model.js';
import { parseName, resourceName } from '../schemas/names.js';
import { DeleteQuery, Empty, GetQuery, Id, listReply, ListQuery, SignedUrls } from '../schemas/wire.js';
import { aliasesOf } from '../stores/aliases.js';
import type { Database } from '../stores/database.js';
import { exportName, listExports } from '../stores/exports.js';
import { jobsStartingFrom } from '../stores/jobs.js';
import { addTombstone } from '../stores/lineage.js';
import { deleteModel, findModel, updateModel, withdrawModel, type ModelRecord } from '../stores/models.js';
import type { ObjectStore } from '../stores/objects.js';
import { standingOnModel } from '../stores/standing.js';
import { refuseStoodOn } from './lineage.js';
import { name, number, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import { catalogueRow, viewBaseModel, viewModel } from './modelViews.js';
import { tellRetry } from './retry.js';
import type { ApiDependencies } from './server.js';
import { stopWork } from './temporal.js';
import { readChanges, UpdateQuery } from './updateMask.js';

/** What the uploader says of a model, with the value of a field that is cleared. */
const FACTS = { huggingFaceUrl: '', githubUrl: '', supportsTools: false, supportsImageInput: false };

export const ModelPath = Type.Object({ account: Id(), id: ModelId() });

const FIELDS: ListFields = {
  name: name('models'),
  displayName: text('display_name'),
  description: text('description'),
  createTime: time('create_time'),
  updateTime: time('update_time'),
  createdBy: text('created_by'),
  state: text('state', ['UPLOADING', 'READY']),
  kind: text('kind', ['HF_PEFT_ADDON', 'HF_BASE_MODEL']),
  fineTuningJob: text('job_name'),
  contextLength: number(sql`coalesce(context_length, 0)`),
  'peftDetails.baseModel': { type: 'text', expression: sql`coalesce(peft ->> 'baseModel', '')` },
  'peftDetails.r': number(sql`coalesce(peft ->> 'r', '0')`),
};

export function modelRoutes(server: FastifyInstance, { database, objects, temporal, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/models';
  const one = `${collection}/:id(^[^:/]+$)`;
  const read = { access: 'member' as const, catalogue: true };
  const write = { access: 'user' as const };

  server.get(
    collection,
    {
      config: read,
      schema: { params: Type.Object({ account: Id() }), querystring: ListQuery, response: { 200: listReply('models', Model) } },
    },
    (request) => {
      const { account } = request.params as { account: string };
      return answerList(database, config.secretKey, account, request.query as Static<typeof ListQuery>, {
        table: 'models',
        collection: 'models',
        fields: FIELDS,
        schema: Model,
        view: viewListed,
        moreRows: BASE_MODELS.filter((model) => model.name.startsWith(`accounts/${account}/`)).map(catalogueRow),
        // The catalogue's rows have no uid: of another account, only these.
        where: account === request.caller.accountId ? undefined : sql<boolean>`uid is null`,
      });
    },
  );

  server.get(one, { config: read, schema: { params: ModelPath, querystring: GetQuery, response: { 200: Model } } }, async (request) => {
    const mask = compileReadMask<Model>((request.query as Static<typeof GetQuery>).readMask, Model);
    const { account, id } = request.params as Static<typeof ModelPath>;
    const name = resourceName(account, 'models', id);
    const base = findBaseModel(name);
    if (base) return mask(viewBaseModel(base));
    return mask(viewModel(await tellRetry(temporal, name, await requireModel(database, request.params, request.caller.accountId))));
  });

  server.patch(
    one,
    { config: write, schema: { params: ModelPath, querystring: UpdateQuery, body: Model, response: { 200: Model } } },
    async (request) => {
      const model = await requireModel(database, request.params, request.caller.accountId);
      const { displayName, description, ...facts } = readChanges<Model, 'displayName' | 'description' | keyof typeof FACTS>(
        request,
        Model,
        {
          displayName: '',
          description: '',
          ...FACTS,
        },
      );
      const changes = { displayName, description, ...(Object.keys(facts).length > 0 ? { facts: { ...model.facts, ...facts } } : {}) };
      return viewModel(await updateModel(database, model.account_id, model.id, changes));
    },
  );

  server.delete(
    one,
    { config: write, schema: { params: ModelPath, querystring: DeleteQuery, response: { 200: Empty } } },
    async (request) => {
      const model = await requireModel(database, request.params, request.caller.accountId);
      const force = (request.query as Static<typeof DeleteQuery>).force === 'true';
      await removeModel({ database, objects, temporal }, model, { force, by: request.caller.email });
      return {};
    },
  );

  server.get(
    `${one}::getDownloadEndpoint`,
    { config: read, schema: { params: ModelPath, querystring: GetQuery, response: { 200: SignedUrls } } },
    async (request) => {
      const { account, id } = request.params as Static<typeof ModelPath>;
      const base = findBaseModel(resourceName(account, 'models', id));
      const files = base
        ? await listBaseModelFiles(objects, base)
        : listFiles(await requireModel(database, request.params, request.caller.accountId));
      const urls = await Promise.all(
        files.map(async (file) => [file.name, await objects.signDownload(file.key, file.name, DOWNLOAD_URL_SECONDS)] as const),
      );
      return { filenameToSignedUrls: Object.fromEntries(urls) };
    },
  );
}

/** @throws TemperError RESOURCE_IN_USE while a job makes it or goes on from it, an alias points at it, or, without force, others were made from it */
export async function removeModel(
  { database, objects, temporal }: Pick<ApiDependencies, 'database' | 'objects' | 'temporal'>,
  model: ModelRecord,
  { force, by }: { force: boolean; by: string },
): Promise<void> {
  const modelName = resourceName(model.account_id, 'models', model.id);
  if (model.state !== 'READY' && model.job_name)
    throw new TemperError('RESOURCE_IN_USE', `${modelName} is being made by ${model.job_name}: cancel the job instead.`);
  const jobs = await jobsStartingFrom(database, model.account_id, modelName);
  if (jobs.length > 0)
    throw new TemperError(
      'RESOURCE_IN_USE',
      `${jobs.slice(0, 5).join(', ')} started from ${modelName} and still needs it. Wait for the end, or cancel.`,
    );
  const aliases = await aliasesOf(database, model.account_id, model.id);
  if (aliases.length > 0)
    throw new TemperError(
      'RESOURCE_IN_USE',
      `${aliases.join(', ')} point${aliases.length === 1 ? 's' : ''} at ${modelName}: move the alias first, or delete it.`,
    );
  const standing = await standingOnModel(database, model);
  if (!force) refuseStoodOn(modelName, standing);
  if (standing.length > 0) {
    const weights = model.files.find(({ name: file }) => file.startsWith('adapter_model.') || file.startsWith('model'));
    const facts = { ...(weights ? { sha256: weights.sha256 } : {}), ...(model.lineage ? { lineage: model.lineage } : {}) };
    await addTombstone(database, model.account_id, { name: modelName, uid: model.uid, kind: 'MODEL', facts, deletedBy: by });
  }
  await stopWork(temporal, modelName);
  for (const made of await listExports(database, model.uid)) await stopWork(temporal, exportName(made));
  await withdrawModel(database, model.uid);
  // The record goes last: a deletion that is cut short can be asked for again.
  await objects.removePrefix(`models/${model.uid}/`);
  await objects.removePrefix(`uploads/${model.uid}/`);
  await deleteModel(database, model.uid);
}

/** @throws TemperError MODEL_NOT_FOUND, also for what another account has of its own */
export async function requireModel(database: Database, params: unknown, callersAccount: string): Promise<ModelRecord> {
  const { account, id } = params as Static<typeof ModelPath>;
  const named = account === callersAccount ? parseName(await resolveModelName(database, account, id), 'models', account) : null;
  const model = named ? await findModel(database, account, named.id) : undefined;
  if (!model) throw notFound(account, 'models', id);
  return model;
}

function listFiles(model: ModelRecord): { name: string; key: string }[] {
  if (model.state === 'READY') return model.files;
  const when = model.job_name ? `when ${model.job_name} has ended` : 'when its upload is validated';
  throw new TemperError(
    'MODEL_NOT_READY',
    `${resourceName(model.account_id, 'models', model.id)} is ${model.state}: its files are there ${when}.`,
  );
}

async function listBaseModelFiles(objects: ObjectStore, { name: modelName, source }: BaseModel): Promise<{ name: string; key: string }[]> {
  if ('hub' in source)
    throw new TemperError('MODEL_NOT_READY', `${modelName} is not stored here: its files are at https://huggingface.co/${source.hub}.`);
  if ('folder' in source) throw new TemperError('MODEL_NOT_READY', `${modelName} is not stored here: its files lie on the workers.`);
  if ('files' in source) return source.files;
  const found = await objects.list(`${source.prefix}/`);
  if (found.length === 0)
    throw new TemperError('MODEL_FILES_MISSING', `The files of ${modelName} are not in the object store. \`npm run demo\` makes them.`);
  return found.map(({ key }) => ({ key, name: key.slice(source.prefix.length + 1) }));
}

function viewListed(row: ModelRecord): Model {
  const base = row.uid === null ? findBaseModel(resourceName(row.account_id, 'models', row.id)) : undefined;
  return base ? viewBaseModel(base) : viewModel(row);
}
