/** `GET …/models:compare?models=a,b`: models of the account side by side. */
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { MAX_COMPARED_MODELS, ModelComparison } from '../schemas/comparison.js';
import { fieldError, TemperError } from '../schemas/errors.js';
import { LINEAGE_VERSION } from '../schemas/lineage.js';
import { resourceName } from '../schemas/names.js';
import { Id } from '../schemas/wire.js';
import { evaluationKey } from '../stores/modelFiles.js';
import type { ModelRecord } from '../stores/models.js';
import type { ObjectStore } from '../stores/objects.js';
import { compareModels, type ComparedModel, type EvaluationReport } from './compareModels.js';
import { requireModel } from './models.js';
import type { ApiDependencies } from './server.js';

const CompareQuery = Type.Object({
  models: Type.String({ maxLength: 2000, description: 'IDs, names or aliases of models, with commas between' }),
});

export function compareRoutes(server: FastifyInstance, { database, objects }: ApiDependencies): void {
  server.get(
    '/v1/accounts/:account/models::compare',
    {
      config: { access: 'user' },
      schema: { params: Type.Object({ account: Id() }), querystring: CompareQuery, response: { 200: ModelComparison } },
    },
    async (request) => {
      const { accountId } = request.caller;
      const prefix = resourceName(accountId, 'models', '');
      const ids = (request.query as Static<typeof CompareQuery>).models.split(',').map((text) => text.trim());
      if (ids.length < 2 || ids.length > MAX_COMPARED_MODELS)
        throw fieldError('INVALID_FIELD', 'models', `models must name 2 to ${MAX_COMPARED_MODELS} models, with commas between.`);
      const models = await Promise.all(
        ids.map((text) => {
          const id = text.startsWith(prefix) ? text.slice(prefix.length) : text;
          return requireModel(database, { account: accountId, id }, accountId);
        }),
      );
      return compareModels(await Promise.all(models.map((model) => describe(objects, model))));
    },
  );
}

async function describe(objects: ObjectStore, model: ModelRecord): Promise<ComparedModel> {
  const name = resourceName(model.account_id, 'models', model.id);
  if (model.state !== 'READY') throw new TemperError('MODEL_NOT_READY', `${name} is ${model.state}: there is nothing to compare yet.`);
  return {
    name,
    createTime: model.create_time.toISOString(),
    lineage: model.lineage?.version === LINEAGE_VERSION ? model.lineage : null,
    facts: { kind: model.kind, baseModel: model.base_model, loraRank: model.peft?.r ?? null, contextLength: model.context_length },
    report: model.metrics ? await readReport(objects, model.uid) : null,
  };
}

/** Null where there is none: of models that were registered before reports were kept. */
async function readReport(objects: ObjectStore, uid: string): Promise<EvaluationReport | null> {
  try {
    return JSON.parse(await objects.getText(evaluationKey(uid))) as EvaluationReport;
  } catch (error) {
    if (error instanceof TemperError && error.code === 'OBJECT_MISSING') return null;
    throw error;
  }
}
