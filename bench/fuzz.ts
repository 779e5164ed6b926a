/**
 * Random dataset files, for as long as asked: bytes, JSON, rows of real files with random damage. Each is read by the fast way
 * and the exact way, in random ranges, and by an independent slow reader; all must agree line by line. Compressed files with
 * random damage must give a report, never an error. Prints its seed; stops at the first file that breaks a rule, made small.
 *
 *   node --import tsx bench/fuzz.ts [--seconds 60] [--seed 1]
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { addRange, finishReport, startFileTally } from '../datasets/report.js';
import { scanRow, type ScanRow } from '../datasets/scanRow.js';
import { tallyRange } from '../datasets/tally.js';
import { unpackFile } from '../datasets/unpack.js';
import { validateUnpacked } from '../datasets/validate.js';
import type { ValidationReport } from '../schemas/validationReport.js';
import { factsOfReport, fuzzedFile, readSlowly } from '../test/unit/datasets/fuzzedFiles.js';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: String(Date.now() % 1e9) } },
});
const seed = Number(values.seed);
const deadlineMs = performance.now() + Number(values.seconds) * 1000;
const folder = mkdtempSync(path.join(tmpdir(), 'fuzz-'));
const file = path.join(folder, 'rows.jsonl');
let files = 0;
let rows = 0;
let scanned = 0;
let slowestMs = 0;

console.log(`seed ${seed}`);
try {
  for (let round = 0; performance.now() < deadlineMs; round++) {
    fc.assert(fc.property(fuzzedFile, checkPlain), { seed: seed + round, numRuns: 500, endOnFailure: false });
    await fc.assert(fc.asyncProperty(fuzzedFile, fc.array(fc.nat(), { maxLength: 3 }), fc.nat(), checkCompressed), {
      seed: seed + round,
      numRuns: 40,
    });
  }
  console.log(`${files} files, ${rows} rows (${scanned} of them the fast way), slowest file ${slowestMs.toFixed(0)} ms: no difference`);
} finally {
  rmSync(folder, { recursive: true });
}

function checkPlain({ content, rangeBytes }: { content: Buffer; rangeBytes: number }): void {
  writeFileSync(file, content);
  const startMs = performance.now();
  const report = read(content.length, rangeBytes, (...given) => {
    const isScanned = scanRow(...given);
    if (isScanned) scanned++;
    return isScanned;
  });
  slowestMs = Math.max(slowestMs, performance.now() - startMs);
  requireEqual(
    'fast and exact way',
    report,
    read(content.length, 1e9, () => false),
  );
  const { facts, plainLines } = readSlowly(content);
  requireEqual('validation and slow reader', factsOfReport(report, plainLines), facts);
  files++;
  rows += facts.examples;
}

function read(sizeBytes: number, rangeBytes: number, scan: ScanRow): ValidationReport {
  const total = startFileTally();
  for (let start = 0; start === 0 || start < sizeBytes; start += rangeBytes) {
    const range = { start, end: Math.min(start + rangeBytes, sizeBytes) };
    addRange(total, tallyRange(file, range, { maxRows: Infinity, withoutDistinct: new Set() }, scan));
  }
  return finishReport(total, { sizeBytes, sha256: undefined });
}

async function checkCompressed({ content }: { content: Buffer }, places: number[], byte: number): Promise<void> {
  const bytes = gzipSync(content);
  for (const place of places) bytes[place % bytes.length] = byte % 256;
  writeFileSync(file, bytes);
  const unpacked = await unpackFile(file, `${file}.plain`);
  const report = await validateUnpacked(unpacked);
  if (places.length === 0 && report.sizeBytes !== content.length) throw new Error('what was decompressed is not what was compressed');
  files++;
}

function requireEqual(what: string, found: unknown, expected: unknown): void {
  const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
  if (isDeepStrictEqual(plain(found), plain(expected))) return;
  throw new Error(`${what} differ:\n${JSON.stringify(found)}\n${JSON.stringify(expected)}`);
}
