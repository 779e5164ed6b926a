/** Small JSON files that are either whole or not there. */
import { readFileSync } from 'node:fs';
import { writeWhole } from '../processes/writeWhole.js';

/** The file's content; undefined when it is missing or torn. */
export function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Replaces the file in one step; only its owner can read it. */
export function writeJson(path: string, content: unknown): void {
  writeWhole(path, `${JSON.stringify(content, null, 2)}\n`, 0o600);
}
