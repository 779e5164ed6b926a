/** A base model on this machine, for commands that work without a server. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from './failures.js';

/** @throws UsageError when it is no folder with a tokenizer */
export function requireFolder(baseModel: string): string {
  if (!statSync(baseModel, { throwIfNoEntry: false })?.isDirectory())
    throw new UsageError(`${baseModel} is no folder: without a server, --base-model is a folder with the model’s tokenizer.json`);
  if (!existsSync(join(baseModel, 'tokenizer.json'))) throw new UsageError(`${baseModel} has no tokenizer.json`);
  return baseModel;
}
