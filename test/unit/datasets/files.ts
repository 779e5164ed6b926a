/** Small dataset files and seeded randomness for the tests of this folder. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll } from 'vitest';

/** A function that writes a file into a folder which is removed after the tests, and returns its path. */
export function makeFileWriter(): (content: string | Buffer) => string {
  const folder = mkdtempSync(path.join(tmpdir(), 'temper-datasets-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  let count = 0;
  return (content) => {
    const file = path.join(folder, `${count++}.jsonl`);
    writeFileSync(file, content);
    return file;
  };
}

/** Whole numbers below `limit`, the same sequence for the same seed. */
export function makeRandom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % limit;
  };
}

export function conversation(...contents: string[]): { messages: { role: string; content: string }[] } {
  return { messages: contents.map((content, index) => ({ role: index % 2 === 0 ? 'user' : 'assistant', content })) };
}
