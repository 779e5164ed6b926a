/** Small dataset files and seeded randomness for the tests of this folder. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll } from 'vitest';
import { addRange, finishReport, startFileTally } from '../../../datasets/report.js';
import type { ScanRow } from '../../../datasets/scanRow.js';
import { tallyRange } from '../../../datasets/tally.js';
import type { ValidationReport } from '../../../schemas/validationReport.js';

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

/** The report of a file by way of ranges of a given size, on this thread. */
export function reportInRanges(file: string, options: { rangeBytes?: number; sha256?: string; scan?: ScanRow } = {}): ValidationReport {
  const sizeBytes = statSync(file).size;
  const { rangeBytes = 1e9, sha256, scan } = options;
  const total = startFileTally();
  for (let start = 0; start === 0 || start < sizeBytes; start += rangeBytes) {
    const range = { start, end: Math.min(start + rangeBytes, sizeBytes) };
    addRange(total, tallyRange(file, range, { maxRows: Infinity, withoutDistinct: new Set() }, scan));
  }
  return finishReport(total, { sizeBytes, sha256 });
}
