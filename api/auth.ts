/**
 * Who calls and what they may do. Every route declares its access, or the server does not start. A resource of another
 * account is answered exactly as one that does not exist, except what the public catalogue's accounts show to everyone.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { notFound, TemperError } from '../schemas/errors.js';
import { findCaller, touchKey, type Caller } from '../stores/accounts.js';
import type { Database } from '../stores/database.js';

/** `public`: no key needed. `user`: any key of the account. `admin`: a key of an admin. */
export type Access = 'public' | 'user' | 'admin';

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller;
  }
  interface FastifyContextConfig {
    access?: Access;
    /** Also readable in the accounts of the public catalogue. */
    catalogue?: boolean;
  }
}

/** The accounts whose base models everyone may read. */
export const CATALOGUE_ACCOUNTS: readonly string[] = ['fireworks', 'temper'];

/** How often a key's last use is written down. */
const TOUCH_EVERY_MS = 60_000;

export function requireKeys(server: FastifyInstance, database: Database): void {
  const touched = new Map<string, number>();
  server.decorateRequest('caller', null as unknown as Caller);
  server.addHook('onRoute', (route) => {
    if (!route.config?.access) throw new Error(`The route ${String(route.method)} ${route.url} declares no access.`);
  });
  server.addHook('onRequest', async (request) => {
    const { access, catalogue } = request.routeOptions.config;
    if (access === 'public') return;
    const key = readKey(request);
    const caller = key ? await findCaller(database, key) : null;
    if (!caller)
      throw new TemperError('UNAUTHENTICATED', 'No valid API key. Send one with "Authorization: Bearer KEY" or "X-Api-Key: KEY".');
    request.caller = caller;
    if (Date.now() - (touched.get(caller.keyId) ?? 0) > TOUCH_EVERY_MS) {
      touched.set(caller.keyId, Date.now());
      await touchKey(database, caller.keyId);
    }
    const { account } = (request.params ?? {}) as { account?: string };
    if (account !== undefined && account !== caller.accountId && !(catalogue && CATALOGUE_ACCOUNTS.includes(account)))
      throw foreign(request);
    if (access === 'admin' && caller.role !== 'admin')
      throw new TemperError('PERMISSION_DENIED', `This needs the role admin; the key's user has the role ${caller.role}.`);
  });
}

/** Keys in the query string are not read: they would end up in logs and histories. */
function readKey(request: FastifyRequest): string | null {
  const [scheme, bearer] = (request.headers.authorization ?? '').split(' ');
  if (scheme?.toLowerCase() === 'bearer' && bearer) return bearer;
  const header = request.headers['x-api-key'];
  return typeof header === 'string' && header ? header : null;
}

function foreign(request: FastifyRequest): TemperError {
  const params = request.params as Record<string, string>;
  const account = params.account ?? '';
  const [, collection, id] = /\/accounts\/:account[^/]*\/([A-Za-z]+)\/:([A-Za-z]+)/.exec(request.routeOptions.url ?? '') ?? [];
  if (!collection || !id) return new TemperError('RESOURCE_NOT_FOUND', `accounts/${account} was not found, or you have no access to it.`);
  return notFound(account, collection, params[id] ?? '');
}
