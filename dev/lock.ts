/** A lock file that its holder's death frees: it names the process that holds it, and that process must still be running. */
import { randomUUID } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify, isRunning, type ProcessIdentity } from './processIdentity.js';

interface Holder extends ProcessIdentity {
  token: string;
}

export type LockResult = { release(): void } | { heldByPid: number };

/** Takes the lock for the life of this process, or says which process has it. */
export async function takeLock(path: string): Promise<LockResult> {
  const holder: Holder = { ...identify(process.pid)!, token: randomUUID() };
  for (;;) {
    try {
      writeFileSync(path, JSON.stringify(holder), { flag: 'wx', mode: 0o644 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const other = readHolder(path);
      if (other && isRunning(other)) return { heldByPid: other.pid };
      await sleep(other ? 0 : 50); // no content: its holder is just writing it, or died doing so
      if (readHolder(path)?.token === other?.token) rmSync(path, { force: true });
      continue;
    }
    // Two processes that found the same dead holder may both have removed its file, one of them ours: look again before believing it.
    await sleep(50);
    if (readHolder(path)?.token === holder.token) {
      return {
        release() {
          if (readHolder(path)?.token === holder.token) rmSync(path, { force: true });
        },
      };
    }
  }
}

function readHolder(path: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}
