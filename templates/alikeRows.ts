/**
 * Conversations that a template renders alike: of the same roles, with texts that it only prints. Most rows of most datasets are.
 *
 * Their rendering is found once, with stand-ins for the texts (jinja/watch.ts); every such row is then written from its bytes in the
 * dataset, with the same result as the exact way through JSON.parse, the template and the checks of conversation.ts. A row that is not
 * surely alike goes that way.
 */
import { isUtf8 } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import type { Block } from '../datasets/blocks.js';
import { MAX_FIELDS } from '../datasets/rangeTally.js';
import {
  MAX_CONTENTS,
  emptyScannedRow,
  knownField,
  scanRow,
  scannedBlock,
  type KnownField,
  type ScannedBlock,
} from '../datasets/scanRow.js';
import type { Segment } from '../schemas/trainerProtocol.js';
import { tokenStarts } from './controlTokens.js';
import { makeConversationRenderer, type ChatSettings, type ConversationRenderer, type Message } from './conversation.js';
import { compileTemplate } from './jinja/template.js';
import { MAX_WATCHED_LENGTH, makeStandIns, watchOperations, type Conditions } from './jinja/watch.js';

/** The segments of a rendering as JSON: `pieces[0]`, the text of message `contents[0]`, `pieces[1]`, … Each piece has 16 bytes beyond its length. */
export type Mould = { pieces: { words: DataView; length: number }[]; contents: Uint16Array };

const PADDING_BYTES = 16;
/** Texts that a rendering prints, for each message: beyond this its output may become very long. */
const MAX_PRINTED = 4;

export class AlikeRows {
  private readonly standIns = makeStandIns(BigInt(`0x${randomBytes(12).toString('hex')}`).toString());
  private readonly conditions: Conditions;
  private readonly render: ConversationRenderer;
  private readonly moulds = new Map<number, Mould | null>();
  private readonly names = new Set<string>();
  private readonly known: KnownField[] = [];
  private marks: TextMarks | undefined;
  block: ScannedBlock | undefined;
  readonly row = emptyScannedRow();

  /** Throws TemplateError. */
  constructor(chat: ChatSettings) {
    this.conditions = { absent: new Set(tokenStarts(chat.specialTokens)), isTrimmed: false };
    this.render = makeConversationRenderer(chat, compileTemplate(chat.template, watchOperations(this.standIns, this.conditions)));
  }

  /** From here on rows of this block are asked for, in their order. */
  enter(block: Block): void {
    this.block = isUtf8(block.bytes) ? scannedBlock(block) : undefined;
    this.marks = undefined;
  }

  /** A row has these fields; others may have them, too. */
  learnFields(row: Record<string, unknown>): void {
    for (const name in row) {
      if (this.names.has(name) || this.known.length === MAX_FIELDS) continue;
      this.names.add(name);
      const field = knownField(name);
      // Tools are the template's business.
      if (field !== undefined && name !== 'tools') this.known.push(field);
    }
  }

  /** How the row at `from`, then described by `row`, is rendered; undefined when that takes the exact way. */
  mouldAt(from: number): Mould | undefined {
    const { block, row } = this;
    if (block === undefined || !scanRow(block, from, this.known, row)) return undefined;
    const count = row.systems + row.users + row.assistants;
    if (row.shape !== 'chat' || !row.areContentsPlain || count > MAX_CONTENTS || row.end - from > MAX_WATCHED_LENGTH) return undefined;
    const key = count * 2 + row.systems;
    let mould = this.moulds.get(key);
    if (mould === undefined) {
      mould = this.find(count, row.systems) ?? null;
      this.moulds.set(key, mould);
    }
    if (mould === null) return undefined;
    const { absent, isTrimmed } = this.conditions;
    if (this.marks?.count !== absent.size) this.marks = new TextMarks(block, absent);
    if (this.marks.isIn(from, row.end)) return undefined;
    if (!isTrimmed) return mould;
    for (let at = 0; at < count; at++) if (!isTrimmedText(block.bytes, row.contentFrom[at]!, row.contentTo[at]!)) return undefined;
    return mould;
  }

