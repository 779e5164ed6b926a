/** People who sign in through an identity provider: which of its tokens count, whom they are here, and `temper signin` from end to end. */
import { spawn, execFile } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { generateKeyPair } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootstrapAccount } from '../../../stores/accounts.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { createUser, deleteUser } from '../../../stores/users.js';
import { freshId, secretKeys, stack, type Json } from '../../temper.js';
import { browse, CLIENT_ID, startIdentityProvider, type IdentityProvider } from './identityProvider.js';
import { startApi } from './server.js';

const accountId = freshId('people');
let provider: IdentityProvider;
let database: Database;
let apiUrl: string;
let close: () => Promise<void>;

async function listen(settings: object): Promise<{ url: string; close(): Promise<void> }> {
  const api = await startApi({ signIn: { issuer: provider.issuer, clientId: CLIENT_ID, ...settings } });
  await api.server.listen({ host: '127.0.0.1', port: 0 });
  return { url: `http://127.0.0.1:${(api.server.server.address() as { port: number }).port}`, close: api.close };
}
async function whoIs(token: string, url = apiUrl): Promise<{ status: number; body: Json }> {
  const reply = await fetch(`${url}/verifyApiKey`, { headers: { authorization: `Bearer ${token}` } });
  return { status: reply.status, body: (await reply.json()) as Json };
}
const user = (id: string, email: string, more: object = {}) =>
  createUser(database, { accountId, id, email, displayName: '', role: 'user', serviceAccount: false, ...more });
const seconds = (offset: number) => Math.floor(Date.now() / 1000) + offset;

beforeAll(async () => {
  provider = await startIdentityProvider();
  database = openDatabase(stack().databaseUrl);
  await bootstrapAccount(database, secretKeys(), accountId, `tk_${randomUUID()}`);
  ({ url: apiUrl, close } = await listen({ audience: 'temper-api' }));
});
afterAll(async () => {
  await close();
  await database.destroy();
  await provider.stop();
});

describe('a token', () => {
  const subject = randomUUID();
  const email = `ada-${subject}@example.org`;
  const claims = { sub: subject, email, email_verified: true };
  beforeAll(() => user(`ada-${subject.slice(0, 8)}`, email.toUpperCase()));

  it('counts for the user with the verified address, whatever its case', async () => {
    expect(await whoIs(await provider.sign(claims))).toMatchObject({ status: 200, body: { accountId, role: 'user' } });
  });

  it('counts by the subject from then on, and as an access token for the audience of this API', async () => {
    expect((await whoIs(await provider.sign({ sub: subject }))).status).toBe(200);
    expect((await whoIs(await provider.sign({ sub: subject, aud: 'temper-api' }))).status).toBe(200);
    expect((await whoIs(await provider.sign({ sub: subject, exp: seconds(-20) }))).status).toBe(200); // clocks differ
  });

  it('does not count when anything about it is wrong, with the same answer as a wrong key', async () => {
    const { privateKey: stranger } = await generateKeyPair('RS256');
    const [header, payload] = (await provider.sign(claims)).split('.') as [string, string];
    const part = (content: object) => Buffer.from(JSON.stringify(content)).toString('base64url');
    const keys = await (await fetch(`${provider.issuer}/jwks`)).text();
    const symmetric = `${part({ alg: 'HS256', kid: 'one' })}.${payload}`;
    const wrong: Record<string, string> = {
      'another audience': await provider.sign({ ...claims, aud: 'someone-else' }),
      'another client': await provider.sign({ ...claims, azp: 'someone-else' }),
      'another issuer': await provider.sign({ ...claims, iss: 'https://elsewhere.example.org' }),
      expired: await provider.sign({ ...claims, exp: seconds(-60) }),
      'not yet valid': await provider.sign({ ...claims, nbf: seconds(120) }),
      'without an end': await provider.sign({ ...claims, exp: undefined }),
      'without a subject': await provider.sign({ ...claims, sub: undefined }),
      "another's signature": await provider.sign(claims, stranger),
      'no signature': `${part({ alg: 'none' })}.${payload}.`,
      'a signature with nothing': `${part({ alg: 'none' })}.${payload}.AAAA`,
      'signed with the public key as a secret': `${symmetric}.${createHmac('sha256', keys).update(symmetric).digest('base64url')}`,
      'another payload': `${header}.${part({ ...claims, iss: provider.issuer, aud: CLIENT_ID, exp: seconds(300), iat: seconds(0), sub: 'x' })}.AAAA`,
      'no token': 'a.b.c',
    };
    const answer = (await whoIs('tk_wrong')).body;
    for (const [what, token] of Object.entries(wrong)) expect([what, await whoIs(token)]).toEqual([what, { status: 401, body: answer }]);
  });
});

