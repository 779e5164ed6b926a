/** API keys. Users manage their own, admins everyone's; a key's text is in the answer to its creation and nowhere else. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { sql } from 'kysely';
import { Type, type Static } from 'typebox';
import { ApiKey, CreateApiKeyRequest, DeleteApiKeyRequest } from '../schemas/account.js';
import { fieldError, TemperError } from '../schemas/errors.js';
import { hasPermission } from '../schemas/roles.js';
import { Empty, GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import { createApiKey, deleteApiKey, findApiKey, generateApiKey, updateApiKey, type ApiKeyRecord } from '../stores/apiKeys.js';
import type { Database } from '../stores/database.js';
import type { UserRecord } from '../stores/users.js';
import { optionalTime, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import { readChanges, UpdateQuery } from './updateMask.js';
import { requireUser, UserPath } from './users.js';

const FIELDS: ListFields = {
  keyId: text('key_id'),
  displayName: text('display_name'),
  prefix: text('prefix'),
  createTime: time('create_time'),
  expireTime: optionalTime('expire_time'),
  lastUsedTime: optionalTime('last_used_time'),
};

const KeyPath = Type.Object({ ...UserPath.properties, key: Id() });

export function apiKeyRoutes(server: FastifyInstance, { database, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/users/:user(^[^:/]+$)/apiKeys';
  const one = `${collection}/:key(^[^:/]+$)`;
  const access = { access: 'user' as const, operators: true };

  server.post(
    collection,
    { config: access, schema: { params: UserPath, body: CreateApiKeyRequest, response: { 200: ApiKey } } },
    async (request) => {
      const user = await requireManaged(database, request);
      const { displayName, expireTime } = (request.body as CreateApiKeyRequest).apiKey ?? {};
      const { key, stored } = generateApiKey(config.secretKeys);
      const record = await createApiKey(database, {
        ...stored,
        accountId: user.account_id,
        userId: user.id,
        displayName: displayName || 'default',
        expireTime: readExpireTime(expireTime, 'apiKey.expireTime'),
      });
      return { ...viewApiKey(record!, user), key };
    },
  );

  server.get(
    collection,
    { config: access, schema: { params: UserPath, querystring: ListQuery, response: { 200: listReply('apiKeys', ApiKey) } } },
    async (request) => {
      const user = await requireManaged(database, request);
      return answerList(database, config.secretKey, user.account_id, request.query as Static<typeof ListQuery>, {
        table: 'api_keys',
        collection: 'apiKeys',
        fields: FIELDS,
        schema: ApiKey,
        view: (key) => viewApiKey(key, user),
        idColumn: 'key_id',
        where: sql<boolean>`user_id = ${user.id}`,
      });
    },
  );

  server.get(one, { config: access, schema: { params: KeyPath, querystring: GetQuery, response: { 200: ApiKey } } }, async (request) => {
    const mask = compileReadMask<object>((request.query as Static<typeof GetQuery>).readMask, ApiKey);
    const user = await requireManaged(database, request);
    return mask(viewApiKey(await requireApiKey(database, user, (request.params as Static<typeof KeyPath>).key), user));
  });

  server.patch(
    one,
    { config: access, schema: { params: KeyPath, querystring: UpdateQuery, body: ApiKey, response: { 200: ApiKey } } },
    async (request) => {
      const { displayName, expireTime } = readChanges<ApiKey, 'displayName' | 'expireTime'>(request, ApiKey, {
        displayName: '',
        expireTime: '',
      });
      const user = await requireManaged(database, request);
      const key = await requireApiKey(database, user, (request.params as Static<typeof KeyPath>).key);
      const updated = await updateApiKey(database, key, {
        displayName,
        expireTime: expireTime === undefined ? undefined : readExpireTime(expireTime || undefined, 'expireTime'),
      });
      if (!updated) throw unknownKey(user, key.key_id);
      return viewApiKey(updated, user);
    },
  );

  server.post(
    `${collection}::delete`,
    { config: access, schema: { params: UserPath, body: DeleteApiKeyRequest, response: { 200: Empty } } },
    async (request) => {
      const user = await requireManaged(database, request);
      const { keyId } = request.body as DeleteApiKeyRequest;
      if (!(await deleteApiKey(database, user.account_id, user.id, keyId))) throw unknownKey(user, keyId);
      return {};
    },
  );
}

/** @throws TemperError PERMISSION_DENIED for another user's keys, unless the caller is an admin */
async function requireManaged(database: Database, request: FastifyRequest): Promise<UserRecord> {
  const { caller } = request;
  const { account, user } = request.params as Static<typeof UserPath>;
  const isOwn = account === caller.accountId && user === caller.userId;
  if (!isOwn && !hasPermission(caller.role, 'admin'))
    throw new TemperError('PERMISSION_DENIED', 'The API keys of other users need the role admin.');
  return requireUser(database, request.params);
}

/** @throws TemperError RESOURCE_NOT_FOUND */
async function requireApiKey(database: Database, user: UserRecord, keyId: string): Promise<ApiKeyRecord> {
  const key = await findApiKey(database, user.account_id, user.id, keyId);
  if (!key) throw unknownKey(user, keyId);
  return key;
}

function unknownKey(user: UserRecord, keyId: string): TemperError {
  return new TemperError('RESOURCE_NOT_FOUND', `${user.id} has no API key ${keyId}.`);
}

function readExpireTime(time: string | undefined, field: string): Date | null {
  if (time === undefined) return null;
  const expires = new Date(time);
  if (expires.getTime() > Date.now()) return expires;
  throw fieldError('INVALID_FIELD', field, `${field} must lie in the future, not at ${time}. To end a key now, delete it.`);
}

function viewApiKey(key: ApiKeyRecord, user: UserRecord): ApiKey {
  return {
    keyId: key.key_id,
    displayName: key.display_name,
    prefix: key.prefix,
    email: user.email,
    secure: true,
    createTime: key.create_time.toISOString(),
    ...(key.expire_time ? { expireTime: key.expire_time.toISOString() } : {}),
    ...(key.last_used_time ? { lastUsedTime: key.last_used_time.toISOString() } : {}),
  };
}
