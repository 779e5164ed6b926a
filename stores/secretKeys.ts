/**
 * The deployment's secret keys. The first encrypts secrets and keys the hashes of API keys; the others still read what they
 * once wrote, so that a key can be replaced without an interruption.
 */
import { createHash } from 'node:crypto';

export interface SecretKey {
  /** Stored beside what the key made, to find it again; tells nothing of the key. */
  id: string;
  /** 32 bytes. */
  bytes: Buffer;
}
/** The first is the current one. */
export type SecretKeys = readonly [SecretKey, ...SecretKey[]];

const KEY_BYTES = 32;

/**
 * @param current  32 bytes in base64 (TEMPER_SECRET_KEY)
 * @param list     more of them, comma-separated (TEMPER_SECRET_KEYS): these go first, and the first of all is the current one
 * @throws Error, naming the variable, for what is no such key
 */
export function readSecretKeys(current: string, list = ''): SecretKeys {
  const listed = list
    .split(',')
    .map((text) => text.trim())
    .filter((text) => text !== '')
    .map((text) => readKey(text, 'TEMPER_SECRET_KEYS'));
  const last = readKey(current, 'TEMPER_SECRET_KEY');
  const [first = last, ...rest] = listed;
  return listed.some(({ id }) => id === last.id) ? [first, ...rest] : [first, ...rest, ...(first === last ? [] : [last])];
}

/** @param id as stored; '' was written when there was only one key, so that any may be it */
export function keysById(keys: SecretKeys, id: string): readonly SecretKey[] {
  return id === '' ? keys : keys.filter((key) => key.id === id);
}

function readKey(text: string, variable: string): SecretKey {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== KEY_BYTES)
    throw new Error(`${variable} must hold ${KEY_BYTES} random bytes in base64 (openssl rand -base64 ${KEY_BYTES}), not ${bytes.length}.`);
  return { id: createHash('sha256').update('secret-key-id').update(bytes).digest('hex').slice(0, 12), bytes };
}
