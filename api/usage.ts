/** `GET …/usage`: tokens, GPU time and costs of the jobs that ended in a span of time, and what is stored now. */
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { fieldError } from '../schemas/errors.js';
import { asMoney } from '../schemas/prices.js';
import { DEFAULT_USAGE_DAYS, MAX_USAGE_GROUPS, Usage, UsageQuery, type UsageGroup } from '../schemas/usage.js';
import { Id } from '../schemas/wire.js';
import { sumStored, sumUsage, type UsageSum } from '../stores/usage.js';
import type { ApiDependencies } from './server.js';

const DAY_MS = 24 * 3600 * 1000;

export function usageRoutes(server: FastifyInstance, { database }: ApiDependencies): void {
  server.get(
    '/v1/accounts/:account/usage',
    {
      config: { access: 'user', operators: true },
      schema: { params: Type.Object({ account: Id() }), querystring: UsageQuery, response: { 200: Usage } },
    },
    async (request): Promise<Usage> => {
      const { account } = request.params as { account: string };
      const query = request.query as Static<typeof UsageQuery>;
      const to = query.to ? new Date(query.to) : new Date();
      const from = query.from ? new Date(query.from) : new Date(to.getTime() - DEFAULT_USAGE_DAYS * DAY_MS);
      if (!(from < to)) throw fieldError('INVALID_FIELD', 'from', 'from must be before to.');
      const groupBy = (query.groupBy ?? 'account') as UsageGroup;
      const [groups, [total], stored] = await Promise.all([
        sumUsage(database, account, { from, to, groupBy }, MAX_USAGE_GROUPS),
        sumUsage(database, account, { from, to, groupBy: 'account' }, 1),
        sumStored(database, account),
      ]);
      const none = { jobs: 0, tokens: 0, trainedTokens: 0, gpuSeconds: 0, costs: [] };
      return {
        from: from.toISOString(),
        to: to.toISOString(),
        groupBy,
        total: view(total ?? none),
        groups: groups.map((group) => ({ key: group.key, ...view(group) })),
        storedBytes: String(stored.reduce((sum, { bytes }) => sum + bytes, 0)),
        storedByUser: stored.map(({ user, bytes }) => ({ user, bytes: String(bytes) })),
      };
    },
  );
}

function view({ jobs, tokens, trainedTokens, gpuSeconds, costs }: Omit<UsageSum, 'key'>): Usage['total'] {
  return {
    jobs,
    tokens: String(tokens),
    trainedTokens: String(trainedTokens),
    gpuSeconds: Math.round(gpuSeconds * 10) / 10,
    costs: costs.map(({ currency, amount }) => asMoney(amount, currency)),
  };
}
