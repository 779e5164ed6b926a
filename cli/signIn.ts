/**
 * `temper signin` and `signout`: in the browser, through the identity provider that the server names. Authorization code with
 * PKCE, answered on a port of this machine; what comes back stays here, and goes to the server in place of an API key.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { homedir } from 'node:os';
import { InvalidArgumentError, type Command } from 'commander';
import type { Configuration as Provider } from 'openid-client';
import { callApi, type Resource } from './client.js';
import { resolveServer } from './configuration.js';
import { OperationError } from './failures.js';
import { plainText } from './format.js';
import { openProvider, reasonOf, revokeSignIn } from './identityProvider.js';
import { connectionFlags, print, type GlobalOptions } from './session.js';
import { readSignIn, storeSignIn } from './signInFile.js';

/** `offline_access` asks for a token that renews the sign-in, which is why the provider asks for consent. */
const SCOPE = 'openid email profile offline_access';
const WAIT_MS = 10 * 60_000;
const CALLBACK_PATH = '/callback';

export function defineSignIn(command: Command): void {
  command
    .description('Sign in with a browser, in place of an API key')
    .option('--port <number>', 'port of this machine that the browser comes back to (default: any free one)', readPort)
    .addHelpText('after', '\nExample:\n  temper signin --api-url https://temper.example.com')
    .action(async ({ port = 0 }: { port?: number }, self: Command) => {
      const apiUrl = resolveServer(connectionFlags(self));
      const { issuer, clientId } = await askServer(apiUrl);
      const provider = await openProvider(issuer, clientId);
      const tokens = await authorize(provider, port, (url) => process.stderr.write(`Open this address in your browser:\n\n  ${url}\n\n`));
      if (!tokens.idToken) throw new OperationError('the identity provider gave no ID token: its client must be allowed the scope openid');
      storeSignIn(homedir(), apiUrl, { issuer, clientId, ...tokens, idToken: tokens.idToken });
      const who = await callApi<Resource>({ apiUrl, apiKey: tokens.idToken }, { method: 'GET', path: '/verifyApiKey' }).catch(
        (error: unknown) => {
          storeSignIn(homedir(), apiUrl, null);
          throw error;
        },
      );
      if (!self.optsWithGlobals<GlobalOptions>().quiet) print(`Signed in as ${plainText(who.email)} (${plainText(who.role)}).`);
    });
}

export function defineSignOut(command: Command): void {
  command.description('Forget the sign-in, and end it at the identity provider').action(async (_: unknown, self: Command) => {
    const apiUrl = resolveServer(connectionFlags(self));
    const signIn = readSignIn(homedir(), apiUrl);
    storeSignIn(homedir(), apiUrl, null);
    if (signIn?.refreshToken) await revokeSignIn(signIn.issuer, signIn.clientId, signIn.refreshToken);
    if (!self.optsWithGlobals<GlobalOptions>().quiet) print(signIn ? 'Signed out.' : `Nobody was signed in to ${apiUrl}.`);
  });
}

/** The server's description of itself says where to sign in. */
async function askServer(apiUrl: string): Promise<{ issuer: string; clientId: string }> {
  const description = await callApi<{ components?: { securitySchemes?: { signIn?: Record<string, string> } } }>(
    { apiUrl, apiKey: '' },
    { method: 'GET', path: '/openapi.json' },
  );
  const scheme = description.components?.securitySchemes?.signIn;
  const [issuer, clientId] = [scheme?.['x-issuer'], scheme?.['x-client-id']];
  if (issuer && clientId) return { issuer, clientId };
  throw new OperationError(`${apiUrl} has no sign-in: use an API key, which an admin of your account makes with: temper create api-key`);
}

async function authorize(
  provider: Provider,
  port: number,
  show: (url: string) => void,
): Promise<{ idToken?: string; refreshToken?: string }> {
  const { authorizationCodeGrant, buildAuthorizationUrl, calculatePKCECodeChallenge, randomNonce, randomPKCECodeVerifier, randomState } =
    await import('openid-client');
  const [verifier, state, nonce] = [randomPKCECodeVerifier(), randomState(), randomNonce()];
  const server = await listen(port);
  const redirect = `http://127.0.0.1:${(server.address() as AddressInfo).port}${CALLBACK_PATH}`;
  try {
    const address = buildAuthorizationUrl(provider, {
      redirect_uri: redirect,
      scope: SCOPE,
      prompt: 'consent',
      code_challenge: await calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      state,
      nonce,
    });
    show(address.href);
    const { url, reply } = await callback(server, redirect, state);
    try {
      const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
      const tokens = await authorizationCodeGrant(provider, url, checks);
      reply('You are signed in. You can close this window.');
      return { idToken: tokens.id_token, ...(tokens.refresh_token ? { refreshToken: tokens.refresh_token } : {}) };
    } catch (error) {
      reply('Signing in failed. The terminal says why.');
      throw new OperationError(`signing in failed: ${reasonOf(error)}`);
    }
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

async function listen(port: number): Promise<Server> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** The browser's way back. Requests without our state are not it: any page may send some here. */
function callback(server: Server, redirect: string, state: string): Promise<{ url: URL; reply(text: string): void }> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new OperationError('nobody signed in within ten minutes: try again')), WAIT_MS);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      const url = new URL(request.url ?? '/', redirect);
      if (url.pathname !== CALLBACK_PATH || url.searchParams.get('state') !== state) {
        response.writeHead(404).end();
        return;
      }
      clearTimeout(timer);
      const reply = (text: string) => {
        response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' }).end(text);
      };
      resolve({ url, reply });
    });
  });
}

function readPort(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port > 0 && port < 65_536) return port;
  throw new InvalidArgumentError('It must be a port number, 1 to 65535.');
}
