/** Secrets: written through the API, never read back through it. Users see that they exist; admins write and remove them. */
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { CreateSecretRequest, Secret } from '../schemas/account.js';
import { fieldError, notFound, TemperError } from '../schemas/errors.js';
import { parseName, resourceName } from '../schemas/names.js';
import { Empty, GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import type { Database } from '../stores/database.js';
import { deleteSecret, findSecret, putSecret, readSecret, type SecretRecord } from '../stores/secrets.js';
import { name, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import { NOT_CLEARABLE, readChanges, UpdateQuery } from './updateMask.js';

const SecretPath = Type.Object({ account: Id(), id: Id() });

const FIELDS: ListFields = {
  name: name('secrets'),
  keyName: text('key_name'),
  createTime: time('create_time'),
  updateTime: time('update_time'),
};

export function secretRoutes(server: FastifyInstance, { database, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/secrets';
  const one = `${collection}/:id(^[^:/]+$)`;

  server.post(
    collection,
    {
      config: { access: 'admin' },
      schema: { params: Type.Object({ account: Id() }), body: CreateSecretRequest, response: { 200: Secret } },
    },
    async (request) => {
      const body = request.body as CreateSecretRequest;
      const { accountId } = request.caller;
      const parsed = parseName(body.name, 'secrets', accountId);
      if (parsed?.accountId !== accountId)
        throw fieldError(
          'INVALID_ID',
          'name',
          `name must be a secret ID (1 to 63 characters of a-z, 0-9 and hyphen), or accounts/${accountId}/secrets/ID.`,
        );
      if (body.value === undefined) throw fieldError('MISSING_FIELD', 'value', 'value is missing');
      const existing = await findSecret(database, accountId, parsed.id);
      if (existing) {
        const isSame =
          existing.key_name === (body.keyName ?? '') &&
          (await readSecret(database, config.secretKeys, accountId, parsed.id)) === body.value;
        if (!isSame)
          throw new TemperError(
            'RESOURCE_ALREADY_EXISTS',
            `${resourceName(accountId, 'secrets', parsed.id)} already exists with another value. Change it with PATCH.`,
          );
        return viewSecret(existing);
      }
      await putSecret(database, config.secretKeys, { accountId, id: parsed.id, keyName: body.keyName, value: body.value });
      return viewSecret(await requireSecret(database, { account: accountId, id: parsed.id }));
    },
  );

  server.get(
    collection,
    {
      config: { access: 'user' },
      schema: { params: Type.Object({ account: Id() }), querystring: ListQuery, response: { 200: listReply('secrets', Secret) } },
    },
    (request) =>
      answerList(database, config.secretKey, request.caller.accountId, request.query as Static<typeof ListQuery>, {
        table: 'secrets',
        collection: 'secrets',
        fields: FIELDS,
        schema: Secret,
        view: viewSecret,
      }),
  );

  server.get(
    one,
    { config: { access: 'user' }, schema: { params: SecretPath, querystring: GetQuery, response: { 200: Secret } } },
    async (request) => {
      const mask = compileReadMask<object>((request.query as Static<typeof GetQuery>).readMask, Secret);
      return mask(viewSecret(await requireSecret(database, request.params)));
    },
  );

  server.patch(
    one,
    { config: { access: 'admin' }, schema: { params: SecretPath, querystring: UpdateQuery, body: Secret, response: { 200: Secret } } },
    async (request) => {
      const changes = readChanges<Secret, 'keyName' | 'value'>(request, Secret, { keyName: '', value: NOT_CLEARABLE });
      const secret = await requireSecret(database, request.params);
      const { account_id: accountId, id } = secret;
      const value = changes.value ?? (await readSecret(database, config.secretKeys, accountId, id));
      if (value === null) throw notFound(accountId, 'secrets', id);
      await putSecret(database, config.secretKeys, { accountId, id, keyName: changes.keyName ?? secret.key_name, value });
      return viewSecret(await requireSecret(database, request.params));
    },
  );

  server.delete(one, { config: { access: 'admin' }, schema: { params: SecretPath, response: { 200: Empty } } }, async (request) => {
    const secret = await requireSecret(database, request.params);
    await deleteSecret(database, secret.account_id, secret.id);
    return {};
  });
}

/** @throws TemperError RESOURCE_NOT_FOUND */
async function requireSecret(database: Database, params: unknown): Promise<SecretRecord> {
  const { account, id } = params as Static<typeof SecretPath>;
  const secret = await findSecret(database, account, id);
  if (!secret) throw notFound(account, 'secrets', id);
  return secret;
}

function viewSecret(secret: SecretRecord): Secret {
  return {
    name: resourceName(secret.account_id, 'secrets', secret.id),
    keyName: secret.key_name,
    createTime: secret.create_time.toISOString(),
    updateTime: secret.update_time.toISOString(),
  };
}
