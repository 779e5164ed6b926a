/**
 * Signing in through an OpenID Connect provider: its tokens in place of an API key. A token counts when the provider signed it
 * (keys from its JWKS, asymmetric algorithms only), for this deployment's client, now; and when the person is a user here.
 */
import { createHash } from 'node:crypto';
import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
import { TemperError } from '../schemas/errors.js';
import { isId } from '../schemas/names.js';
import { ROLES, type Role } from '../schemas/roles.js';
import type { Caller } from '../stores/apiKeys.js';
import type { Database } from '../stores/database.js';
import { callerOf, createSignedIn, findSignedIn, type Identity } from '../stores/signIns.js';

export interface SignInSettings {
  /** The provider, as in the tokens' `iss`: an https URL, or http on this machine. */
  issuer: string;
  clientId: string;
  /** What the `aud` of access tokens for this API says; ID tokens have the client's ID. */
  audience?: string;
  /** Role of the users that are made of people whom no account knows; absent: there are none. */
  newUserRole?: Role;
}

const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];
/** How far the clocks of the provider and of this machine may differ. */
const CLOCK_LEEWAY_SECONDS = 30;
const PROVIDER_TIMEOUT_MS = 5_000;

export interface SignIn {
  readonly settings: SignInSettings;
  /**
   * @param accountId  the account that the request is about, if it names one
   * @returns null for a token that does not count, or of somebody who is no user
   * @throws TemperError SIGN_IN_UNAVAILABLE when the provider cannot be asked for its keys
   */
  findCaller(token: string, accountId: string | undefined): Promise<Caller | null>;
}

export function openSignIn(settings: SignInSettings, database: Database, ownAccountId: string): SignIn {
  let keys: Promise<JWTVerifyGetKey> | null = null;

  async function readIdentity(token: string): Promise<Identity | null> {
    keys ??= discoverKeys(settings.issuer);
    try {
      const { payload } = await jwtVerify(token, await keys, {
        issuer: settings.issuer,
        audience: [settings.clientId, ...(settings.audience ? [settings.audience] : [])],
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_LEEWAY_SECONDS,
        requiredClaims: ['exp', 'iat', 'sub'],
      });
      return identityOf(payload, settings);
    } catch (error) {
      if (isRefusal(error)) return null;
      keys = null; // asked for anew with the next token
      throw new TemperError('SIGN_IN_UNAVAILABLE', 'The identity provider does not answer just now. Try again shortly.');
    }
  }

  return {
    settings,
    async findCaller(token, accountId) {
      const identity = await readIdentity(token);
      if (!identity) return null;
      const users = await findSignedIn(database, identity);
      const user = users.find((candidate) => candidate.account_id === accountId) ?? users[0] ?? (await makeUser(identity));
      return user ? callerOf(user, users.length > 0 ? users.map((one) => one.account_id) : [user.account_id]) : null;
    },
  };

  async function makeUser(identity: Identity) {
    if (!settings.newUserRole) return null;
    return createSignedIn(database, identity, { accountId: ownAccountId, id: userIdOf(identity), role: settings.newUserRole });
  }
}

/** The provider says itself where its keys are. They are kept for ten minutes, and asked for again when a token names an unknown one. */
async function discoverKeys(issuer: string): Promise<JWTVerifyGetKey> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const reply = await fetch(url, { signal: AbortSignal.timeout(PROVIDER_TIMEOUT_MS), redirect: 'error' });
  if (!reply.ok) throw new Error(`${url} answered ${reply.status}`);
  const { issuer: named, jwks_uri: keysUrl } = (await reply.json()) as { issuer?: unknown; jwks_uri?: unknown };
  if (named !== issuer || typeof keysUrl !== 'string') throw new Error(`${url} describes another provider`);
  return createRemoteJWKSet(new URL(keysUrl), { timeoutDuration: PROVIDER_TIMEOUT_MS });
}

/** Null for a token that was issued to another client of the same provider. */
function identityOf(payload: JWTPayload, { issuer, clientId }: SignInSettings): Identity | null {
  const { sub, azp, email, email_verified: isVerified } = payload;
  if (!sub || (azp !== undefined && azp !== clientId)) return null;
  return { issuer, subject: sub, verifiedEmail: isVerified === true && typeof email === 'string' ? email.toLowerCase() : null };
}

/** What is wrong with the token itself; anything else is the provider's. */
function isRefusal(error: unknown): boolean {
  const isProviders = error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid;
  return error instanceof errors.JOSEError && !isProviders && error.code !== errors.JOSEError.code;
}

/** From the address, with a mark of the subject: two people may share the part before the @. */
function userIdOf({ subject, verifiedEmail }: Identity): string {
  const mark = createHash('sha256').update(subject).digest('hex').slice(0, 6);
  const name = (verifiedEmail ?? '')
    .split('@')[0]!
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 50);
  return isId(name) ? `${name}-${mark}` : `user-${mark}`;
}

/** How clients learn where to sign in: from `/openapi.json`. */
export function describeSignIn({ issuer, clientId }: SignInSettings) {
  const openIdConnectUrl = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  return { type: 'openIdConnect' as const, openIdConnectUrl, 'x-issuer': issuer, 'x-client-id': clientId };
}

/**
 * Reads TEMPER_OIDC_…; null when no provider is set.
 * @throws Error, naming the variable, for settings that cannot work
 */
export function readSignInSettings(environment: NodeJS.ProcessEnv): SignInSettings | null {
  const { TEMPER_OIDC_ISSUER: issuer, TEMPER_OIDC_CLIENT_ID: clientId, TEMPER_OIDC_AUDIENCE: audience } = environment;
  if (!issuer) return null;
  if (!clientId) throw new Error('TEMPER_OIDC_ISSUER is set, so TEMPER_OIDC_CLIENT_ID must be set, too.');
  const { protocol, hostname } = URL.canParse(issuer) ? new URL(issuer) : { protocol: '', hostname: '' };
  if (protocol !== 'https:' && !(protocol === 'http:' && ['127.0.0.1', 'localhost', '[::1]'].includes(hostname)))
    throw new Error(`TEMPER_OIDC_ISSUER must be an https URL, not ${issuer}.`);
  const newUserRole = environment.TEMPER_OIDC_NEW_USER_ROLE;
  if (newUserRole && !ROLES.includes(newUserRole as Role))
    throw new Error(`TEMPER_OIDC_NEW_USER_ROLE must be one of ${ROLES.join(', ')}, not ${newUserRole}.`);
  return { issuer, clientId, ...(audience ? { audience } : {}), ...(newUserRole ? { newUserRole: newUserRole as Role } : {}) };
}
