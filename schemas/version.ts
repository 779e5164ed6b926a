/** The version of this code, as package.json has it: what API, workers and the trainer's lineage say of themselves. */
import { readFileSync } from 'node:fs';

export const TEMPER_VERSION = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string })
  .version;
