/** Replacing the deployment's secret key while secrets and API keys are under it, and what was stored before there were several. */
import { createHash, randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { createApiKey, findCallers, generateApiKey, rehashApiKeys } from '../../../stores/apiKeys.js';
import { migrate, openDatabase, type Database } from '../../../stores/database.js';
import { readSecretKeys, type SecretKeys } from '../../../stores/secretKeys.js';
import { putSecret, readSecret, reencryptSecrets } from '../../../stores/secrets.js';
import { freshId, stack } from '../../temper.js';

const [first, second] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')];
const old = readSecretKeys(first);
const both = readSecretKeys(first, second);
const fresh = readSecretKeys(second);
const name = freshId('keys').replaceAll('-', '_');
let server: Database;
let database: Database;

beforeAll(async () => {
  server = openDatabase(stack().databaseUrl);
  await sql`create database ${sql.id(name)}`.execute(server);
  const url = new URL(stack().databaseUrl);
  url.pathname = name;
  database = openDatabase(url.href);
  await migrate(database);
  await bootstrapAccount(database, old, 'ada', 'tk_first');
});
const findCaller = async (keys: SecretKeys, apiKey: string) => (await findCallers(database, keys, [apiKey])).get(apiKey);

afterAll(async () => {
  await database.destroy();
  await sql`drop database ${sql.id(name)}`.execute(server);
  await server.destroy();
});

it('secrets are read under either key, brought under the new one, and then need only that', async () => {
  await putSecret(database, old, { accountId: 'ada', id: 'token', value: 'precious' });
  expect(await readSecret(database, both, 'ada', 'token')).toBe('precious');
  await expect(readSecret(database, fresh, 'ada', 'token')).rejects.toThrow('TEMPER_SECRET_KEYS');
  expect(await reencryptSecrets(database, both)).toBe(1);
  expect(await reencryptSecrets(database, both)).toBe(0);
  expect(await readSecret(database, fresh, 'ada', 'token')).toBe('precious');
});

it('a ciphertext that was moved to another name, or changed, does not decrypt', async () => {
  await putSecret(database, fresh, { accountId: 'ada', id: 'one', value: 'value' });
  await database.updateTable('secrets').set({ id: 'two' }).where('id', '=', 'one').execute();
  await expect(readSecret(database, fresh, 'ada', 'two')).rejects.toThrow('cannot be decrypted');
});

it('API keys go on under the new key once they were used', async () => {
  const { key, stored } = generateApiKey(old);
  await createApiKey(database, { ...stored, accountId: 'ada', userId: 'admin', displayName: '', expireTime: null });
  expect(await findCaller(fresh, key)).toBeUndefined();
  expect(await findCaller(both, key)).toMatchObject({ accountId: 'ada', userId: 'admin', keyId: stored.keyId });
  expect(await findCaller(fresh, key)).toMatchObject({ keyId: stored.keyId });
  // The bootstrapped key is found under its old hash, not made again.
  await bootstrapAccount(database, both, 'ada', 'tk_first');
  expect(await findCaller(both, 'tk_first')).toBeDefined();
});

it('keys of before, stored under a plain hash, go on to work', async () => {
  const hash = createHash('sha256').update('tk_older').digest('hex');
  await sql`insert into api_keys (key_id, account_id, user_id, prefix, hash) values ('key-older', 'ada', 'admin', 'tk_olde', ${hash})`.execute(
    database,
  );
  expect(await findCaller(fresh, 'tk_older')).toBeUndefined();
  await rehashApiKeys(database, fresh);
  expect(await findCaller(fresh, 'tk_older')).toMatchObject({ keyId: 'key-older' });
});

it('says which variable holds what is no key', () => {
  expect(() => readSecretKeys('c2hvcnQ=')).toThrow('TEMPER_SECRET_KEY must hold 32 random bytes in base64');
  expect(() => readSecretKeys(first, `${second},x`)).toThrow('TEMPER_SECRET_KEYS must hold');
  expect(readSecretKeys(first, `${second},${first}`).map(({ id }) => id)).toEqual(both.map(({ id }) => id));
});
