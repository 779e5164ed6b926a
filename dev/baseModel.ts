/** The small base model of the stack: made once by dev/baseModel.py, and again when the script, its text or its packages change. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { waitForLock } from './binaries.js';
import { runCommand } from './command.js';
import { announce, type Progress } from './progress.js';
import { rootFolder } from './stack.js';

const scriptPath = join(rootFolder, 'dev', 'baseModel.py');

export interface BaseModelOptions {
  /** TEMPER_HOME: the model is kept below it. */
  home: string;
  /** An interpreter with the trainer's packages. */
  python: string;
  progress: Progress;
}

/** The model's folder, which is whole: config, safetensors weights, tokenizer and `model.json`. At once when it was made before. */
export async function ensureBaseModel({ home, python, progress }: BaseModelOptions): Promise<string> {
  const folder = join(home, 'base-models');
  const name = `temper-tiny-${hashInputs().slice(0, 16)}`;
  const model = join(folder, name);
  if (existsSync(model)) return model;
  mkdirSync(folder, { recursive: true });
  const lock = await waitForLock(`${model}.lock`, 'another run is making the small base model', progress);
  try {
    if (existsSync(model)) return model;
    for (const entry of readdirSync(folder)) {
      if (entry.startsWith(`${name}.draft-`)) rmSync(join(folder, entry), { recursive: true, force: true }); // of a run that was killed
    }
    await announce(progress, 'Pretraining the small base model (once, under a minute on two free cores)', () =>
      runCommand(python, [scriptPath, model]),
    );
    return model;
  } finally {
    lock.release();
  }
}

/** All that decides what the model becomes, but for the processor. */
function hashInputs(): string {
  const data = join(rootFolder, 'examples', 'pretraining');
  const files = readdirSync(data)
    .filter((name) => name.endsWith('.jsonl'))
    .sort()
    .map((name) => join(data, name));
  const hash = createHash('sha256');
  for (const file of [scriptPath, join(rootFolder, 'trainer', 'uv.lock'), ...files]) hash.update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}
