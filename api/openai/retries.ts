/**
 * Making what was asked for once, although clients ask again when an answer is lost. OpenAI's clients send no idempotency key, but
 * say which requests are repetitions: those are given what the same request made a short while ago.
 */
import type { FastifyRequest } from 'fastify';

/** Their clients give up waiting for an answer after ten minutes. */
export const REPEATED_WITHIN_SECONDS = 600;

export function isRepetition(request: FastifyRequest): boolean {
  const count = request.headers['x-stainless-retry-count'];
  return typeof count === 'string' && /^[1-9][0-9]{0,3}$/.test(count);
}
