/** Control tokens of public chat templates in the text of rows. Most blocks have none, which a few native searches tell at once. */
import { excerpt, type Finding } from './problems.js';

const SPECIAL_TOKEN = /<\|[^|<>\s"]{1,40}\|>|<\/?s>|\[\/?INST\]|<(?:start_of_turn|end_of_turn|bos|eos|unk|pad)>/;
/** Bytes that every such token has, one of these. */
const ANGLE_MARKS = ['<|', '<s>', '</s>', '_of_turn>', '<bos>', '<eos>', '<unk>', '<pad>'];
const MARKS = [...ANGLE_MARKS, 'INST]'];

/** Where in a block a token may be. Asked from its beginning to its end. */
export class TokenMarks {
  private readonly marks: readonly string[];
  private readonly found: number[];
  private next = 0;

  constructor(private readonly bytes: Buffer) {
    this.marks = bytes.includes(0x3c) ? MARKS : MARKS.slice(ANGLE_MARKS.length);
    this.found = this.marks.map(() => -1);
    this.advance(0);
  }

  /** Whether there is a mark in `bytes[from, to)`. */
  isIn(from: number, to: number): boolean {
    if (this.next < from) this.advance(from);
    return this.next < to;
  }

  private advance(from: number): void {
    this.next = Infinity;
    for (const [index, mark] of this.marks.entries()) {
      if (this.found[index]! < from) {
        const found = this.bytes.indexOf(mark, from);
        this.found[index] = found < 0 ? Infinity : found;
      }
      this.next = Math.min(this.next, this.found[index]!);
    }
  }
}

/** The first token of a line. */
export function findSpecialToken(text: string): Finding | undefined {
  const token = SPECIAL_TOKEN.exec(text);
  if (token === null) return undefined;
  return {
    code: 'W_SPECIAL_TOKEN',
    byteInLine: Buffer.byteLength(text.slice(0, token.index)),
    found: excerpt(token[0]),
    expected: 'text',
    fix: 'remove it if it came from a rendered conversation',
  };
}
