/** Aliases of models: make, move, roll back, and the history of all three. */
import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { parseAlias, resolveModelName } from '../jobs/modelNames.js';
import { AddVersionRequest, Alias, AliasId, AliasMove, RollbackRequest } from '../schemas/alias.js';
import { fieldError, notFound } from '../schemas/errors.js';
import { parseName, resourceName } from '../schemas/names.js';
import { Empty, GetQuery, Id, listReply, ListQuery, WholeListQuery } from '../schemas/wire.js';
import {
  addVersion,
  deleteAlias,
  findAlias,
  listMoves,
  moveAlias,
  rollBackAlias,
  type AliasMoveRecord,
  type AliasRecord,
} from '../stores/aliases.js';
import type { Database } from '../stores/database.js';
import { name, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import { NOT_CLEARABLE, readChanges, UpdateQuery } from './updateMask.js';

const AliasPath = Type.Object({ account: Id(), id: AliasId() });

const FIELDS: ListFields = {
  name: name('aliases'),
  createTime: time('create_time'),
  updateTime: time('update_time'),
  createdBy: text('created_by'),
};

export function aliasRoutes(server: FastifyInstance, { database, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/aliases';
  const one = `${collection}/:id(^[^:/]+$)`;
  const read = { access: 'member' as const };
  const write = { access: 'user' as const };

  server.get(
    collection,
    {
      config: read,
      schema: { params: Type.Object({ account: Id() }), querystring: ListQuery, response: { 200: listReply('aliases', Alias) } },
    },
    (request) =>
      answerList(database, config.secretKey, request.caller.accountId, request.query as Static<typeof ListQuery>, {
        table: 'aliases',
        collection: 'aliases',
        fields: FIELDS,
        schema: Alias,
        view: viewAlias,
      }),
  );

  server.get(one, { config: read, schema: { params: AliasPath, querystring: GetQuery, response: { 200: Alias } } }, async (request) => {
    const mask = compileReadMask<Alias>((request.query as Static<typeof GetQuery>).readMask, Alias);
    return mask(viewAlias(await requireAlias(database, request.params)));
  });

  // Also makes an alias that is not there: a name says all there is to know of it.
  server.patch(
    one,
    { config: write, schema: { params: AliasPath, querystring: UpdateQuery, body: Alias, response: { 200: Alias } } },
    async (request) => {
      const { accountId, email } = request.caller;
      const { id } = request.params as Static<typeof AliasPath>;
      const changes = readChanges<Alias, 'model' | 'reason'>(request, Alias, { model: NOT_CLEARABLE, reason: '' });
      const { model, reason = '' } = changes;
      if (model === undefined) throw fieldError('MISSING_FIELD', 'model', 'model is missing: the model that the alias is to point at.');
      const parsed = parseName(await resolveModelName(database, accountId, model), 'models', accountId);
      if (parsed?.accountId !== accountId) throw modelNotOwn(accountId, model);
      const move = { accountId, id, modelId: parsed.id, kind: 'MOVE' as const, key: randomUUID(), by: email, reason };
      return viewAlias((await moveAlias(database, move))!);
    },
  );

  // `support-bot` names no model of its own: it is what versions and aliases of it have in common.
  server.post(
    '/v1/accounts/:account/models/:id(^[^:/]+$)::addVersion',
    { config: write, schema: { params: Type.Object({ account: Id(), id: Id() }), body: AddVersionRequest, response: { 200: Alias } } },
    async (request) => {
      const { accountId, email } = request.caller;
      const { id: name } = request.params as { id: string };
      const { model, reason = '' } = request.body as Static<typeof AddVersionRequest>;
      const parsed = parseName(await resolveModelName(database, accountId, model), 'models', accountId);
      if (parsed?.accountId !== accountId) throw modelNotOwn(accountId, model);
      return viewAlias(await addVersion(database, { accountId, name, modelId: parsed.id, by: email, reason }));
    },
  );

  server.post(
    `${one}::rollback`,
    { config: write, schema: { params: AliasPath, body: RollbackRequest, response: { 200: Alias } } },
    async (request) => {
      const { accountId, email } = request.caller;
      const { id } = request.params as Static<typeof AliasPath>;
      const { reason = '' } = request.body as Static<typeof RollbackRequest>;
      const alias = await rollBackAlias(database, { accountId, id, key: randomUUID(), by: email, reason });
      if (!alias) throw notFound(accountId, 'aliases', id);
      return viewAlias(alias);
    },
  );

  server.get(
    `${one}::listMoves`,
    { config: read, schema: { params: AliasPath, querystring: WholeListQuery, response: { 200: listReply('moves', AliasMove) } } },
    async (request) => {
      const alias = await requireAlias(database, request.params);
      const moves = (await listMoves(database, alias.account_id, alias.id)).map(viewMove);
      return { moves, nextPageToken: '', totalSize: moves.length };
    },
  );

  server.delete(one, { config: write, schema: { params: AliasPath, response: { 200: Empty } } }, async (request) => {
    const alias = await requireAlias(database, request.params);
    await deleteAlias(database, alias.account_id, alias.id);
    return {};
  });
}

/** @throws TemperError RESOURCE_NOT_FOUND */
async function requireAlias(database: Database, params: unknown): Promise<AliasRecord> {
  const { account, id } = params as Static<typeof AliasPath>;
  const alias = await findAlias(database, account, id);
  if (!alias) throw notFound(account, 'aliases', id);
  return alias;
}

function modelNotOwn(accountId: string, model: string) {
  const problem = parseAlias(model, accountId) ? 'is an alias that points at nothing' : 'is no model of the account';
  return fieldError(
    'MODEL_NOT_FOUND',
    'model',
    `${model.slice(0, 100)} ${problem}: give the ID of a READY model, or accounts/${accountId}/models/ID.`,
  );
}

function viewAlias(alias: AliasRecord): Alias {
  return {
    name: resourceName(alias.account_id, 'aliases', alias.id),
    model: resourceName(alias.account_id, 'models', alias.model_id),
    modelName: resourceName(alias.account_id, 'models', alias.id),
    ...(alias.is_version ? { version: true } : {}),
    createTime: alias.create_time.toISOString(),
    updateTime: alias.update_time.toISOString(),
    createdBy: alias.created_by,
  };
}

function viewMove(move: AliasMoveRecord): AliasMove {
  const model = (id: string) => resourceName(move.account_id, 'models', id);
  return {
    sequence: move.sequence,
    kind: move.kind,
    ...(move.from_model ? { from: model(move.from_model) } : {}),
    to: model(move.to_model),
    by: move.moved_by,
    reason: move.reason,
    time: move.time.toISOString(),
  };
}
