/**
 * Which run has a Temper home, and which processes it started: so that a second run on it says so, and a run after a `kill -9`
 * ends what the killed one left before it takes the same files and ports.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readJson, writeJson } from './jsonFile.js';
import { takeLock } from './lock.js';
import { identify, isRunning, type ProcessIdentity } from './processIdentity.js';
import type { Progress } from './progress.js';

type Recorded = Record<string, ProcessIdentity>;

export interface RunRecord {
  /** Remembers the process that now has this name. */
  record(name: string, pid: number): void;
  /** Gives the home back: everything recorded has ended. */
  close(): void;
}

/** Takes the home for this process. Rejects when a living run has it. */
export async function openRunRecord(home: string, progress: Progress): Promise<RunRecord> {
  const lock = await takeLock(join(home, 'run.lock'));
  if ('heldByPid' in lock) {
    throw new Error(
      `A Temper stack is already running on ${home} (pid ${lock.heldByPid}); ${join(home, 'dev.json')} says where. ` +
        'Stop it first, or set TEMPER_HOME to another folder for a second one.',
    );
  }
  const path = join(home, 'run.json');
  await endLeftovers(readJson<Recorded>(path) ?? {}, progress);
  const recorded: Recorded = {};
  writeJson(path, recorded);
  return {
    record(name, pid) {
      const identity = identify(pid);
      if (!identity) return; // already dead: the supervisor is about to hear of it
      recorded[name] = identity;
      writeJson(path, recorded);
    },
    close() {
      rmSync(path, { force: true });
      lock.release();
    },
  };
}

async function endLeftovers(recorded: Recorded, progress: Progress): Promise<void> {
  for (const [name, identity] of Object.entries(recorded)) {
    if (!isRunning(identity)) continue;
    progress(`Ending ${name} (pid ${identity.pid}), left by a run that was killed`);
    for (const target of [-identity.pid, identity.pid]) {
      try {
        process.kill(target, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EPERM') {
          throw new Error(`${name} (pid ${identity.pid}) was left by a run of another user; end it as that user.`);
        }
      }
    }
    const deadlineMs = Date.now() + 10_000;
    while (isRunning(identity)) {
      if (Date.now() > deadlineMs) throw new Error(`${name} (pid ${identity.pid}), left by a run that was killed, does not end.`);
      await sleep(50);
    }
  }
}
