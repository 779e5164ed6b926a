/**
 * Writes rendered examples as JSON lines, and keeps of each a hash of what it says and its length: what the split needs.
 *
 * This is the inner loop of rendering. JSON.stringify and the encoding of its result as UTF-8 would take longer than the template, so
 * strings are escaped and encoded in one go, four characters at a time where they are plain ASCII.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { hashBytes } from '../datasets/hashBytes.js';
import type { ScannedBlock, ScannedRow } from '../datasets/scanRow.js';
import type { RenderedExample } from '../schemas/trainerProtocol.js';
import type { Mould } from './alikeRows.js';

const BUFFER_BYTES = 1 << 20;
/** Characters encoded at a time. */
const CHUNK_LENGTH = 1 << 15;
/** Most bytes of one UTF-16 unit in JSON: `\u0001`. */
const MAX_UNIT_BYTES = 6;

/** Of each example, in order: 64 bits that stand for its segments and the seed, and the bytes of its line. */
export type ExampleIndex = { hashes: BigUint64Array; lengths: Uint32Array };
export type WrittenExamples = ExampleIndex & { sha256: string; sizeBytes: number };

export class ExampleFile {
  private readonly file: number;
  private buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  private view = viewOf(this.buffer);
  private readonly units = Buffer.allocUnsafe(CHUNK_LENGTH * 2);
  private readonly unitsView = viewOf(this.units);
  private readonly sha256 = createHash('sha256');
  private sizeBytes = 0;
  private filled = 0;
  private count = 0;
  private hashes = new Uint32Array(2048);
  private lengths = new Uint32Array(1024);

  constructor(
    path: string,
    private readonly seed: number,
  ) {
    this.file = openSync(path, 'w');
  }

  write({ line, segments, label }: RenderedExample): void {
    if (this.filled > BUFFER_BYTES / 2) this.flush();
    const start = this.filled;
    this.writeAscii(`{"line":${line},"segments":`);
    const segmentsStart = this.filled;
    let separator = '[[';
    for (const [text, trained, literal] of segments) {
      this.writeAscii(separator);
      separator = ',[';
      this.writeString(text);
      this.writeAscii(trained ? ',true' : ',false');
      if (literal !== undefined) this.writeAscii(literal ? ',true' : ',false');
      this.writeAscii(']');
    }
    this.writeAscii(']');
    const segmentsEnd = this.filled;
    if (label !== undefined) {
      this.writeAscii(',"label":');
      this.writeString(label);
    }
    this.writeAscii('}\n');
    this.note(segmentsStart, segmentsEnd, this.filled - start);
  }

  /** The same for a row that is rendered alike: its texts are copied as they stand in the block. */
  writeAlike(line: number, { pieces, contents }: Mould, { words }: ScannedBlock, row: ScannedRow): void {
    if (this.filled > BUFFER_BYTES / 2) this.flush();
    let bytes = LINE_ROOM;
    for (const piece of pieces) bytes += piece.length;
    for (let index = 0; index < contents.length; index++) bytes += row.contentTo[contents[index]!]! - row.contentFrom[contents[index]!]!;
    this.reserve(bytes);
    const start = this.filled;
    this.writeAscii(`{"line":${line},"segments":`);
    const segmentsStart = this.filled;
    let to = this.filled;
    for (let index = 0; index < pieces.length; index++) {
      const piece = pieces[index]!;
      to = copyWords(piece.words, 0, piece.length, this.view, to);
      if (index === contents.length) break;
      const content = contents[index]!;
      to = copyWords(words, row.contentFrom[content]!, row.contentTo[content]!, this.view, to);
    }
    this.filled = to;
    this.writeAscii('}\n');
    this.note(segmentsStart, to, this.filled - start);
  }

  close(): WrittenExamples {
    this.flush();
    closeSync(this.file);
    const hashes = new BigUint64Array(this.hashes.buffer, 0, this.count);
    return { hashes, lengths: this.lengths.subarray(0, this.count), sha256: this.sha256.digest('hex'), sizeBytes: this.sizeBytes };
  }

  private note(start: number, end: number, length: number): void {
    if (this.count === this.lengths.length) {
      const [hashes, lengths] = [new Uint32Array(this.count * 4), new Uint32Array(this.count * 2)];
      hashes.set(this.hashes);
      lengths.set(this.lengths);
      [this.hashes, this.lengths] = [hashes, lengths];
    }
    const at = this.count * 2;
    hashBytes(this.view, start, end, this.hashes, at);
    this.hashes[at] = mix(this.hashes[at]! ^ mix(this.seed));
    this.hashes[at + 1] = mix(this.hashes[at + 1]! ^ mix(~this.seed));
    this.lengths[this.count++] = length;
  }

  private writeAscii(text: string): void {
    this.reserve(text.length);
    for (let index = 0; index < text.length; index++) this.buffer[this.filled++] = text.charCodeAt(index);
  }

