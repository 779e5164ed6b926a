/**
 * Requests a second, per account and API process, so that one account's loop leaves the others their share; and refused keys
 * per address, so that guessing costs no more than that.
 */
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { TemperError } from '../schemas/errors.js';
import type { Database } from '../stores/database.js';
import { readQuota } from '../stores/quotas.js';

/** Refused keys from one address in a minute: above what a client with an outdated key makes, whatever it retries. */
const MAX_REFUSED_KEYS = 6_000;
/** A quota that was changed holds in every process after this long. */
const QUOTA_KEPT_MS = 5_000;

export interface Rates {
  /** @throws TemperError RATE_LIMITED when the caller's account has used up this second */
  countRequest(request: FastifyRequest, reply: FastifyReply): Promise<void>;
  /** @throws TemperError RATE_LIMITED when the address has had too many keys refused */
  countRefusedKey(request: FastifyRequest, reply: FastifyReply): Promise<void>;
}

export async function openRates(server: FastifyInstance, database: Database): Promise<Rates> {
  await server.register(rateLimit, { global: false, cache: 10_000 });
  const limitOf = keptQuotas(database);
  const requests = server.createRateLimit({
    timeWindow: 1_000,
    max: (request) => limitOf(request.caller.accountId),
    keyGenerator: (request) => request.caller.accountId,
  });
  const refusedKeys = server.createRateLimit({ timeWindow: 60_000, max: MAX_REFUSED_KEYS, keyGenerator: (request) => request.ip });

  async function count(limiter: typeof requests, what: (max: number) => string, request: FastifyRequest, reply: FastifyReply) {
    const state = await limiter(request);
    if (state.isAllowed || !state.isExceeded) return;
    void reply.header('retry-after', String(Math.max(1, state.ttlInSeconds)));
    throw new TemperError('RATE_LIMITED', `${what(state.max)} Wait ${Math.max(1, state.ttlInSeconds)} s, then go on.`);
  }
  return {
    countRequest: (request, reply) =>
      count(requests, (max) => `The account's quota requests-per-second, ${max}, is used up.`, request, reply),
    countRefusedKey: (request, reply) =>
      count(refusedKeys, (max) => `More than ${max} keys from this address were refused.`, request, reply),
  };
}

/** Reads an account's quota once in a while, not with every request. */
function keptQuotas(database: Database): (accountId: string) => Promise<number> {
  const kept = new Map<string, { value: Promise<number>; until: number }>();
  return (accountId) => {
    const known = kept.get(accountId);
    if (known && known.until > Date.now()) return known.value;
    const value = readQuota(database, accountId, 'requests-per-second').then((quota) => quota.value);
    value.catch(() => kept.delete(accountId));
    kept.set(accountId, { value, until: Date.now() + QUOTA_KEPT_MS });
    return value;
  };
}
