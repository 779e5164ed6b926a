/**
 * Starts one stack of its own, in a temporary home, for all tests that need one. They get its dev.json and its home by
 * `inject('stack')`; pids change when a test kills something, so the present ones are in `<home>/dev.json`.
 */
import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { keepPorts } from '../dev/ports.js';
import { postgresFolder } from '../dev/postgres.js';
import { prepare } from '../dev/prepare.js';
import { rootFolder, startStack, type DevFile } from '../dev/stack.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** `wandbPort`, `hubPort`: where the stack looks for Weights & Biases and the Hugging Face hub; a test that needs one starts its server (test/wandbServer.ts, test/hubServer.ts) there. */
    stack: DevFile & { home: string; wandbPort: number; hubPort: number };
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const progress = (line: string) => console.log(`[stack] ${line}`);
  const { baseModel } = await prepare(progress);
  const home = mkdtempSync(join(tmpdir(), 'temper-test-'));
  chmodSync(home, 0o711); // run as root, the database belongs to another user, who must get through here
  const clear = () => {
    cpSync(join(home, 'logs'), join(rootFolder, '.temper', 'test-logs'), { recursive: true }); // the last run's, to look into
    rmSync(postgresFolder(home), { recursive: true, force: true });
    rmSync(home, { recursive: true, force: true });
  };
  // Kept with the stack's own, which then are others.
  const { wandb: wandbPort, hub: hubPort } = await keepPorts(home, ['wandb', 'hub']);
  const environment = {
    WANDB_BASE_URL: `http://127.0.0.1:${wandbPort}`,
    HF_ENDPOINT: `http://127.0.0.1:${hubPort}`,
    TEMPER_OPENAI_MODELS: 'gpt-4o-mini-2024-07-18=temper-tiny',
  };
  const stack = await startStack({ home, progress, baseModel, port: 0, environment }).catch((error: unknown) => {
    clear();
    throw error;
  });
  project.provide('stack', { ...stack.dev(), home, wandbPort, hubPort });
  return async () => {
    await stack.stop();
    clear();
  };
}
