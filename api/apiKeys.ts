/** API keys. Users manage their own, admins everyone's; a key's text is in the answer to its creation and nowhere else. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { sql } from 'kysely';
import { type Static } from 'typebox';
import { ApiKey, CreateApiKeyRequest, DeleteApiKeyRequest } from '../schemas/account.js';
import { fieldError, TemperError } from '../schemas/errors.js';
import { Empty, listReply, ListQuery } from '../schemas/wire.js';
import { generateApiKey } from '../stores/accounts.js';
import type { Database } from '../stores/database.js';
import { createApiKey, deleteApiKey, type ApiKeyRecord, type UserRecord } from '../stores/users.js';
import { optionalTime, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import type { ApiDependencies } from './server.js';
import { requireUser, UserPath } from './users.js';

const FIELDS: ListFields = {
  keyId: text('key_id'),
  displayName: text('display_name'),
  prefix: text('prefix'),
  createTime: time('create_time'),
  expireTime: optionalTime('expire_time'),
  lastUsedTime: optionalTime('last_used_time'),
};

export function apiKeyRoutes(server: FastifyInstance, { database, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/users/:user(^[^:/]+$)/apiKeys';
  const access = { access: 'user' as const };

  server.post(
    collection,
    { config: access, schema: { params: UserPath, body: CreateApiKeyRequest, response: { 200: ApiKey } } },
    async (request) => {
      const user = await requireManaged(database, request);
      const { displayName, expireTime } = (request.body as CreateApiKeyRequest).apiKey ?? {};
      const expires = expireTime === undefined ? null : new Date(expireTime);
      if (expires && expires.getTime() <= Date.now())
        throw fieldError('INVALID_FIELD', 'apiKey.expireTime', `apiKey.expireTime must lie in the future, not at ${expireTime}.`);
      const { key, ...stored } = generateApiKey();
      const record = await createApiKey(database, {
        ...stored,
        accountId: user.account_id,
        userId: user.id,
        displayName: displayName || 'default',
        expireTime: expires,
      });
      return { ...viewApiKey(record, user), key };
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

  server.post(
    `${collection}::delete`,
    { config: access, schema: { params: UserPath, body: DeleteApiKeyRequest, response: { 200: Empty } } },
    async (request) => {
      const user = await requireManaged(database, request);
      const { keyId } = request.body as DeleteApiKeyRequest;
      if (!(await deleteApiKey(database, user.account_id, user.id, keyId)))
        throw new TemperError('RESOURCE_NOT_FOUND', `${user.id} has no API key ${keyId}.`);
      return {};
    },
  );
}

/** @throws TemperError PERMISSION_DENIED for another user's keys, unless the caller is an admin */
async function requireManaged(database: Database, request: FastifyRequest): Promise<UserRecord> {
  const { caller } = request;
  const { user } = request.params as Static<typeof UserPath>;
  if (caller.role !== 'admin' && user !== caller.userId)
    throw new TemperError('PERMISSION_DENIED', 'The API keys of other users need the role admin.');
  return requireUser(database, request.params);
}

function viewApiKey(key: ApiKeyRecord, user: UserRecord): Static<typeof ApiKey> {
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
