/**
 * Who calls and what they may do. Every route declares its access, or the server does not start. A resource of another
 * account is answered exactly as one that does not exist, except what the public catalogue's accounts show to everyone, and
 * what operators manage.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { notFound, TemperError } from '../schemas/errors.js';
import { hasPermission, PERMISSIONS, type Permission } from '../schemas/roles.js';
import { findAccount } from '../stores/accounts.js';
import { findCallers, type Caller } from '../stores/apiKeys.js';
import { batchLookups } from './batchedLookup.js';
import type { Rates } from './rates.js';
import type { ApiDependencies } from './server.js';
import { openSignIn } from './signIn.js';

/** What a caller must be allowed to do (schemas/roles.ts); `public`: nothing, no key is needed. */
export type Access = 'public' | Permission;

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller;
    /** True where an operator acts on another account. */
    isManaged: boolean;
  }
  interface FastifyContextConfig {
    access?: Access;
    /** Also readable in the accounts of the public catalogue. */
    catalogue?: boolean;
    /** Operators may do it in every account. */
    operators?: boolean;
  }
}

/** The accounts whose base models everyone may read. */
export const CATALOGUE_ACCOUNTS: readonly string[] = ['fireworks', 'temper'];

/** Where people read the reference: as public as the document that it shows. */
export const REFERENCE_PATH = '/docs';

/** An API key has no dots; a signed token is three parts with one between each. */
const SIGNED_TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export function requireKeys(server: FastifyInstance, { database, config }: ApiDependencies, rates: Rates): void {
  const signIn = config.signIn ? openSignIn(config.signIn, database, config.operatorAccountId) : null;
  const findByKey = batchLookups((keys) => findCallers(database, config.secretKeys, keys));
  server.decorateRequest('caller', null as unknown as Caller);
  server.decorateRequest('isManaged', false);
  server.addHook('onRoute', (route) => {
    if (route.url === REFERENCE_PATH || route.url.startsWith(`${REFERENCE_PATH}/`)) route.config = { access: 'public', ...route.config };
    if (!route.config?.access) throw new Error(`The route ${String(route.method)} ${route.url} declares no access.`);
  });
  server.addHook('onRequest', async (request, reply) => {
    const { access, catalogue, operators } = request.routeOptions.config;
    if (access === 'public' || access === undefined) return; // undefined: no such route
    const key = readKey(request);
    const { account } = (request.params ?? {}) as { account?: string };
    const find = async (given: string) => (signIn && SIGNED_TOKEN.test(given) ? signIn.findCaller(given, account) : findByKey(given));
    const caller = key ? await find(key) : null;
    if (!caller) {
      await rates.countRefusedKey(request, reply);
      throw new TemperError('UNAUTHENTICATED', 'No valid API key. Send one with "Authorization: Bearer KEY" or "X-Api-Key: KEY".');
    }
    request.caller = caller;
    await rates.countRequest(request, reply);
    if (account !== undefined && account !== caller.accountId) {
      const mayManage = operators === true && isOperator(caller, config.operatorAccountId);
      request.isManaged = mayManage && (await findAccount(database, account)) !== undefined;
      if (!request.isManaged && !(catalogue && CATALOGUE_ACCOUNTS.includes(account))) throw foreign(request);
    }
    requirePermission(caller, access, config.operatorAccountId);
  });
}

/** @throws TemperError PERMISSION_DENIED */
function requirePermission(caller: Caller, permission: Permission, operatorAccountId: string): void {
  if (permission === 'operator' && !isOperator(caller, operatorAccountId))
    throw new TemperError('PERMISSION_DENIED', 'This is for operators: admins of the deployment’s own account.');
  if (hasPermission(caller.role, permission)) return;
  const roles = PERMISSIONS[permission].join(' or ');
  throw new TemperError('PERMISSION_DENIED', `This needs the role ${roles}; the key's user has the role ${caller.role}.`);
}

export function isOperator(caller: Caller, operatorAccountId: string): boolean {
  return caller.accountId === operatorAccountId && hasPermission(caller.role, 'operator');
}

/** What `/openapi.json` says of a route: the permission it needs and the roles that have it. */
export function describeAccess(access: Access): object {
  return access === 'public' ? { security: [] } : { 'x-permission': access, 'x-roles': PERMISSIONS[access] };
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
