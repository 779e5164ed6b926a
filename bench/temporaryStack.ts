/** A stack of a benchmark's own, in a folder that goes with it. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { postgresFolder } from '../dev/postgres.js';
import { prepare, type Prepared } from '../dev/prepare.js';
import { startStack, type Stack } from '../dev/stack.js';

export interface TemporaryStack extends Prepared {
  stack: Stack;
  /** Scratch is free to lie here: it is removed with the stack. */
  home: string;
  /** Stops every process and removes what they left. */
  close(): Promise<void>;
}

export async function startTemporaryStack(): Promise<TemporaryStack> {
  const progress = (line: string) => console.error(line);
  const prepared = await prepare(progress);
  const home = mkdtempSync(path.join(tmpdir(), 'temper-bench-'));
  // Postgres may run as another user, who must reach its folder.
  chmodSync(home, 0o711);
  const remove = () => {
    rmSync(postgresFolder(home), { recursive: true, force: true });
    rmSync(home, { recursive: true, force: true });
  };
  try {
    const stack = await startStack({ home, progress, port: 0, baseModel: prepared.baseModel });
    const close = async () => {
      await stack.stop();
      remove();
    };
    return { ...prepared, stack, home, close };
  } catch (error) {
    remove();
    throw error;
  }
}
