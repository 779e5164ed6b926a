/** The users of an account. Everyone sees them; admins make, change and remove them. */
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { CreateUserRequest, User } from '../schemas/account.js';
import { fieldError, notFound } from '../schemas/errors.js';
import { isId, resourceName } from '../schemas/names.js';
import { ROLES } from '../schemas/roles.js';
import { Empty, GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import type { Database } from '../stores/database.js';
import { createUser, deleteUser, findUser, updateUser, type UserRecord } from '../stores/users.js';
import { requireSameRequest } from './idempotency.js';
import { name, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import { NOT_CLEARABLE, readChanges, UpdateQuery } from './updateMask.js';

export const UserPath = Type.Object({ account: Id(), user: Id() });

const FIELDS: ListFields = {
  name: name('users'),
  email: text('email'),
  displayName: text('display_name'),
  role: text('role', ROLES),
  createTime: time('create_time'),
  updateTime: time('update_time'),
};

export function userRoutes(server: FastifyInstance, { database, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/users';
  const one = `${collection}/:user(^[^:/]+$)`;
  const account = Type.Object({ account: Id() });
  const CreateQuery = Type.Object({ userId: Type.Optional(Id()) });

  server.post(
    collection,
    {
      config: { access: 'admin', operators: true },
      schema: { params: account, querystring: CreateQuery, body: CreateUserRequest, response: { 200: User } },
    },
    async (request) => {
      const body = request.body as CreateUserRequest;
      const { account: accountId } = request.params as Static<typeof account>;
      const wanted = {
        email: body.email ?? '',
        displayName: body.displayName ?? '',
        role: body.role,
        serviceAccount: body.serviceAccount ?? false,
      };
      const id = (request.query as Static<typeof CreateQuery>).userId ?? body.userId ?? idFromEmail(body.email);
      const user = await createUser(database, { accountId, id, ...wanted });
      requireSameRequest(
        JSON.stringify({ email: user.email, displayName: user.display_name, role: user.role, serviceAccount: user.service_account }),
        JSON.stringify(wanted),
        userName(user),
      );
      return viewUser(user);
    },
  );

  server.get(
    collection,
    {
      config: { access: 'user', operators: true },
      schema: { params: account, querystring: ListQuery, response: { 200: listReply('users', User) } },
    },
    (request) =>
      answerList(
        database,
        config.secretKey,
        (request.params as Static<typeof account>).account,
        request.query as Static<typeof ListQuery>,
        {
          table: 'users',
          collection: 'users',
          fields: FIELDS,
          schema: User,
          view: viewUser,
        },
      ),
  );

  server.get(
    one,
    { config: { access: 'user', operators: true }, schema: { params: UserPath, querystring: GetQuery, response: { 200: User } } },
    async (request) => {
      const mask = compileReadMask<object>((request.query as Static<typeof GetQuery>).readMask, User);
      return mask(viewUser(await requireUser(database, request.params)));
    },
  );

  server.patch(
    one,
    {
      config: { access: 'admin', operators: true },
      schema: { params: UserPath, querystring: UpdateQuery, body: User, response: { 200: User } },
    },
    async (request) => {
      const changes = readChanges<User, 'email' | 'displayName' | 'role'>(request, User, {
        email: '',
        displayName: '',
        role: NOT_CLEARABLE,
      });
      const user = await requireUser(database, request.params);
      const { serviceAccount = user.service_account } = request.body as User;
      if (serviceAccount !== user.service_account)
        throw fieldError('INVALID_FIELD', 'serviceAccount', 'serviceAccount cannot be changed. Delete the user and create another.');
      return viewUser(await updateUser(database, user.account_id, user.id, changes));
    },
  );

  server.delete(
    one,
    { config: { access: 'admin', operators: true }, schema: { params: UserPath, response: { 200: Empty } } },
    async (request) => {
      const user = await requireUser(database, request.params);
      await deleteUser(database, user.account_id, user.id);
      return {};
    },
  );
}

/** @throws TemperError RESOURCE_NOT_FOUND */
export async function requireUser(database: Database, params: unknown): Promise<UserRecord> {
  const { account, user: id } = params as Static<typeof UserPath>;
  const user = await findUser(database, account, id);
  if (!user) throw notFound(account, 'users', id);
  return user;
}

function idFromEmail(email: string | undefined): string {
  const id = (email ?? '')
    .split('@')[0]!
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 63);
  if (isId(id)) return id;
  throw fieldError('MISSING_FIELD', 'userId', 'userId is missing, and there is no e-mail address to make one from.');
}

function userName(user: UserRecord): string {
  return resourceName(user.account_id, 'users', user.id);
}

function viewUser(user: UserRecord): User {
  return {
    name: userName(user),
    role: user.role,
    email: user.email,
    displayName: user.display_name,
    serviceAccount: user.service_account,
    createTime: user.create_time.toISOString(),
    updateTime: user.update_time.toISOString(),
    state: 'READY',
    status: { code: 'OK', message: '' },
  };
}