  private writeString(text: string): void {
    this.reserve(text.length * MAX_UNIT_BYTES + 2);
    this.buffer[this.filled++] = QUOTE;
    for (let at = 0; at < text.length;) {
      let end = Math.min(at + CHUNK_LENGTH, text.length);
      if (end < text.length && isHighSurrogate(text.charCodeAt(end - 1))) end--;
      this.encode(text.length <= CHUNK_LENGTH ? text : text.slice(at, end));
      at = end;
    }
    this.buffer[this.filled++] = QUOTE;
  }

  /** The text inside a JSON string. */
  private encode(text: string): void {
    const { buffer, view, unitsView } = this;
    const count = this.units.write(text, 0, 'utf16le') >> 1;
    let to = this.filled;
    for (let at = 0; at < count;) {
      if (at + 4 <= count) {
        const [low, high] = [unitsView.getInt32(at * 2, true), unitsView.getInt32(at * 2 + 4, true)];
        const packed = (low & 0x7f) | ((low >>> 8) & 0x7f00) | ((high & 0x7f) << 16) | ((high << 8) & 0x7f000000);
        if (((low | high) & 0xff80ff80) === 0 && arePlain(packed)) {
          view.setInt32(to, packed, true);
          to += 4;
          at += 4;
          continue;
        }
      }
      const unit = unitsView.getUint16(at * 2, true);
      at++;
      if (unit < 0x80) {
        const escape = ESCAPES[unit];
        if (escape === undefined) buffer[to++] = unit;
        else for (let index = 0; index < escape.length; index++) buffer[to++] = escape.charCodeAt(index);
      } else if (unit < 0x800) {
        buffer[to++] = 0xc0 | (unit >> 6);
        buffer[to++] = 0x80 | (unit & 0x3f);
      } else if (unit < 0xd800 || unit > 0xdfff) {
        buffer[to++] = 0xe0 | (unit >> 12);
        buffer[to++] = 0x80 | ((unit >> 6) & 0x3f);
        buffer[to++] = 0x80 | (unit & 0x3f);
      } else {
        const next = at < count ? unitsView.getUint16(at * 2, true) : 0;
        if (isHighSurrogate(unit) && next >= 0xdc00 && next <= 0xdfff) {
          const point = 0x10000 + ((unit & 0x3ff) << 10) + (next & 0x3ff);
          at++;
          buffer[to++] = 0xf0 | (point >> 18);
          buffer[to++] = 0x80 | ((point >> 12) & 0x3f);
          buffer[to++] = 0x80 | ((point >> 6) & 0x3f);
          buffer[to++] = 0x80 | (point & 0x3f);
        } else to += buffer.write(`\\u${unit.toString(16)}`, to, 'latin1'); // A surrogate by itself has no UTF-8.
      }
    }
    this.filled = to;
  }

  /** The line at hand stays in the buffer until it is whole, for its hash. */
  private reserve(bytes: number): void {
    if (this.filled + bytes <= this.buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.filled + bytes));
    this.buffer.copy(larger, 0, 0, this.filled);
    this.buffer = larger;
    this.view = viewOf(larger);
  }

  private flush(): void {
    this.sha256.update(this.buffer.subarray(0, this.filled));
    for (let done = 0; done < this.filled;) done += writeSync(this.file, this.buffer, done, this.filled - done);
    this.sizeBytes += this.filled;
    this.filled = 0;
  }
}

/** Bytes of a line around its segments, and those that `copyWords` may write beyond its end. */
const LINE_ROOM = 64;

/** Copies `from[start, end)` to `to[at, …)` in steps of 16 bytes: both must reach that much farther. Returns where the copy ends. */
function copyWords(from: DataView, start: number, end: number, to: DataView, at: number): number {
  const shift = at - start;
  for (let index = start; index < end; index += 16) {
    to.setInt32(index + shift, from.getInt32(index, true), true);
    to.setInt32(index + shift + 4, from.getInt32(index + 4, true), true);
    to.setInt32(index + shift + 8, from.getInt32(index + 8, true), true);
    to.setInt32(index + shift + 12, from.getInt32(index + 12, true), true);
  }
  return end + shift;
}

const QUOTE = 0x22;

/** What a unit below 0x80 becomes in a JSON string, where it is not itself. */
const ESCAPES = Array.from({ length: 0x80 }, (_, unit) => {
  const quoted = JSON.stringify(String.fromCharCode(unit)).slice(1, -1);
  return quoted.length === 1 ? undefined : quoted;
});

/** Whether four ASCII characters hold no control character, quote or backslash. */
function arePlain(packed: number): boolean {
  const quotes = packed ^ 0x22222222;
  const backslashes = packed ^ 0x5c5c5c5c;
  return (((packed - 0x20202020) | (quotes - 0x01010101) | (backslashes - 0x01010101)) & 0x80808080) === 0;
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** The finalizer of MurmurHash3: every input bit changes half of the output bits. */
function mix(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}
