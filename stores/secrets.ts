/** Secrets, encrypted at rest (AES-256-GCM) under the deployment's current key; only their IDs travel anywhere else. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { sql, type Selectable } from 'kysely';
import type { Database, SecretsTable } from './database.js';
import { keysById, type SecretKey, type SecretKeys } from './secretKeys.js';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export async function putSecret(
  database: Database,
  secretKeys: SecretKeys,
  secret: { accountId: string; id: string; keyName?: string; value: string },
): Promise<void> {
  const [key] = secretKeys;
  const ciphertext = encrypt(key, secret.value, nameOf(secret.accountId, secret.id));
  const fields = { ciphertext, secret_key_id: key.id, key_name: secret.keyName ?? '' };
  await database
    .insertInto('secrets')
    .values({ account_id: secret.accountId, id: secret.id, ...fields })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doUpdateSet({ ...fields, update_time: sql`now()` }))
    .execute();
}

export type SecretRecord = Omit<Selectable<SecretsTable>, 'ciphertext' | 'secret_key_id'>;

/** That it exists, and its names: not the secret itself. */
export function findSecret(database: Database, accountId: string, id: string): Promise<SecretRecord | undefined> {
  return database
    .selectFrom('secrets')
    .select(['account_id', 'id', 'key_name', 'create_time', 'update_time'])
    .where('account_id', '=', accountId)
    .where('id', '=', id)
    .executeTakeFirst();
}

/** @throws Error when none of the keys decrypts it: the one that encrypted it is missing, or the row was tampered with */
export async function readSecret(database: Database, secretKeys: SecretKeys, accountId: string, id: string): Promise<string | null> {
  const row = await database
    .selectFrom('secrets')
    .select(['ciphertext', 'secret_key_id'])
    .where('account_id', '=', accountId)
    .where('id', '=', id)
    .executeTakeFirst();
  return row ? decrypt(keysById(secretKeys, row.secret_key_id), row.ciphertext, nameOf(accountId, id)) : null;
}

export async function deleteSecret(database: Database, accountId: string, id: string): Promise<void> {
  await database.deleteFrom('secrets').where('account_id', '=', accountId).where('id', '=', id).execute();
}

/** Brings every secret under the current key, so that older ones can be taken away. Gives how many there were to bring. */
export async function reencryptSecrets(database: Database, secretKeys: SecretKeys): Promise<number> {
  const [current] = secretKeys;
  const rows = await database.selectFrom('secrets').selectAll().where('secret_key_id', '<>', current.id).execute();
  for (const row of rows) {
    const name = nameOf(row.account_id, row.id);
    const ciphertext = encrypt(current, decrypt(keysById(secretKeys, row.secret_key_id), row.ciphertext, name), name);
    await database
      .updateTable('secrets')
      .set({ ciphertext, secret_key_id: current.id })
      .where('account_id', '=', row.account_id)
      .where('id', '=', row.id)
      // Written anew meanwhile: then under the current key.
      .where('ciphertext', '=', row.ciphertext)
      .execute();
  }
  return rows.length;
}

/* The secret's own name is authenticated with it, so a ciphertext moved to another row does not decrypt. */
function nameOf(accountId: string, id: string): string {
  return `${accountId}/${id}`;
}

function encrypt(key: SecretKey, value: string, name: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key.bytes, nonce).setAAD(Buffer.from(name));
  const body = Buffer.concat([cipher.update(value, 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), body]);
}

function decrypt(keys: readonly SecretKey[], bytes: Buffer, name: string): string {
  let reason: unknown = new Error('the key that encrypted it is not in TEMPER_SECRET_KEYS');
  for (const key of keys) {
    try {
      const decipher = createDecipheriv('aes-256-gcm', key.bytes, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(name)).setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
      return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8');
    } catch (error) {
      reason = error;
    }
  }
  throw new Error(`The secret ${name} cannot be decrypted: ${(reason as Error).message}`, { cause: reason });
}
