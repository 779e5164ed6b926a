/**
 * Page tokens: opaque, bound to the account and the query that issued them, and tamper-evident. A token is the keyset position
 * in the clear under a MAC; it holds nothing that its owner has not just been shown.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { fieldError } from '../schemas/errors.js';
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from '../schemas/limits.js';

const MAC_BYTES = 16;

/** What a token is good for: the account, the list and the parameters that decide its order. */
export type TokenBinding = readonly string[];

/** @param secretKey the deployment's key (base64); the tokens' own is derived from it */
export function sealPageToken(secretKey: string, binding: TokenBinding, position: string[]): string {
  const payload = Buffer.from(JSON.stringify(position));
  return `${payload.toString('base64url')}.${mac(secretKey, binding, payload).toString('base64url')}`;
}

/** @throws TemperError INVALID_PAGE_TOKEN for a token that was altered, or issued for another account, list, filter or order */
export function openPageToken(secretKey: string, binding: TokenBinding, token: string): string[] {
  const [payloadText = '', macText = '', ...rest] = token.split('.');
  const payload = Buffer.from(payloadText, 'base64url');
  const given = Buffer.from(macText, 'base64url');
  const expected = mac(secretKey, binding, payload);
  if (rest.length > 0 || given.length !== expected.length || !timingSafeEqual(given, expected)) {
    throw fieldError(
      'INVALID_PAGE_TOKEN',
      'pageToken',
      'pageToken is not one that a call with the same account, filter and orderBy gave. Start again without it.',
    );
  }
  return JSON.parse(payload.toString()) as string[];
}

/** 50 when absent, more than 200 means 200. @throws TemperError INVALID_PAGE_SIZE */
export function parsePageSize(pageSize: string | undefined): number {
  if (pageSize === undefined || pageSize === '' || pageSize === '0') return DEFAULT_PAGE_SIZE;
  if (!/^[0-9]{1,10}$/.test(pageSize))
    throw fieldError(
      'INVALID_PAGE_SIZE',
      'pageSize',
      `pageSize must be a whole number from 1 to ${MAX_PAGE_SIZE}, not ${JSON.stringify(pageSize.slice(0, 40))}`,
    );
  return Math.min(Number(pageSize), MAX_PAGE_SIZE);
}

function mac(secretKey: string, binding: TokenBinding, payload: Buffer): Buffer {
  const key = createHmac('sha256', Buffer.from(secretKey, 'base64')).update('page-token').digest();
  const query = createHash('sha256').update(JSON.stringify(binding)).digest();
  return createHmac('sha256', key).update(query).update(payload).digest().subarray(0, MAC_BYTES);
}
