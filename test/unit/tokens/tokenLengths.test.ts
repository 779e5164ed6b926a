/** Token lengths of a file: exact for a small one, a sample near the truth for a large one, and never at any price. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { countLengths } from '../../../tokens/countTokens.js';
import { openTokenizer } from '../../../tokens/tokenizer.js';
import { measureTokenLengths, sampleSize } from '../../../tokens/tokenLengths.js';
import { byteTokenizer } from './byteTokenizer.js';

const folder = mkdtempSync(path.join(tmpdir(), 'temper-lengths-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(lines: string[]): string {
  const name = path.join(folder, `${lines.length}.jsonl`);
  writeFileSync(name, `${lines.join('\n')}\n`);
  return name;
}

describe('token lengths', () => {
  it('are exact for a small file, and count what rows say', async () => {
    const rows = [
      { prompt: 'ab', completion: 'é', id: 7 },
      {
        messages: [
          { role: 'user', content: 'abcd' },
          { role: 'assistant', content: [{ type: 'text', text: '</s>' }] },
        ],
      },
      { messages: [{ role: 'assistant', content: null }] },
    ];
    const lengths = await countLengths(
      byteTokenizer(),
      { file: file(['', ...rows.map((row) => JSON.stringify(row)), '']), lines: 5, examples: 3 },
      { deadlineMs: 30_000 },
    );
    // A control token in a row is text: its four bytes.
    expect(lengths).toEqual({ tokenCounts: 'EXACT', rows: 3, min: 0, mean: 4, p50: 4, p95: 8, max: 8, total: 12 });
  });

  it('of a large file are sampled evenly, by a seed, near the truth', () => {
    // Sorted by length, which a sample of the beginning, or of bytes, would misjudge.
    const lines = Array.from({ length: 30_000 }, (_, index) => JSON.stringify({ text: 'x'.repeat(1 + Math.floor(index / 100)) }));
    const truth = lines.reduce((sum, line) => sum + (JSON.parse(line) as { text: string }).text.length, 0);
    const place = { lines: 30_000, examples: 30_000 };
    const measure = () => measureTokenLengths(file(lines), place, openTokenizer(byteTokenizer()));
    const lengths = measure();
    expect(lengths).toMatchObject({ tokenCounts: 'SAMPLED', rows: 2000, seed: 42 });
    expect(Math.abs(lengths.total / truth - 1)).toBeLessThan(0.01);
    expect([lengths.min, lengths.p50, lengths.p95, lengths.max].map((value) => Math.round(value / 10))).toEqual([0, 15, 29, 30]);
    expect(measure()).toEqual(lengths);
  });

  it.each([
    { examples: 2000, sizeBytes: 2_000_000, counted: 2000 },
    { examples: 2000, sizeBytes: 16_000_000, counted: 524 },
    { examples: 3_000_000, sizeBytes: 5_000_000_000, counted: 2000 },
    { examples: 2000, sizeBytes: 2_000_000_000, counted: 100 },
    { examples: 90, sizeBytes: 90_000_000, counted: 90 },
  ])('a verdict does not wait for the tokens of long rows: $examples in $sizeBytes bytes', ({ examples, sizeBytes, counted }) => {
    expect(sampleSize(examples, sizeBytes)).toBe(counted);
  });

  it('are given up at the deadline, and for a file that is gone', async () => {
    const work = { file: path.join(folder, 'none.jsonl'), lines: 1, examples: 1 };
    await expect(countLengths(byteTokenizer(), work, { deadlineMs: 30_000 })).rejects.toThrow('ENOENT');
    await expect(countLengths(byteTokenizer(), work, { deadlineMs: 1 })).rejects.toThrow('it took more than');
  });
});
