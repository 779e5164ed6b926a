/** Secrets, encrypted at rest (AES-256-GCM) under the deployment's key; only their IDs travel anywhere else. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { sql, type Selectable } from 'kysely';
import type { Database, SecretsTable } from './database.js';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** @param secretKey 32 bytes, base64 (TEMPER_SECRET_KEY) */
export async function putSecret(
  database: Database,
  secretKey: string,
  secret: { accountId: string; id: string; keyName?: string; value: string },
): Promise<void> {
  const ciphertext = encrypt(secretKey, secret.value, `${secret.accountId}/${secret.id}`);
  await database
    .insertInto('secrets')
    .values({ account_id: secret.accountId, id: secret.id, key_name: secret.keyName ?? '', ciphertext })
    .onConflict((conflict) =>
      conflict.columns(['account_id', 'id']).doUpdateSet({ ciphertext, key_name: secret.keyName ?? '', update_time: sql`now()` }),
    )
    .execute();
}

export type SecretRecord = Omit<Selectable<SecretsTable>, 'ciphertext'>;

/** That it exists, and its names: not the secret itself. */
export function findSecret(database: Database, accountId: string, id: string): Promise<SecretRecord | undefined> {
  return database
    .selectFrom('secrets')
    .select(['account_id', 'id', 'key_name', 'create_time', 'update_time'])
    .where('account_id', '=', accountId)
    .where('id', '=', id)
    .executeTakeFirst();
}

export async function readSecret(database: Database, secretKey: string, accountId: string, id: string): Promise<string | null> {
  const row = await database
    .selectFrom('secrets')
    .select('ciphertext')
    .where('account_id', '=', accountId)
    .where('id', '=', id)
    .executeTakeFirst();
  return row ? decrypt(secretKey, row.ciphertext, `${accountId}/${id}`) : null;
}

export async function deleteSecret(database: Database, accountId: string, id: string): Promise<void> {
  await database.deleteFrom('secrets').where('account_id', '=', accountId).where('id', '=', id).execute();
}

/* The secret's own name is authenticated with it, so a ciphertext moved to another row does not decrypt. */
function encrypt(secretKey: string, value: string, name: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(secretKey, 'base64'), nonce).setAAD(Buffer.from(name));
  const body = Buffer.concat([cipher.update(value, 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), body]);
}

function decrypt(secretKey: string, bytes: Buffer, name: string): string {
  const decipher = createDecipheriv('aes-256-gcm', Buffer.from(secretKey, 'base64'), bytes.subarray(0, NONCE_BYTES)).setAAD(
    Buffer.from(name),
  );
  decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8');
}
