/**
 * Creating twice is creating once. A resource's ID is the key: the same body gives the resource that is there, another body a
 * conflict. An `Idempotency-Key` header does the same for requests without an ID, whose ID is then made from the key.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { fieldError, TemperError } from '../schemas/errors.js';
import type { Database } from '../stores/database.js';
import { claimIdempotencyKey } from '../stores/idempotencyKeys.js';

const HEADER = 'idempotency-key';

/** A keyed hash of the request's canonical JSON: bodies may hold secrets, and a plain hash would let them be guessed offline. */
export function requestHash(secretKey: string, collection: string, body: unknown): string {
  return createHmac('sha256', Buffer.from(secretKey, 'base64'))
    .update(`request ${collection} ${canonicalJson(body)}`)
    .digest('hex');
}

/**
 * The header's value, remembered with the request it came with; null without one.
 * @throws TemperError IDEMPOTENCY_KEY_REUSED when it came with another request before
 */
export async function readIdempotencyKey(request: FastifyRequest, database: Database, hash: string): Promise<string | null> {
  const key = request.headers[HEADER];
  if (key === undefined) return null;
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key))
    throw fieldError('INVALID_FIELD', 'Idempotency-Key', 'Idempotency-Key must be 1 to 255 printable ASCII characters without spaces.');
  if (!(await claimIdempotencyKey(database, request.caller.accountId, key, hash))) {
    throw new TemperError('IDEMPOTENCY_KEY_REUSED', 'This Idempotency-Key was used with another request. Use a new key for a new request.');
  }
  return key;
}

/** An ID for a resource whose creator gave none: random, or, with an idempotency key, always the same. */
export function makeId(prefix: string, idempotencyKey: string | null, accountId: string, secretKey: string): string {
  const bytes =
    idempotencyKey === null
      ? randomBytes(8)
      : createHmac('sha256', Buffer.from(secretKey, 'base64')).update(`id ${accountId} ${idempotencyKey}`).digest().subarray(0, 8);
  return `${prefix}-${BigInt(`0x${bytes.toString('hex')}`)
    .toString(36)
    .padStart(13, '0')}`;
}

/** @throws TemperError RESOURCE_ALREADY_EXISTS when what is there was made by another request */
export function requireSameRequest(existingHash: string | null, hash: string, name: string): void {
  if (existingHash === hash) return;
  throw new TemperError(
    'RESOURCE_ALREADY_EXISTS',
    `${name} already exists, made by a different request. Choose another ID, or delete it first.`,
  );
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
