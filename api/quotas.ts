/** The account's quotas. Everyone who works here sees them; admins lower and raise what is enforced, operators what is granted. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type, type Static } from 'typebox';
import { fieldError, notFound, TemperError } from '../schemas/errors.js';
import { resourceName } from '../schemas/names.js';
import { Quota, QUOTAS, type QuotaId } from '../schemas/quotas.js';
import { GetQuery, Id, listReply, WholeListQuery } from '../schemas/wire.js';
import type { Database } from '../stores/database.js';
import { listQuotas, readQuota, readUsage, updateQuota, type QuotaRecord } from '../stores/quotas.js';
import { isOperator } from './auth.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import { callNextInLine } from './temporal.js';
import { readChanges, UpdateQuery } from './updateMask.js';

const QuotaPath = Type.Object({ account: Id(), id: Id() });

export function quotaRoutes(server: FastifyInstance, { database, temporal, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/quotas';
  const one = `${collection}/:id(^[^:/]+$)`;
  const Account = Type.Object({ account: Id() });
  const QuotasQuery = Type.Object({ ...GetQuery.properties, ...WholeListQuery.properties });

  server.get(
    collection,
    {
      config: { access: 'user', operators: true },
      schema: { params: Account, querystring: QuotasQuery, response: { 200: listReply('quotas', Quota) } },
    },
    async (request) => {
      const { account } = request.params as Static<typeof Account>;
      const mask = compileReadMask<Quota>((request.query as Static<typeof GetQuery>).readMask, Quota);
      const found = await listQuotas(database, account);
      const quotas = await Promise.all(found.map(async (quota) => mask(await viewQuota(database, account, quota))));
      return { quotas, nextPageToken: '', totalSize: quotas.length };
    },
  );

  server.get(
    one,
    {
      config: { access: 'user', operators: true },
      schema: { params: QuotaPath, querystring: GetQuery, response: { 200: Quota } },
    },
    async (request) => {
      const mask = compileReadMask<Quota>((request.query as Static<typeof GetQuery>).readMask, Quota);
      const { account, id } = requireQuota(request);
      return mask(await viewQuota(database, account, await readQuota(database, account, id)));
    },
  );

  server.patch(
    one,
    {
      config: { access: 'admin', operators: true },
      schema: { params: QuotaPath, querystring: UpdateQuery, body: Quota, response: { 200: Quota } },
    },
    async (request) => {
      const changes = readChanges<Quota, 'value' | 'maxValue'>(request, Quota, { value: '', maxValue: '' });
      const { account, id } = requireQuota(request);
      const value = readAmount(changes.value, 'value');
      const maxValue = readAmount(changes.maxValue, 'maxValue');
      if (maxValue !== undefined && !isOperator(request.caller, config.operatorAccountId))
        throw new TemperError('PERMISSION_DENIED', 'maxValue is changed by operators: admins of the deployment’s own account.');
      const granted = maxValue === undefined ? (await readQuota(database, account, id)).maxValue : (maxValue ?? QUOTAS[id].default);
      if (typeof value === 'number' && value > granted)
        throw fieldError('INVALID_FIELD', 'value', `value must be at most maxValue, ${granted}, not ${value}.`);
      const quota = await updateQuota(database, account, id, { value, maxValue });
      if (id === 'running-jobs')
        // Should it fail, each asks by itself, later.
        await callNextInLine(temporal, database, account).catch((error: Error) =>
          request.log.warn({ account, cause: error.message }, 'jobs not called to their turn'),
        );
      return viewQuota(database, account, quota);
    },
  );
}

function requireQuota(request: FastifyRequest): { account: string; id: QuotaId } {
  const { account, id } = request.params as Static<typeof QuotaPath>;
  if (!Object.hasOwn(QUOTAS, id)) throw notFound(account, 'quotas', id);
  return { account, id: id as QuotaId };
}

/** Undefined: not to be changed; null: back to the default. */
function readAmount(text: string | undefined, field: string): number | null | undefined {
  if (text === undefined) return undefined;
  if (text === '') return null;
  const amount = Number(text);
  if (Number.isSafeInteger(amount) && amount >= 0) return amount;
  throw fieldError('INVALID_FIELD', field, `${field} must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}, not ${text}.`);
}

async function viewQuota(database: Database, accountId: string, quota: QuotaRecord): Promise<Quota> {
  const usage = await readUsage(database, accountId, quota.id);
  return {
    name: resourceName(accountId, 'quotas', quota.id),
    value: String(quota.value),
    maxValue: String(quota.maxValue),
    ...(usage !== null ? { usage } : {}),
    description: QUOTAS[quota.id].description,
    ...(quota.updateTime ? { updateTime: quota.updateTime.toISOString() } : {}),
  };
}
