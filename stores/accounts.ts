/** Accounts, users and API keys. A key is shown once; only its hash is kept. */
import { createHash, randomBytes } from 'node:crypto';
import { sql, type Selectable } from 'kysely';
import type { AccountsTable, Database } from './database.js';

export interface Caller {
  accountId: string;
  userId: string;
  email: string;
  role: string;
  keyId: string;
}

/** Makes sure the first account, its admin and the given key exist; an existing key stays as it is. */
export async function bootstrapAccount(database: Database, accountId: string, apiKey: string): Promise<void> {
  const email = `admin@${accountId}.local`;
  await database
    .insertInto('accounts')
    .values({ id: accountId, display_name: accountId, email })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await database
    .insertInto('users')
    .values({ account_id: accountId, id: 'admin', email, display_name: 'Admin', role: 'admin' })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await database
    .insertInto('api_keys')
    .values({
      key_id: `key-${hashKey(apiKey).slice(0, 16)}`,
      account_id: accountId,
      user_id: 'admin',
      display_name: 'bootstrap',
      prefix: apiKey.slice(0, 7),
      hash: hashKey(apiKey),
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Who a key belongs to; null when it is unknown, revoked or expired. Keys are 256 random bits, so a plain hash is enough. */
export async function findCaller(database: Database, apiKey: string): Promise<Caller | null> {
  const row = await database
    .selectFrom('api_keys')
    .innerJoin('users', (join) => join.onRef('users.account_id', '=', 'api_keys.account_id').onRef('users.id', '=', 'api_keys.user_id'))
    .select(['api_keys.key_id', 'api_keys.account_id', 'api_keys.user_id', 'users.email', 'users.role', 'api_keys.expire_time'])
    .where('api_keys.hash', '=', hashKey(apiKey))
    .executeTakeFirst();
  if (!row || (row.expire_time && row.expire_time.getTime() <= Date.now())) return null;
  return { accountId: row.account_id, userId: row.user_id, email: row.email, role: row.role, keyId: row.key_id };
}

export async function findAccount(database: Database, id: string): Promise<Selectable<AccountsTable>> {
  return database.selectFrom('accounts').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}

export async function touchKey(database: Database, keyId: string): Promise<void> {
  await database
    .updateTable('api_keys')
    .set({ last_used_time: sql`now()` })
    .where('key_id', '=', keyId)
    .execute();
}

/** A new key's text and what is stored of it. */
export function generateApiKey(): { key: string; keyId: string; prefix: string; hash: string } {
  const key = `tk_${randomBytes(32).toString('base64url')}`;
  return { key, keyId: `key-${hashKey(key).slice(0, 16)}`, prefix: key.slice(0, 7), hash: hashKey(key) };
}

function hashKey(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}
