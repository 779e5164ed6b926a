/** `~/.temper/sign-ins.json`: the tokens of who has signed in, by server. Only its owner can read it. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface StoredSignIn {
  issuer: string;
  clientId: string;
  /** Sent in place of an API key. */
  idToken: string;
  /** Gives a new ID token; absent where the provider gave none. */
  refreshToken?: string;
}

/** Undefined when nobody has signed in to the server. */
export function readSignIn(homeFolder: string, apiUrl: string): StoredSignIn | undefined {
  return readAll(homeFolder)[apiUrl];
}

/** Keeps or, with null, forgets a sign-in. Gives the file's path. */
export function storeSignIn(homeFolder: string, apiUrl: string, signIn: StoredSignIn | null): string {
  const { [apiUrl]: _before, ...others } = readAll(homeFolder);
  const all = signIn ? { ...others, [apiUrl]: signIn } : others;
  const path = pathIn(homeFolder);
  if (Object.keys(all).length === 0) {
    rmSync(path, { force: true });
    return path;
  }
  const draft = `${path}.${process.pid}`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(draft, `${JSON.stringify(all, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, path);
  return path;
}

/** A file that cannot be read has no tokens: signing in again writes it anew. */
function readAll(homeFolder: string): Record<string, StoredSignIn> {
  try {
    return JSON.parse(readFileSync(pathIn(homeFolder), 'utf8')) as Record<string, StoredSignIn>;
  } catch {
    return {};
  }
}

function pathIn(homeFolder: string): string {
  return join(homeFolder, '.temper', 'sign-ins.json');
}