describe('a person', () => {
  it('is nobody without a verified address, nor as a service account', async () => {
    const email = `eve-${randomUUID()}@example.org`;
    await user(freshId('eve'), email);
    expect((await whoIs(await provider.sign({ sub: randomUUID(), email }))).status).toBe(401);
    expect((await whoIs(await provider.sign({ sub: randomUUID(), email, email_verified: false }))).status).toBe(401);
    const robot = `robot-${randomUUID()}@example.org`;
    await user(freshId('robot'), robot, { serviceAccount: true });
    expect((await whoIs(await provider.sign({ sub: randomUUID(), email: robot, email_verified: true }))).status).toBe(401);
  });

  it('cannot take over the user of another who had the address before', async () => {
    const email = `old-${randomUUID()}@example.org`;
    await user(freshId('old'), email);
    expect((await whoIs(await provider.sign({ sub: randomUUID(), email, email_verified: true }))).status).toBe(200);
    expect((await whoIs(await provider.sign({ sub: randomUUID(), email, email_verified: true }))).status).toBe(401);
  });

  it('is a user of several accounts, and of none once removed from the last', async () => {
    const [sub, email, other] = [randomUUID(), `two-${randomUUID()}@example.org`, freshId('second')];
    await bootstrapAccount(database, secretKeys(), other, `tk_${randomUUID()}`);
    await user('two', email);
    await createUser(database, { accountId: other, id: 'two', email, displayName: '', role: 'admin', serviceAccount: false });
    const headers = { authorization: `Bearer ${await provider.sign({ sub, email, email_verified: true })}` };
    const get = async (route: string) => fetch(`${apiUrl}/v1/accounts${route}`, { headers });
    const { accounts } = (await (await get('')).json()) as { accounts: { name: string }[] };
    expect(accounts.map(({ name }) => name)).toEqual([`accounts/${accountId}`, `accounts/${other}`].sort());
    // In each by the role there.
    expect((await get(`/${other}/auditEvents`)).status).toBe(200);
    expect((await get(`/${accountId}/auditEvents`)).status).toBe(403);
    expect((await get(`/${stack().accountId}/datasets`)).status).toBe(404);
    for (const account of [accountId, other]) await deleteUser(database, account, 'two');
    expect((await get('')).status).toBe(401);
  });

  it('becomes a user by signing in only where the deployment says so', async () => {
    const [sub, email] = [randomUUID(), `New.Person-${randomUUID()}@example.org`];
    const token = await provider.sign({ sub, email, email_verified: true });
    expect((await whoIs(token)).status).toBe(401);
    const open = await listen({ newUserRole: 'inference-user' });
    const made = await whoIs(token, open.url);
    expect(made).toMatchObject({ status: 200, body: { accountId: stack().accountId, email: email.toLowerCase(), role: 'inference-user' } });
    expect(made.body['userId']).toMatch(/^new-person-.*-[0-9a-f]{6}$/);
    expect((await whoIs(await provider.sign({ sub: randomUUID(), email: 'x@example.org' }), open.url)).status).toBe(401);
    await open.close();
    await deleteUser(database, stack().accountId, made.body['userId'] as string);
  });
});

