/** The caller's account, and `/verifyApiKey`. A key sees one account: its own. */
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { Account } from '../schemas/account.js';
import { fieldError } from '../schemas/errors.js';
import { GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import { findAccount } from '../stores/accounts.js';
import type { Database } from '../stores/database.js';
import { parsePageSize } from './paging.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';

export function accountRoutes(server: FastifyInstance, { database }: ApiDependencies): void {
  server.get(
    '/verifyApiKey',
    { config: { access: 'user' }, schema: { response: { 200: Type.Object({}, { additionalProperties: true }) } } },
    async ({ caller }) => ({
      accountId: caller.accountId,
      userId: caller.userId,
      email: caller.email,
      role: caller.role,
    }),
  );

  server.get(
    '/v1/accounts',
    { config: { access: 'user' }, schema: { querystring: ListQuery, response: { 200: listReply('accounts', Account) } } },
    async (request) => {
      const query = request.query as Static<typeof ListQuery>;
      parsePageSize(query.pageSize);
      if (query.filter) throw fieldError('INVALID_FILTER', 'filter', 'filter: accounts cannot be filtered, a key sees one only.');
      if (query.pageToken) throw fieldError('INVALID_PAGE_TOKEN', 'pageToken', 'pageToken: there is only one page of accounts.');
      const account = compileReadMask(query.readMask, Account)(await viewAccount(database, request.caller.accountId));
      return { accounts: [account], nextPageToken: '', totalSize: 1 };
    },
  );

  const schema = { params: Type.Object({ account: Id() }), querystring: GetQuery, response: { 200: Account } };
  server.get('/v1/accounts/:account', { config: { access: 'user' }, schema }, async (request) => {
    const { readMask } = request.query as Static<typeof GetQuery>;
    return compileReadMask(readMask, Account)(await viewAccount(database, request.caller.accountId));
  });
}

async function viewAccount(database: Database, id: string): Promise<Static<typeof Account>> {
  const account = await findAccount(database, id);
  const createTime = account.create_time.toISOString();
  return {
    name: `accounts/${account.id}`,
    displayName: account.display_name,
    email: account.email,
    createTime,
    updateTime: createTime,
    accountType: 'ENTERPRISE',
    state: 'READY',
    status: { code: 'OK', message: '' },
    suspendState: 'UNSUSPENDED',
  };
}
