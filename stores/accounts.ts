/** Accounts, and the first of them: made from the deployment's settings. */
import { sql, type Selectable } from 'kysely';
import { createApiKey, isApiKeyStored, storedForm } from './apiKeys.js';
import type { AccountsTable, Database } from './database.js';
import type { SecretKeys } from './secretKeys.js';

export type AccountRecord = Selectable<AccountsTable>;

/** Makes sure an account, its admin and the given key exist; what exists stays as it is. */
export async function bootstrapAccount(database: Database, secretKeys: SecretKeys, accountId: string, apiKey: string): Promise<void> {
  await createAccount(database, { id: accountId, displayName: accountId, email: `admin@${accountId}.local` });
  if (await isApiKeyStored(database, secretKeys, apiKey)) return;
  const key = storedForm(secretKeys, apiKey);
  await createApiKey(database, { ...key, accountId, userId: ADMIN, displayName: 'bootstrap', expireTime: null });
}

/** The ID of an account's first user. */
export const ADMIN = 'admin';

/** Inserts an account with its first admin, or gives the account that has the ID. */
export async function createAccount(
  database: Database,
  account: { id: string; displayName: string; email: string },
): Promise<AccountRecord> {
  return database.transaction().execute(async (transaction) => {
    await transaction
      .insertInto('accounts')
      .values({ id: account.id, display_name: account.displayName, email: account.email })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await transaction
      .insertInto('users')
      .values({
        account_id: account.id,
        id: ADMIN,
        email: account.email,
        display_name: 'Admin',
        role: 'admin',
        sign_in_issuer: null,
        sign_in_subject: null,
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    return (await findAccount(transaction, account.id))!;
  });
}

export function findAccount(database: Database, id: string): Promise<AccountRecord | undefined> {
  return database.selectFrom('accounts').selectAll().where('id', '=', id).executeTakeFirst();
}

/** True when nobody could use the account: it has no API key, whether valid or not. */
export async function hasNoApiKeys(database: Database, accountId: string): Promise<boolean> {
  const { rows } = await sql<{ found: boolean }>`select exists (select from api_keys where account_id = ${accountId}) as found`.execute(
    database,
  );
  return !rows[0]!.found;
}

/** A page of accounts by ID, of those given or, with null, of all. */
export async function listAccounts(
  database: Database,
  ids: string[] | null,
  after: string,
  limit: number,
): Promise<{ rows: AccountRecord[]; total: number; next: string | null }> {
  const matching = () => {
    const accounts = database.selectFrom('accounts');
    return ids === null ? accounts : accounts.where('id', 'in', ids);
  };
  const found = await matching()
    .selectAll()
    .where('id', '>', after)
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  const { total } = await matching()
    .select(sql<number>`count(*)`.as('total'))
    .executeTakeFirstOrThrow();
  const rows = found.slice(0, limit);
  return { rows, total, next: found.length > limit ? rows.at(-1)!.id : null };
}

export function updateAccount(database: Database, id: string, fields: { displayName?: string; email?: string }): Promise<AccountRecord> {
  return database
    .updateTable('accounts')
    .set({
      update_time: sql`now()`,
      ...(fields.displayName !== undefined ? { display_name: fields.displayName } : {}),
      ...(fields.email !== undefined ? { email: fields.email } : {}),
    })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}
