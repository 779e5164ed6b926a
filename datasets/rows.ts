/** The rows of a validated dataset, one at a time: what rendering reads. What is wrong with a file, `validate.ts` says. */
import { isAscii } from 'node:buffer';
import { statSync } from 'node:fs';
import { readBlocks, type Block, type ByteRange } from './blocks.js';

const NEWLINE = 10;

export interface Row {
  /** Physical line of the file, from 1. */
  line: number;
  /** Where the line begins in the file. */
  byteOffset: number;
  /** Without a prototype, so that a name such as `constructor` or `__proto__` is a field if the row has it and nothing otherwise. */
  row: Record<string, unknown>;
  /** The line itself. */
  text: string;
}

/**
 * Reads synchronously (call it from a worker thread or a process of its own) and never holds more than one block of lines.
 * Blank lines are skipped and still count; with a range, lines before it are counted too.
 * Throws on a line that is not a JSON object, naming the line: the file is not the one that was validated.
 */
export function* readRows(path: string, range?: ByteRange): Generator<Row> {
  const { start, end } = range ?? { start: 0, end: statSync(path).size };
  let line = start === 0 ? 0 : countLines(path, { start: 0, end: start });
  for (const block of readBlocks(path, { start, end })) {
    if (block.tooLongBytes !== undefined) throw new Error(`line ${line + 1} is ${block.tooLongBytes} bytes long`);
    const text = new BlockText(block);
    for (let from = 0; from < block.bytes.length;) {
      const { row, next } = text.readRow(from, ++line);
      if (row) yield row;
      from = next;
    }
  }
}

/** The lines of a block as rows. */
export class BlockText {
  // Most blocks are ASCII, and Latin-1 takes no decoding.
  private readonly encoding: 'latin1' | 'utf8';

  constructor(private readonly block: Block) {
    this.encoding = isAscii(block.bytes) ? 'latin1' : 'utf8';
  }

  /** The row of the line at `from`, which has that number; undefined when it is blank. Throws when it is not a JSON object. */
  readRow(from: number, line: number): { row: Row | undefined; next: number } {
    const { bytes, byteOffset } = this.block;
    const newline = bytes.indexOf(NEWLINE, from);
    const to = newline < 0 ? bytes.length : newline;
    const text = bytes.toString(this.encoding, from, to);
    return { row: text.trim() === '' ? undefined : { line, byteOffset: byteOffset + from, row: parseRow(text, line), text }, next: to + 1 };
  }
}

function parseRow(text: string, line: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`line ${line} is not JSON: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`line ${line} is not a JSON object`);
  return Object.setPrototypeOf(value, null);
}

/** How many lines begin in the range. */
export function countLines(path: string, range: ByteRange): number {
  let lines = 0;
  for (const block of readBlocks(path, range)) {
    if (block.tooLongBytes !== undefined) {
      lines++;
      continue;
    }
    let from = 0;
    while (from < block.bytes.length) {
      const newline = block.bytes.indexOf(NEWLINE, from);
      lines++;
      if (newline < 0) break;
      from = newline + 1;
    }
  }
  return lines;
}
