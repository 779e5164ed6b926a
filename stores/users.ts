/** Users and API keys of an account. An account always keeps an admin. */
import { sql, type Selectable } from 'kysely';
import { TemperError } from '../schemas/errors.js';
import type { ApiKeysTable, Database, UsersTable } from './database.js';

export type UserRecord = Selectable<UsersTable>;
export type ApiKeyRecord = Selectable<ApiKeysTable>;

export function findUser(database: Database, accountId: string, id: string): Promise<UserRecord | undefined> {
  return database.selectFrom('users').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}

/** Inserts, or gives the user who already has the ID. */
export async function createUser(
  database: Database,
  user: { accountId: string; id: string; email: string; displayName: string; role: string },
): Promise<UserRecord> {
  await database
    .insertInto('users')
    .values({ account_id: user.accountId, id: user.id, email: user.email, display_name: user.displayName, role: user.role })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doNothing())
    .execute();
  return (await findUser(database, user.accountId, user.id))!;
}

/** @throws TemperError ILLEGAL_STATE when the account would be left without an admin */
export function updateUser(
  database: Database,
  accountId: string,
  id: string,
  fields: { email?: string; displayName?: string; role?: string },
): Promise<UserRecord> {
  return changeUsers(database, accountId, id, fields.role !== undefined && fields.role !== 'admin', (transaction) =>
    transaction
      .updateTable('users')
      .set({
        id,
        ...(fields.email !== undefined ? { email: fields.email } : {}),
        ...(fields.displayName !== undefined ? { display_name: fields.displayName } : {}),
        ...(fields.role !== undefined ? { role: fields.role } : {}),
      })
      .where('account_id', '=', accountId)
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow(),
  );
}

/** Takes the user's keys away too. @throws TemperError ILLEGAL_STATE when the account would be left without an admin */
export async function deleteUser(database: Database, accountId: string, id: string): Promise<void> {
  await changeUsers(database, accountId, id, true, (transaction) =>
    transaction.deleteFrom('users').where('account_id', '=', accountId).where('id', '=', id).execute(),
  );
}

/** The account's row is locked, so that two admins cannot remove each other at the same time. */
function changeUsers<T>(
  database: Database,
  accountId: string,
  id: string,
  losesAdmin: boolean,
  change: (transaction: Database) => Promise<T>,
): Promise<T> {
  return database.transaction().execute(async (transaction) => {
    await transaction.selectFrom('accounts').select('id').where('id', '=', accountId).forUpdate().execute();
    if (losesAdmin) {
      const others = await transaction
        .selectFrom('users')
        .select(sql<number>`count(*)`.as('count'))
        .where('account_id', '=', accountId)
        .where('role', '=', 'admin')
        .where('id', '<>', id)
        .executeTakeFirstOrThrow();
      if (others.count === 0)
        throw new TemperError('ILLEGAL_STATE', `${id} is the account's last admin. Make another user an admin first.`);
    }
    return change(transaction);
  });
}

export interface NewApiKey {
  keyId: string;
  accountId: string;
  userId: string;
  displayName: string;
  prefix: string;
  hash: string;
  expireTime: Date | null;
}

export function createApiKey(database: Database, key: NewApiKey): Promise<ApiKeyRecord> {
  return database
    .insertInto('api_keys')
    .values({
      key_id: key.keyId,
      account_id: key.accountId,
      user_id: key.userId,
      display_name: key.displayName,
      prefix: key.prefix,
      hash: key.hash,
      expire_time: key.expireTime,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** False when the user has no such key. */
export async function deleteApiKey(database: Database, accountId: string, userId: string, keyId: string): Promise<boolean> {
  const result = await database
    .deleteFrom('api_keys')
    .where('account_id', '=', accountId)
    .where('user_id', '=', userId)
    .where('key_id', '=', keyId)
    .executeTakeFirst();
  return result.numDeletedRows > 0n;
}