it('says when the provider is away, and keys go on to work', async () => {
  const away = await startApi({ signIn: { issuer: 'http://127.0.0.1:9', clientId: CLIENT_ID } });
  const token = await provider.sign({ sub: 'x' });
  const reply = await away.server.inject({ url: '/verifyApiKey', headers: { authorization: `Bearer ${token}` } });
  expect([reply.statusCode, reply.json<Json>()['details'][0].reason]).toEqual([503, 'SIGN_IN_UNAVAILABLE']);
  const withKey = await away.server.inject({ url: '/verifyApiKey', headers: { authorization: `Bearer ${stack().apiKey}` } });
  expect(withKey.statusCode).toBe(200);
  await away.close();
});

describe('temper signin', () => {
  const home = mkdtempSync(path.join(tmpdir(), 'temper-signin-'));
  const login = randomUUID();
  const email = `grace-${login}@example.org`;
  const file = path.join(home, '.temper', 'sign-ins.json');
  const env = () => ({ PATH: process.env['PATH'], HOME: home, TEMPER_API_URL: apiUrl });
  const cli = path.join(import.meta.dirname, '..', '..', '..', 'cli', 'bin.js');
  const temper = (...args: string[]) => promisify(execFile)(process.execPath, [cli, ...args], { env: env(), cwd: home });
  const tokens = () => (JSON.parse(readFileSync(file, 'utf8')) as Record<string, { idToken: string; refreshToken: string }>)[apiUrl]!;

  beforeAll(async () => {
    provider.people[login] = { email, email_verified: true };
    await user(freshId('grace'), email);
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  it('signs in by the browser, and later commands go on from there', async () => {
    const child = spawn(process.execPath, [cli, 'signin'], { env: env(), cwd: home });
    let [shown, said] = ['', ''];
    child.stderr.on('data', (chunk: Buffer) => (shown += chunk.toString()));
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await expect.poll(() => /http\S+code_challenge\S+/.test(shown), { timeout: 30_000 }).toBe(true);
    const address = /http\S+/.exec(shown)![0];
    expect(new URL(address).searchParams.get('code_challenge_method')).toBe('S256');
    // Another page of the browser, which does not know the state, gets nowhere.
    const redirect = new URL(address).searchParams.get('redirect_uri')!;
    expect((await fetch(`${redirect}?code=guessed&state=guessed`)).status).toBe(404);
    const page = await browse(address, login, (url) => url.startsWith(redirect));
    expect(page).toContain('You are signed in');
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
    expect(said).toContain(`Signed in as ${email} (user).`);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect((await temper('whoami', '-o', 'json')).stdout).toContain(email);
  });

  it('renews a token that has run out, unasked', async () => {
    const before = tokens();
    const expired = await provider.sign({ sub: login, exp: seconds(-60) });
    writeFileSync(file, JSON.stringify({ [apiUrl]: { ...JSON.parse(readFileSync(file, 'utf8'))[apiUrl], idToken: expired } }));
    expect((await temper('whoami', '-o', 'json')).stdout).toContain(email);
    expect([expired, before.idToken]).not.toContain(tokens().idToken);
  });

  it('signs out here and there', async () => {
    const { refreshToken } = tokens();
    expect((await temper('signout')).stdout).toContain('Signed out.');
    const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken, client_id: CLIENT_ID });
    expect((await fetch(`${provider.issuer}/token`, { method: 'POST', body })).status).toBe(400);
    await expect(temper('whoami')).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('temper signin') as string });
  });

  it('says so when the server has no sign-in', async () => {
    const signin = promisify(execFile)(process.execPath, [cli, 'signin'], { env: { ...env(), TEMPER_API_URL: stack().apiUrl } });
    await expect(signin).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('has no sign-in: use an API key') as string });
  });
});
