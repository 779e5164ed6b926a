/** `/v1/models`: the base models that can be tuned, and the account's own. */
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { BASE_MODELS } from '../../schemas/baseModels.js';
import { fieldError } from '../../schemas/errors.js';
import { Deleted, listOf, OpenaiModel } from '../../schemas/openai.js';
import { listReadyModels, type ModelRecord } from '../../stores/models.js';
import { removeModel } from '../models.js';
import type { ApiDependencies } from '../server.js';
import { findOwnModel, idOf, modelName } from './modelNames.js';
import { seconds } from './pages.js';

const access = { access: 'user' as const };
const ModelPath = Type.Object({ model: Type.String({ maxLength: 300 }) });

export function openaiModelRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  const { database, config } = dependencies;
  const aliases = Object.entries(config.modelAliases).map(([id, base]) => viewBase(id, base));
  const catalogue = [...BASE_MODELS.map(({ name }) => viewBase(idOf(name), name)), ...aliases];

  server.get('/v1/models', { config: access, schema: { response: { 200: listOf(OpenaiModel) } } }, async (request) => {
    const data = [...catalogue, ...(await listReadyModels(database, request.caller.accountId)).map(viewOwn)];
    return { object: 'list', data, has_more: false, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
  });

  server.get('/v1/models/:model', { config: access, schema: { params: ModelPath, response: { 200: OpenaiModel } } }, async (request) => {
    const { model: name } = request.params as Static<typeof ModelPath>;
    const base =
      catalogue.find(({ id }) => id === name) ??
      catalogue.find(({ id }) => BASE_MODELS.some((model) => model.name === name && idOf(name) === id));
    if (base) return base;
    const own = await findOwnModel(database, request.caller.accountId, name);
    if (own?.state === 'READY') return viewOwn(own);
    throw noModel(name);
  });

  server.delete('/v1/models/:model', { config: access, schema: { params: ModelPath, response: { 200: Deleted } } }, async (request) => {
    const { model: name } = request.params as Static<typeof ModelPath>;
    const own = await findOwnModel(database, request.caller.accountId, name);
    if (!own && catalogue.some(({ id }) => id === name))
      throw fieldError('PERMISSION_DENIED', 'model', `${name} is a base model of this deployment: only tuned models can be deleted.`);
    if (!own) throw noModel(name);
    await removeModel(dependencies, own, { force: true, by: request.caller.email });
    return { id: name, object: 'model', deleted: true };
  });
}

function viewBase(id: string, name: string): Static<typeof OpenaiModel> {
  return { id, object: 'model', created: 0, owned_by: name.split('/')[1] ?? '' };
}

function viewOwn(model: ModelRecord): Static<typeof OpenaiModel> {
  return { id: modelName(model), object: 'model', created: seconds(model.create_time), owned_by: model.account_id };
}

function noModel(name: string) {
  return fieldError(
    'MODEL_NOT_FOUND',
    'model',
    `The model ${JSON.stringify(name.slice(0, 100))} does not exist, or you have no access to it.`,
  );
}
