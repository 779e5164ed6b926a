/**
 * Which server, key and account a command uses: flags, then the environment, then ~/.temper/config.json, then a running local
 * stack. Who has signed in to the server needs no key, and one from a flag or the environment goes before.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { UsageError } from './failures.js';
import { readSignIn } from './signInFile.js';

export interface Configuration {
  /** Without a slash at the end. */
  apiUrl: string;
  apiKey: string;
  /** Absent: the account the key belongs to. */
  accountId?: string;
  /** True: the key is the token of a sign-in, which runs out and can be renewed. */
  isSignIn?: boolean;
}
type Setting = 'apiUrl' | 'apiKey' | 'accountId';
export type PartialConfiguration = Partial<Record<Setting, string>>;

/** Temper's own names first, then those of the published client. */
const VARIABLES: Record<Setting, readonly string[]> = {
  apiUrl: ['TEMPER_API_URL', 'FIREWORKS_BASE_URL'],
  apiKey: ['TEMPER_API_KEY', 'FIREWORKS_API_KEY'],
  accountId: ['TEMPER_ACCOUNT_ID', 'FIREWORKS_ACCOUNT_ID'],
};

export interface Surroundings {
  environment: NodeJS.ProcessEnv;
  homeFolder: string;
  workingFolder: string;
}
const HERE: Surroundings = { environment: process.env, homeFolder: homedir(), workingFolder: process.cwd() };

/** @throws UsageError when no server or no key is configured anywhere */
export function resolveConfiguration(flags: PartialConfiguration, surroundings: Surroundings = HERE): Configuration {
  const { given, stored } = findSettings(flags, surroundings);
  const apiUrl = requireServer(given('apiUrl') ?? stored('apiUrl'));
  const accountId = given('accountId') ?? stored('accountId');
  const givenKey = given('apiKey');
  const signIn = givenKey ? undefined : readSignIn(surroundings.homeFolder, apiUrl);
  if (signIn) return { apiUrl, apiKey: signIn.idToken, accountId: given('accountId'), isSignIn: true };
  const apiKey = givenKey ?? stored('apiKey');
  if (!apiKey)
    throw new UsageError(
      'no API key is configured: set TEMPER_API_KEY, give --api-key, store one with "temper set-api-key KEY", or sign in with "temper signin"',
    );
  return { apiUrl, apiKey, accountId };
}

/** The server alone, for commands that need no key. @throws UsageError when none is configured anywhere */
export function resolveServer(flags: PartialConfiguration, surroundings: Surroundings = HERE): string {
  const { given, stored } = findSettings(flags, surroundings);
  return requireServer(given('apiUrl') ?? stored('apiUrl'));
}

/** Where each setting is looked for: what was given for this command, and what is kept for all. */
function findSettings(flags: PartialConfiguration, { environment, homeFolder, workingFolder }: Surroundings) {
  const kept = readSettings(join(homeFolder, '.temper', 'config.json'), true);
  // The local stack is looked for only when something is missing: its file may be anywhere above.
  let stack: PartialConfiguration | undefined;
  const given = (setting: Setting): string | undefined => {
    const variable = VARIABLES[setting].find((name) => environment[name]);
    return flags[setting] || (variable && environment[variable]) || undefined;
  };
  const stored = (setting: Setting): string | undefined =>
    kept[setting] || (stack ??= readStack(environment, workingFolder))[setting] || undefined;
  return { given, stored };
}

function requireServer(apiUrl: string | undefined): string {
  if (!apiUrl) {
    throw new UsageError(
      'no server is configured: start one with "npm run dev" in the repository, or set TEMPER_API_URL (or --api-url) to the address of yours',
    );
  }
  if (!/^https?:\/\/[^/]/.test(apiUrl))
    throw new UsageError(`"${apiUrl}" is not the address of a server: it must begin with http:// or https://`);
  return apiUrl.replace(/\/+$/, '');
}

/** Keeps settings for all later commands; what is not given stays. Gives the file's path. */
export function storeConfiguration(settings: PartialConfiguration, homeFolder: string = homedir()): string {
  const path = join(homeFolder, '.temper', 'config.json');
  const draft = `${path}.${process.pid}`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(draft, `${JSON.stringify({ ...readSettings(path, true), ...settings }, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, path);
  return path;
}

function readStack(environment: NodeJS.ProcessEnv, workingFolder: string): PartialConfiguration {
  if (environment.TEMPER_HOME) return readSettings(join(environment.TEMPER_HOME, 'dev.json'), false);
  for (let folder = workingFolder; ; folder = dirname(folder)) {
    const settings = readSettings(join(folder, '.temper', 'dev.json'), false);
    if (settings.apiUrl || folder === dirname(folder)) return settings;
  }
}

/** Only the three settings, only as text. A file that is not there has none; one that cannot be read is an error when it is the user's own. */
function readSettings(path: string, isUsers: boolean): PartialConfiguration {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const missing = ['ENOENT', 'ENOTDIR', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '');
    if (!isUsers || missing) return {};
    throw new UsageError(`${path} cannot be read (${(error as Error).message}): correct it or remove it`);
  }
  const settings: PartialConfiguration = {};
  for (const name of Object.keys(VARIABLES) as Setting[]) {
    const value = (content as Record<string, unknown> | null)?.[name];
    if (typeof value === 'string' && value) settings[name] = value;
  }
  return settings;
}