  private find(count: number, systems: number): Mould | undefined {
    const messages = Array.from({ length: count }, (_, index): Message => {
      const role = index < systems ? 'system' : (index - systems) % 2 === 0 ? 'user' : 'assistant';
      return { role, content: this.standIns.textOf(index) };
    });
    const rendered = this.render({ messages });
    if ('problem' in rendered || rendered.warnings.length > 0) return undefined;
    return this.cut(rendered.segments, count);
  }

  private cut(segments: Segment[], count: number): Mould | undefined {
    const json = JSON.stringify(segments);
    const standIns = Array.from({ length: count }, (_, index) => JSON.stringify(this.standIns.textOf(index)).slice(1, -1));
    const places = standIns.flatMap((text, content) => findAll(json, text).map((at) => ({ at, content }))).sort((a, b) => a.at - b.at);
    if (places.length > count * MAX_PRINTED) return undefined;
    const pieces: Mould['pieces'] = [];
    let from = 0;
    for (const { at, content } of [...places, { at: json.length, content: undefined }]) {
      const text = json.slice(from, at);
      if (this.standIns.isIn(text)) return undefined; // a part of one
      const bytes = Buffer.concat([Buffer.from(text), Buffer.alloc(PADDING_BYTES)]);
      pieces.push({ words: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), length: bytes.length - PADDING_BYTES });
      if (content !== undefined) from = at + standIns[content]!.length;
    }
    return { pieces, contents: Uint16Array.from(places, ({ content }) => content) };
  }
}

function findAll(text: string, part: string): number[] {
  const found: number[] = [];
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) found.push(at);
  return found;
}

/** Where in a block some texts are, asked from its beginning to its end. Texts are sought as JSON.stringify writes them. */
class TextMarks {
  readonly count: number;
  private readonly bytes: Buffer;
  private readonly marks: Buffer[];
  private readonly found: number[];
  private next = -1;

  constructor({ bytes, length }: ScannedBlock, texts: ReadonlySet<string>) {
    this.count = texts.size;
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, length);
    this.marks = [...texts].map((text) => Buffer.from(JSON.stringify(text).slice(1, -1)));
    this.found = this.marks.map(() => -1);
  }

  isIn(from: number, to: number): boolean {
    if (this.next < from) {
      this.next = Infinity;
      for (let index = 0; index < this.marks.length; index++) {
        if (this.found[index]! < from) {
          const at = this.bytes.indexOf(this.marks[index]!, from);
          this.found[index] = at < 0 ? Infinity : at;
        }
        this.next = Math.min(this.next, this.found[index]!);
      }
    }
    return this.next < to;
  }
}

const BACKSLASH = 0x5c;

/** Whether a text written without escapes that it does not need surely has no white space at its ends. */
function isTrimmedText(bytes: Uint8Array, from: number, to: number): boolean {
  return isVisibleAt(bytes, from) && bytes[to - 2] !== BACKSLASH && isVisibleAt(bytes, lastCharacter(bytes, to));
}

function lastCharacter(bytes: Uint8Array, to: number): number {
  let at = to - 1;
  while ((bytes[at]! & 0xc0) === 0x80) at--;
  return at;
}

/** Whether the character that begins here is no space, and none that might be one. */
function isVisibleAt(bytes: Uint8Array, at: number): boolean {
  const first = bytes[at]!;
  if (first < 0x80) return first > 0x20 && first !== BACKSLASH && first !== 0x7f;
  if (first < 0xe0) return first > 0xc2;
  if (first >= 0xf0) return true;
  const code = ((first & 0x0f) << 12) | ((bytes[at + 1]! & 0x3f) << 6) | (bytes[at + 2]! & 0x3f);
  return /\S/.test(String.fromCharCode(code));
}
