/**
 * A file as blocks of whole lines, in bounded memory. Lines end at the byte `\n` and nowhere else: a bare CR, U+2028 or
 * NEL inside a JSON string never moves a line number. Everything that reads a dataset reads it through here.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { giveBack, takeBlockMemory, type BlockMemory } from './blockMemory.js';

/** Longest line accepted, its line ending not counted but for a CR. Well above any model's context, well below memory. */
export const MAX_LINE_BYTES = 8 * 1024 * 1024;

const READ_BYTES = 128 * 1024;
/** Bytes that follow every block in memory, so that it can be read in words up to its end: of the next line, or zeros. */
export const PADDING_BYTES = 16;
/** Bytes kept of a line that is too long, to show its beginning. */
const HEAD_BYTES = 128;
const NEWLINE = 10;

/** Bytes `start` (included) to `end` (excluded) of a file; a line belongs to the range its first byte is in. */
export interface ByteRange {
  start: number;
  end: number;
}

export interface Block {
  /** Whole lines with their endings (the file's last line may have none). Overwritten when the next block is asked for. */
  bytes: Buffer;
  /** Where `bytes` is, from index 0. */
  memory: BlockMemory;
  /** Where in the file `bytes` begins. */
  byteOffset: number;
  /** Set when the block is one line over the limit: its real size, ending included, while `bytes` holds only its beginning. */
  tooLongBytes?: number;
}

/** The lines that begin in `range`, in order. A byte order mark at the start of the file is left out. */
export function* readBlocks(path: string, range: ByteRange): Generator<Block> {
  const file = openSync(path, 'r');
  const memory = takeBlockMemory();
  const { buffer } = memory;
  try {
    // The range widened to whole lines.
    let offset = range.start === 0 ? bomBytes(file) : nextLineStart(file, range.start - 1);
    const { size } = fstatSync(file);
    const end = range.end >= size ? size : range.end === 0 ? 0 : nextLineStart(file, range.end - 1);
    let capacity = READ_BYTES;
    let filled = 0; // buffer[0, filled) is what follows `offset` in the file
    while (offset < end) {
      const wanted = Math.min(capacity - filled, end - offset - filled);
      const count = readSync(file, buffer, filled, wanted, offset + filled);
      if (count === 0 && wanted > 0) throw new Error(`${path} became shorter while it was read`);
      const cut = lastNewline(buffer, filled, filled + count) + 1;
      filled += count;
      if (cut > 0) {
        yield { bytes: buffer.subarray(0, cut), memory, byteOffset: offset };
        buffer.copyWithin(0, cut, filled);
        offset += cut;
        filled -= cut;
      } else if (filled > MAX_LINE_BYTES) {
        const next = nextLineStart(file, offset + filled);
        yield { bytes: buffer.subarray(0, HEAD_BYTES), memory, byteOffset: offset, tooLongBytes: next - offset };
        offset = next;
        filled = 0;
      } else if (offset + filled === end) {
        buffer.fill(0, filled, filled + PADDING_BYTES);
        yield { bytes: buffer.subarray(0, filled), memory, byteOffset: offset };
        return;
      } else if (filled === capacity) capacity = Math.min(capacity * 2, MAX_LINE_BYTES + 1);
    }
  } finally {
    giveBack(memory);
    closeSync(file);
  }
}

function lastNewline(buffer: Buffer, from: number, to: number): number {
  const found = buffer.subarray(from, to).lastIndexOf(NEWLINE);
  return found < 0 ? -1 : from + found;
}

/** The first byte after the first newline at or after `from`; the size of the file when there is none. */
function nextLineStart(file: number, from: number): number {
  const buffer = Buffer.allocUnsafe(64 * 1024);
  for (let offset = from; ;) {
    const count = readSync(file, buffer, 0, buffer.length, offset);
    if (count === 0) return offset;
    const newline = buffer.subarray(0, count).indexOf(NEWLINE);
    if (newline >= 0) return offset + newline + 1;
    offset += count;
  }
}

function bomBytes(file: number): number {
  const head = Buffer.alloc(3);
  readSync(file, head, 0, 3, 0);
  return head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? 3 : 0;
}
