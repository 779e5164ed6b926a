/**
 * API keys and who they belong to. A key is 256 random bits, shown once; what is kept is its hash under the deployment's key,
 * so that a copy of the database neither holds a key nor lets a guess be checked. Every request looks its key up anew: one
 * that was revoked, in whichever process, is refused from the next request on.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { sql, type Selectable } from 'kysely';
import type { ApiKeysTable, Database } from './database.js';
import type { SecretKey, SecretKeys } from './secretKeys.js';

export type ApiKeyRecord = Selectable<ApiKeysTable>;

export interface Caller {
  accountId: string;
  userId: string;
  email: string;
  role: string;
  /** What the caller came with: an API key's ID, or `sign-in`. */
  keyId: string;
  /** The accounts that the caller may choose from: a key has one. */
  accountIds: string[];
}

/** How often a key's last use is written down. */
const TOUCH_EVERY_SECONDS = 60;

/** A new key's text and what is stored of it. */
export function generateApiKey(secretKeys: SecretKeys): { key: string; stored: StoredKey } {
  const key = `tk_${randomBytes(32).toString('base64url')}`;
  return { key, stored: storedForm(secretKeys, key) };
}

export interface StoredKey {
  keyId: string;
  prefix: string;
  hash: string;
  secretKeyId: string;
}

/** What is stored of a given key. */
export function storedForm(secretKeys: SecretKeys, key: string): StoredKey {
  const [current] = secretKeys;
  const hash = hashKey(current, key);
  return { keyId: `key-${hash.slice(0, 16)}`, prefix: key.slice(0, 7), hash, secretKeyId: current.id };
}

export interface NewApiKey extends StoredKey {
  accountId: string;
  userId: string;
  displayName: string;
  expireTime: Date | null;
}

/** Undefined when this very key is stored already. */
export function createApiKey(database: Database, key: NewApiKey): Promise<ApiKeyRecord | undefined> {
  return database
    .insertInto('api_keys')
    .values({
      key_id: key.keyId,
      account_id: key.accountId,
      user_id: key.userId,
      display_name: key.displayName,
      prefix: key.prefix,
      hash: key.hash,
      secret_key_id: key.secretKeyId,
      expire_time: key.expireTime,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst();
}

/** Who these keys belong to, without those that are unknown, revoked or expired. Notes the use of each, once a minute at most. */
export async function findCallers(database: Database, secretKeys: SecretKeys, apiKeys: string[]): Promise<Map<string, Caller>> {
  const [current] = secretKeys;
  const keyOfHash = new Map(apiKeys.flatMap((apiKey) => hashes(secretKeys, apiKey).map((hash) => [hash, apiKey] as const)));
  const rows = await database
    .selectFrom('api_keys')
    .innerJoin('users', (join) => join.onRef('users.account_id', '=', 'api_keys.account_id').onRef('users.id', '=', 'api_keys.user_id'))
    .select([
      'api_keys.hash',
      'api_keys.key_id',
      'api_keys.account_id',
      'api_keys.user_id',
      'api_keys.secret_key_id',
      'users.email',
      'users.role',
      sql<boolean>`coalesce(api_keys.last_used_time < now() - make_interval(secs => ${TOUCH_EVERY_SECONDS}), true)`.as('is_touch_due'),
    ])
    .where('api_keys.hash', 'in', [...keyOfHash.keys()])
    .where(sql<boolean>`coalesce(api_keys.expire_time > now(), true)`)
    .execute();
  const callers = new Map<string, Caller>();
  for (const row of rows) {
    const apiKey = keyOfHash.get(row.hash)!;
    if (row.is_touch_due || row.secret_key_id !== current.id) await touchKey(database, row.key_id, current, apiKey);
    callers.set(apiKey, {
      accountId: row.account_id,
      userId: row.user_id,
      email: row.email,
      role: row.role,
      keyId: row.key_id,
      accountIds: [row.account_id],
    });
  }
  return callers;
}

/** Whether a key is known, under whichever of the deployment's keys. */
export async function isApiKeyStored(database: Database, secretKeys: SecretKeys, apiKey: string): Promise<boolean> {
  const row = await database.selectFrom('api_keys').select('key_id').where('hash', 'in', hashes(secretKeys, apiKey)).executeTakeFirst();
  return row !== undefined;
}

/** Also brings the hash under the current key: only now is the key's text at hand. */
async function touchKey(database: Database, keyId: string, current: SecretKey, apiKey: string): Promise<void> {
  await database
    .updateTable('api_keys')
    .set({ last_used_time: sql`now()`, hash: hashKey(current, apiKey), secret_key_id: current.id })
    .where('key_id', '=', keyId)
    .execute();
}

/** Hashes of before 0006_access.sql had no key; the present ones are the same under one, so that no key has to be made anew. */
export async function rehashApiKeys(database: Database, secretKeys: SecretKeys): Promise<void> {
  const [current] = secretKeys;
  const rows = await database.selectFrom('api_keys').select(['key_id', 'hash']).where('secret_key_id', '=', '').execute();
  for (const row of rows) {
    await database
      .updateTable('api_keys')
      .set({ hash: keyedHash(current, row.hash), secret_key_id: current.id })
      .where('key_id', '=', row.key_id)
      .where('secret_key_id', '=', '')
      .execute();
  }
}

export function findApiKey(database: Database, accountId: string, userId: string, keyId: string): Promise<ApiKeyRecord | undefined> {
  return database
    .selectFrom('api_keys')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('user_id', '=', userId)
    .where('key_id', '=', keyId)
    .executeTakeFirst();
}

export async function updateApiKey(
  database: Database,
  key: ApiKeyRecord,
  fields: { displayName?: string; expireTime?: Date | null },
): Promise<ApiKeyRecord | undefined> {
  return database
    .updateTable('api_keys')
    .set({
      key_id: key.key_id,
      ...(fields.displayName !== undefined ? { display_name: fields.displayName } : {}),
      ...(fields.expireTime !== undefined ? { expire_time: fields.expireTime } : {}),
    })
    .where('key_id', '=', key.key_id)
    .returningAll()
    .executeTakeFirst();
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

function hashes(secretKeys: SecretKeys, apiKey: string): string[] {
  return secretKeys.map((key) => hashKey(key, apiKey));
}

function hashKey(key: SecretKey, apiKey: string): string {
  return keyedHash(key, createHash('sha256').update(apiKey).digest('hex'));
}

function keyedHash(key: SecretKey, hash: string): string {
  return createHmac('sha256', key.bytes).update(`api-key ${hash}`).digest('hex');
}
