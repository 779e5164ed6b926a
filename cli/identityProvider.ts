/** The identity provider as the command line deals with it: found, asked for new tokens, told that a sign-in is over. */
import { homedir } from 'node:os';
import type { Configuration as Provider } from 'openid-client';
import { OperationError } from './failures.js';
import { plainText } from './format.js';
import { readSignIn, storeSignIn } from './signInFile.js';

/** @throws OperationError when the issuer is not there, or no provider */
export async function openProvider(issuer: string, clientId: string): Promise<Provider> {
  const { allowInsecureRequests, discovery, None } = await import('openid-client');
  // Without encryption only on this very machine.
  const isLocal = ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(issuer).hostname);
  try {
    return await discovery(new URL(issuer), clientId, undefined, None(), isLocal ? { execute: [allowInsecureRequests] } : undefined);
  } catch (error) {
    throw new OperationError(`the identity provider ${issuer} does not answer as one: ${reasonOf(error)}`);
  }
}

/**
 * A new ID token for a sign-in that has run out.
 * @throws OperationError when it cannot be renewed
 */
export async function renewSignIn(apiUrl: string, homeFolder: string = homedir()): Promise<string> {
  const signIn = readSignIn(homeFolder, apiUrl);
  if (!signIn?.refreshToken) throw ended('it has run out');
  const { issuer, clientId, refreshToken } = signIn;
  const { refreshTokenGrant } = await import('openid-client');
  try {
    const provider = await openProvider(issuer, clientId);
    const tokens = await refreshTokenGrant(provider, refreshToken);
    if (!tokens.id_token) throw new Error('the identity provider gives no new ID token');
    // Providers that change the refresh token with every use have ended the one before.
    storeSignIn(homeFolder, apiUrl, { ...signIn, idToken: tokens.id_token, refreshToken: tokens.refresh_token ?? refreshToken });
    return tokens.id_token;
  } catch (error) {
    throw ended(reasonOf(error));
  }
}

function ended(reason: string): OperationError {
  return new OperationError(`your sign-in has ended (${reason}): sign in again with: temper signin`);
}

/** The sign-in is forgotten here in any case: a provider that does not take it back only lets it run out. */
export async function revokeSignIn(issuer: string, clientId: string, refreshToken: string): Promise<void> {
  try {
    const { tokenRevocation } = await import('openid-client');
    await tokenRevocation(await openProvider(issuer, clientId), refreshToken);
  } catch (error) {
    process.stderr.write(`The identity provider did not end the sign-in (${reasonOf(error)}): it runs out by itself.\n`);
  }
}

/** The provider's own words where it has some. */
export function reasonOf(error: unknown): string {
  const { error_description: description, error: code, message } = error as Record<string, unknown>;
  return plainText(description || code || message || String(error));
}
