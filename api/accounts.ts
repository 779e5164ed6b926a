/** Accounts, and `/verifyApiKey`. A caller sees its own account (a person may have several); operators make others and see them all. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type, type Static } from 'typebox';
import { Account, CreateAccountRequest } from '../schemas/account.js';
import { fieldError, TemperError } from '../schemas/errors.js';
import { GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import { createAccount, findAccount, listAccounts, updateAccount, type AccountRecord } from '../stores/accounts.js';
import type { Database } from '../stores/database.js';
import { isOperator } from './auth.js';
import { openPageToken, parsePageSize, sealPageToken } from './paging.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import { readChanges, UpdateQuery } from './updateMask.js';

const AccountPath = Type.Object({ account: Id() });
const ListAccountsQuery = Type.Object({
  ...ListQuery.properties,
  allAccounts: Type.Optional(
    Type.String({ enum: ['true', 'false'], description: 'For operators: every account of the deployment, not only the own' }),
  ),
});

export function accountRoutes(server: FastifyInstance, { database, config }: ApiDependencies): void {
  server.get(
    '/verifyApiKey',
    { config: { access: 'member' }, schema: { response: { 200: Type.Object({}, { additionalProperties: true }) } } },
    async ({ caller }) => ({
      accountId: caller.accountId,
      userId: caller.userId,
      email: caller.email,
      role: caller.role,
    }),
  );

  server.get(
    '/v1/accounts',
    { config: { access: 'member' }, schema: { querystring: ListAccountsQuery, response: { 200: listReply('accounts', Account) } } },
    async (request) => {
      const query = request.query as Static<typeof ListAccountsQuery>;
      const limit = parsePageSize(query.pageSize);
      for (const name of ['filter', 'orderBy'] as const) {
        if (query[name])
          throw fieldError(
            name === 'filter' ? 'INVALID_FILTER' : 'INVALID_ORDER_BY',
            name,
            `${name}: accounts are listed by ID, all of them.`,
          );
      }
      const isAll = query.allAccounts === 'true';
      if (isAll && !isOperator(request.caller, config.operatorAccountId))
        throw new TemperError('PERMISSION_DENIED', 'allAccounts is for operators: admins of the deployment’s own account.');
      const binding = [request.caller.accountId, 'accounts', String(isAll)];
      const [after = ''] = query.pageToken ? openPageToken(config.secretKey, binding, query.pageToken) : [];
      const page = await listAccounts(database, isAll ? null : request.caller.accountIds, after, limit);
      const mask = compileReadMask<Account>(query.readMask, Account);
      return {
        accounts: page.rows.map((row) => mask(viewAccount(row))),
        nextPageToken: page.next === null ? '' : sealPageToken(config.secretKey, binding, [page.next]),
        totalSize: page.total,
      };
    },
  );

  server.post(
    '/v1/accounts',
    { config: { access: 'operator' }, schema: { body: CreateAccountRequest, response: { 200: Account } } },
    async (request) => {
      const { accountId: id, account = {} } = request.body as CreateAccountRequest;
      const wanted = { displayName: account.displayName ?? '', email: account.email ?? '' };
      const made = await createAccount(database, { id, ...wanted });
      if (made.display_name !== wanted.displayName || made.email !== wanted.email)
        throw new TemperError('RESOURCE_ALREADY_EXISTS', `accounts/${id} already exists with other fields. Choose another ID.`);
      return viewAccount(made);
    },
  );

  server.get(
    '/v1/accounts/:account',
    {
      config: { access: 'member', operators: true },
      schema: { params: AccountPath, querystring: GetQuery, response: { 200: Account } },
    },
    async (request) => {
      const { readMask } = request.query as Static<typeof GetQuery>;
      return compileReadMask<Account>(readMask, Account)(viewAccount(await requireAccount(database, request)));
    },
  );

  server.patch(
    '/v1/accounts/:account',
    {
      config: { access: 'admin', operators: true },
      schema: { params: AccountPath, querystring: UpdateQuery, body: Account, response: { 200: Account } },
    },
    async (request) => {
      const changes = readChanges<Account, 'displayName' | 'email'>(request, Account, { displayName: '', email: '' });
      const { id } = await requireAccount(database, request);
      return viewAccount(await updateAccount(database, id, changes));
    },
  );
}

async function requireAccount(database: Database, request: FastifyRequest): Promise<AccountRecord> {
  const { account: id } = request.params as Static<typeof AccountPath>;
  const account = await findAccount(database, id);
  if (!account) throw new TemperError('RESOURCE_NOT_FOUND', `accounts/${id} was not found, or you have no access to it.`);
  return account;
}

function viewAccount(account: AccountRecord): Account {
  return {
    name: `accounts/${account.id}`,
    displayName: account.display_name,
    email: account.email,
    createTime: account.create_time.toISOString(),
    updateTime: account.update_time.toISOString(),
    accountType: 'ENTERPRISE',
    state: 'READY',
    status: { code: 'OK', message: '' },
    suspendState: 'UNSUSPENDED',
  };
}
