/**
 * How many tokens the rows of a validated dataset have: of all of them, or of a sample spread evenly over the file. What is
 * counted is the text that the rows bring, what their messages say or else their top-level strings; a template adds its own.
 */
import { statSync } from 'node:fs';
import { readBlocks } from '../datasets/blocks.js';
import { MAX_TOKEN_SAMPLE_BYTES, MAX_TOKEN_SAMPLE_ROWS, MIN_TOKEN_SAMPLE_ROWS, TOKEN_SAMPLE_SEED } from '../schemas/limits.js';
import type { TokenLengths } from '../schemas/validationReport.js';
import type { ModelTokenizer } from './tokenizer.js';

const NEWLINE = 10;

/** `lines`: physical lines of the file, `examples`: those with a row. Reads synchronously; parses only the rows it counts. */
export function measureTokenLengths(
  file: string,
  { lines, examples }: { lines: number; examples: number },
  tokenizer: ModelTokenizer,
): TokenLengths {
  const chosen = chooseLines(lines, examples, statSync(file).size);
  const lengths: number[] = [];
  for (const text of linesOf(file, chosen)) {
    const row = JSON.parse(text) as Record<string, unknown>;
    lengths.push(rowTexts(row).reduce((sum, part) => sum + tokenizer.encode(part, true).length, 0));
  }
  lengths.sort((a, b) => a - b);
  const sum = lengths.reduce((total, length) => total + length, 0);
  const mean = lengths.length === 0 ? 0 : sum / lengths.length;
  const percentile = (share: number): number => lengths[Math.max(0, Math.ceil(share * lengths.length) - 1)] ?? 0;
  const exact = lengths.length === examples;
  return {
    tokenCounts: exact ? 'EXACT' : 'SAMPLED',
    rows: lengths.length,
    ...(exact ? {} : { seed: TOKEN_SAMPLE_SEED }),
    min: lengths[0] ?? 0,
    mean: Math.round(mean * 10) / 10,
    p50: percentile(0.5),
    p95: percentile(0.95),
    max: lengths.at(-1) ?? 0,
    total: exact ? sum : Math.round(mean * examples),
  };
}

/** How many rows of a file are counted. */
export function sampleSize(examples: number, sizeBytes: number): number {
  const affordable = Math.floor(MAX_TOKEN_SAMPLE_BYTES / (sizeBytes / examples));
  return Math.min(examples, MAX_TOKEN_SAMPLE_ROWS, Math.max(MIN_TOKEN_SAMPLE_ROWS, affordable));
}

/** Null: every line. Else one line, from 1, out of each of as many equal stretches of the file as rows are counted. */
function chooseLines(lines: number, examples: number, sizeBytes: number): number[] | null {
  const rows = sampleSize(examples, sizeBytes);
  if (rows === examples) return null;
  const random = makeRandom(TOKEN_SAMPLE_SEED);
  return Array.from({ length: rows }, (_, stretch) => {
    const [from, to] = [stretch, stretch + 1].map((edge) => Math.floor((edge * lines) / rows));
    return from! + Math.floor(random() * (to! - from!)) + 1;
  });
}

/** The text of the lines, in order; blank ones give way to the next that is not. */
function* linesOf(file: string, chosen: number[] | null): Generator<string> {
  let line = 0;
  let next = 0;
  for (const { bytes } of readBlocks(file, { start: 0, end: Infinity })) {
    for (let from = 0; from < bytes.length;) {
      const newline = bytes.indexOf(NEWLINE, from);
      const to = newline < 0 ? bytes.length : newline;
      line++;
      if (chosen === null || line >= chosen[next]!) {
        const text = bytes.toString('utf8', from, to);
        if (text.trim() !== '') {
          yield text;
          next++;
          if (chosen !== null && next === chosen.length) return;
        }
      }
      from = to + 1;
    }
  }
}

function rowTexts(row: Record<string, unknown>): string[] {
  const { messages } = row;
  if (!Array.isArray(messages)) return Object.values(row).filter((value) => typeof value === 'string');
  return (messages as { content?: unknown }[]).flatMap(({ content }) => {
    if (typeof content === 'string') return [content];
    if (!Array.isArray(content)) return [];
    return (content as { text?: unknown }[]).map(({ text }) => text).filter((text) => typeof text === 'string');
  });
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
