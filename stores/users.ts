/** The users of an account. It always keeps an admin. */
import { sql, type Selectable } from 'kysely';
import { TemperError } from '../schemas/errors.js';
import type { Database, UsersTable } from './database.js';

export type UserRecord = Selectable<UsersTable>;

export function findUser(database: Database, accountId: string, id: string): Promise<UserRecord | undefined> {
  return database.selectFrom('users').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}

/** Inserts, or gives the user who already has the ID. */
export async function createUser(
  database: Database,
  user: { accountId: string; id: string; email: string; displayName: string; role: string; serviceAccount: boolean },
): Promise<UserRecord> {
  await database
    .insertInto('users')
    .values({
      account_id: user.accountId,
      id: user.id,
      email: user.email,
      display_name: user.displayName,
      role: user.role,
      service_account: user.serviceAccount,
      sign_in_issuer: null,
      sign_in_subject: null,
    })
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
        update_time: sql`now()`,
        // Another address is another person, who has yet to sign in.
        ...(fields.email !== undefined ? { email: fields.email, sign_in_issuer: null, sign_in_subject: null } : {}),
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
