/**
 * The fast way through a row of the common shapes, straight from its bytes: fields that were seen before, whose values are
 * strings or integers, and `messages` of system, user and assistant with text, in order. What it accepts is valid by every
 * rule of `checkJson.ts` and `checkRow.ts`; whatever it is not sure of, it leaves to them. So it never says what is wrong.
 */
import type { BlockMemory } from './blockMemory.js';
import type { Block } from './blocks.js';
import { MAX_FIELDS, type RowShape } from './rangeTally.js';
import { MAX_MESSAGES } from './rowSchemas.js';

/**
 * A block of lines, valid UTF-8, at the beginning of its memory. What follows cannot be taken for a part of a row: before it comes a
 * line ending, or it is zeros.
 */
export interface ScannedBlock {
  bytes: Uint8Array;
  words: DataView;
  /** Of the lines. */
  length: number;
  plainEnd: BlockMemory['plainEnd'];
}

export function scannedBlock({ bytes: { length }, memory }: Block): ScannedBlock {
  return { bytes: memory.buffer, words: memory.words, length, plainEnd: memory.plainEnd };
}

/** A field's name as its bytes in the file, where these need no escapes. */
export interface KnownField {
  name: string;
  bytes: Uint8Array;
}

/** What a row was found to be; overwritten by the next one. */
export interface ScannedRow {
  /** Where the row ends, its line ending left out, and where the next line begins. */
  end: number;
  next: number;
  /** How many fields it has, and of each: which of the known ones, and where its value is (strings without the quotes). */
  fields: number;
  field: Uint8Array;
  kind: Uint8Array;
  from: Int32Array;
  to: Int32Array;
  /** UTF-16 code units of a string's value. */
  characters: Int32Array;
  shape: RowShape;
  /** Of the messages, when there are any. */
  contentCharacters: number;
  systems: number;
  users: number;
  assistants: number;
  /** Where the text of each of the first `MAX_CONTENTS` messages is, without the quotes. */
  contentFrom: Int32Array;
  contentTo: Int32Array;
  /** The texts of all messages are written as JSON.stringify writes them. */
  areContentsPlain: boolean;
}

/** Messages of a row whose places are kept. */
export const MAX_CONTENTS = 64;

export const STRING = 0;
export const INTEGER = 1;
export const MESSAGES = 2;

export function emptyScannedRow(): ScannedRow {
  return {
    end: 0,
    next: 0,
    fields: 0,
    field: new Uint8Array(MAX_FIELDS),
    kind: new Uint8Array(MAX_FIELDS),
    from: new Int32Array(MAX_FIELDS),
    to: new Int32Array(MAX_FIELDS),
    characters: new Int32Array(MAX_FIELDS),
    shape: 'other',
    contentCharacters: 0,
    systems: 0,
    users: 0,
    assistants: 0,
    contentFrom: new Int32Array(MAX_CONTENTS),
    contentTo: new Int32Array(MAX_CONTENTS),
    areContentsPlain: true,
  };
}

/** The name as a field the scanner can know, or undefined when JSON may write it in more than one way. */
export function knownField(name: string): KnownField | undefined {
  return /^[^"\\\u0000-\u001f\ud800-\udfff\ufffd]*$/.test(name) ? { name, bytes: Buffer.from(name) } : undefined;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const SLASH = 0x2f;
const COLON = 0x3a;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const SPACE = 0x20;
const NEWLINE = 10;
const RETURN = 13;

/** True when the line at `from` is a row of a common shape, which `row` then describes. `known[i]` is the field of index i. */
export type ScanRow = (block: ScannedBlock, from: number, known: readonly (KnownField | undefined)[], row: ScannedRow) => boolean;

export const scanRow: ScanRow = (block, from, known, row) => {
  const { bytes } = block;
  if (bytes[from] !== OPEN) return false;
  let index = from + 1;
  let hasMessages = false;
  let hasPrompt = false;
  let hasCompletion = false;
  row.fields = 0;
  for (;;) {
    index = skipSpaces(bytes, index);
    if (bytes[index] !== QUOTE || row.fields === known.length) return false;
    // Rows mostly have the same fields in the same order.
    let which = row.fields;
    if (!isKey(bytes, index + 1, known[which])) {
      which = 0;
      while (which < known.length && !isKey(bytes, index + 1, known[which])) which++;
      if (which === known.length) return false;
    }
    for (let before = 0; before < row.fields; before++) if (row.field[before] === which) return false;
    const { name, bytes: nameBytes } = known[which]!;
    index = skipSpaces(bytes, index + 2 + nameBytes.length);
    if (bytes[index] !== COLON) return false;
    index = skipSpaces(bytes, index + 1);

    const at = row.fields++;
    row.field[at] = which;
    row.from[at] = index;
    const first = bytes[index];
    if (name === 'messages') {
      index = scanMessages(block, index, row);
      row.kind[at] = MESSAGES;
      hasMessages = true;
    } else if (first === QUOTE) {
      row.from[at] = index + 1;
      index = scanString(block, index + 1);
      row.kind[at] = STRING;
      row.to[at] = index - 1;
      row.characters[at] = stringCharacters;
    } else {
      index = scanInteger(bytes, index);
      row.kind[at] = INTEGER;
      row.to[at] = index;
    }
    if (index < 0) return false;
    if (name === 'prompt') hasPrompt = true;
    else if (name === 'completion') hasCompletion = true;

    index = skipSpaces(bytes, index);
    const next = bytes[index++];
    if (next === CLOSE) break;
    if (next !== COMMA) return false;
  }
  row.shape = hasMessages ? 'chat' : hasPrompt && hasCompletion ? 'completion' : 'other';
  row.end = index;
  if (bytes[index] === RETURN) index++;
  else if (index === block.length) {
    row.next = index;
    return true;
  }
  row.next = index + 1;
  return bytes[index] === NEWLINE;
};

function skipSpaces(bytes: Uint8Array, index: number): number {
  while (bytes[index] === SPACE) index++;
  return index;
}

/** Whether the key at `index`, after its opening quote, is the field's name. */
function isKey(bytes: Uint8Array, index: number, field: KnownField | undefined): boolean {
  if (field === undefined) return false;
  const name = field.bytes;
  for (let at = 0; at < name.length; at++) if (bytes[index + at] !== name[at]) return false;
  return bytes[index + name.length] === QUOTE;
}

/** Returns the index after the value, or -1. */
function scanMessages(block: ScannedBlock, index: number, row: ScannedRow): number {
  const { bytes, words } = block;
  if (bytes[index] !== OPEN_LIST) return -1;
  index++;
  row.contentCharacters = 0;
  row.systems = 0;
  row.users = 0;
  row.assistants = 0;
  row.areContentsPlain = true;
  for (let count = 0; ; count++) {
    index = skipSpaces(bytes, index);
    if (bytes[index] !== OPEN || count === MAX_MESSAGES) return -1;
    index++;
    let hasRole = false;
    let hasContent = false;
    for (;;) {
      index = skipSpaces(bytes, index);
      if (bytes[index] !== QUOTE) return -1;
      const start = words.getInt32(index + 1, true);
      const isRole = start === ROLE && bytes[index + 5] === QUOTE;
      if (!isRole && (start !== CONT || words.getInt32(index + 5, true) !== ENT)) return -1;
      if (isRole ? hasRole : hasContent) return -1;
      index = skipSpaces(bytes, index + (isRole ? 6 : 9));
      if (bytes[index] !== COLON) return -1;
      index = skipSpaces(bytes, index + 1);
      if (bytes[index] !== QUOTE) return -1;
      index++;
      if (isRole) {
        hasRole = true;
        // In order: user and assistant take turns, after at most one system message.
        const word = words.getInt32(index, true);
        if (row.users === row.assistants && word === USER && bytes[index + 4] === QUOTE) {
          row.users++;
          index += 5;
        } else if (
          row.users > row.assistants &&
          word === ASSI &&
          words.getInt32(index + 4, true) === STAN &&
          isTAndQuote(bytes, index + 8)
        ) {
          row.assistants++;
          index += 10;
        } else if (count === 0 && row.users === 0 && word === SYST && words.getInt32(index + 3, true) === TEM) {
          row.systems = 1;
          index += 7;
        } else return -1;
      } else {
        hasContent = true;
        if (!isVisible(bytes, index)) return -1;
        const start = index;
        index = scanString(block, index);
        if (index < 0) return -1;
        row.contentCharacters += stringCharacters;
        if (!isStringPlain) row.areContentsPlain = false;
        if (count < MAX_CONTENTS) {
          row.contentFrom[count] = start;
          row.contentTo[count] = index - 1;
        }
      }
      index = skipSpaces(bytes, index);
      const next = bytes[index++];
      if (next === CLOSE) break;
      if (next !== COMMA) return -1;
    }
    if (!hasRole || !hasContent) return -1;
    index = skipSpaces(bytes, index);
    const next = bytes[index++];
    if (next === CLOSE_LIST) return row.users > 0 && row.users === row.assistants ? index : -1;
    if (next !== COMMA) return -1;
  }
}

/** Four characters as the word that reading them gives. */
function wordOf(text: string): number {
  return Buffer.from(text).readInt32LE();
}

const ROLE = wordOf('role');
const CONT = wordOf('cont');
const ENT = wordOf('ent"');
const SYST = wordOf('syst');
const TEM = wordOf('tem"');
const USER = wordOf('user');
const ASSI = wordOf('assi');
const STAN = wordOf('stan');

function isTAndQuote(bytes: Uint8Array, index: number): boolean {
  return bytes[index] === 0x74 && bytes[index + 1] === QUOTE;
}

/** Whether the string whose first character is at `index` is surely not blank. */
function isVisible(bytes: Uint8Array, index: number): boolean {
  for (;;) {
    const byte = bytes[index]!;
    if (byte === SPACE) index++;
    else if (byte === BACKSLASH) {
      const kind = bytes[index + 1]!;
      if (kind === 0x75) {
        const unit = hexUnit(bytes, index + 2);
        return unit > SPACE && /\S/.test(String.fromCharCode(unit));
      }
      if (!'nrtf'.includes(String.fromCharCode(kind))) return true;
      index += 2;
    } else if (byte < 0x7f) return byte > SPACE && byte !== QUOTE;
    // All first bytes of UTF-8 but those of the spaces outside ASCII: U+00A0, U+1680, U+2000…, U+3000, U+FEFF.
    else return (byte >= 0xc3 && byte !== 0xe1 && byte !== 0xe2 && byte !== 0xe3 && byte !== 0xef) || isVisibleThreeBytes(bytes, index);
  }
}

/** Quotes, dashes and Japanese, which share their first bytes with spaces. */
function isVisibleThreeBytes(bytes: Uint8Array, index: number): boolean {
  const first = bytes[index]!;
  if (first < 0xe1) return false;
  const code = ((first & 0x0f) << 12) | ((bytes[index + 1]! & 0x3f) << 6) | (bytes[index + 2]! & 0x3f);
  return /\S/.test(String.fromCharCode(code));
}

/** UTF-16 code units of the string that `scanString` read last. */
let stringCharacters = 0;
/** Whether it is written as JSON.stringify writes it: without escapes that it does not need. */
let isStringPlain = true;

/** Reads the string whose first character is at `index`. Returns the index after its closing quote, or -1. */
function scanString({ bytes, plainEnd }: ScannedBlock, index: number): number {
  const start = index;
  let fewer = 0; // code units fewer than bytes
  isStringPlain = true;
  for (;;) {
    index = plainEnd(index);
    let byte = bytes[index]!;
    if (byte === QUOTE) {
      stringCharacters = index - start - fewer;
      return index + 1;
    }
    if (byte === BACKSLASH) {
      const length = escapeLength(bytes, index);
      if (length === 0) return -1;
      if (length > 2 || bytes[index + 1] === SLASH) isStringPlain = false;
      index += length;
      fewer += length === 12 ? 10 : length - 1;
    } else if (byte >= 0x80) {
      do {
        const length = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
        index += length;
        fewer += length === 4 ? 2 : length - 1;
        byte = bytes[index]!;
      } while (byte >= 0x80);
    } else return -1; // a control character, or the end of the block
  }
}

/** Bytes of the escape at `index`: 2, 6, 12 for a pair of surrogates, or 0 when it is none, or NUL, or half of a pair. */
function escapeLength(bytes: Uint8Array, index: number): number {
  const kind = bytes[index + 1]!;
  if (kind !== 0x75) return IS_ESCAPE[kind] === 1 ? 2 : 0;
  const unit = hexUnit(bytes, index + 2);
  if (unit <= 0) return 0;
  if (unit < 0xd800 || unit > 0xdfff) return 6;
  if (unit > 0xdbff || bytes[index + 6] !== BACKSLASH || bytes[index + 7] !== 0x75) return 0;
  const second = hexUnit(bytes, index + 8);
  return second >= 0xdc00 && second <= 0xdfff ? 12 : 0;
}

const IS_ESCAPE = Uint8Array.from({ length: 256 }, (_, byte) => ('"\\/bfnrt'.includes(String.fromCharCode(byte)) ? 1 : 0));
const HEX_DIGIT = Int8Array.from({ length: 256 }, (_, byte) => '0123456789abcdef'.indexOf(String.fromCharCode(byte).toLowerCase()));

function hexUnit(bytes: Uint8Array, index: number): number {
  let unit = 0;
  for (let at = index; at < index + 4; at++) {
    const digit = HEX_DIGIT[bytes[at]!] ?? -1;
    if (digit < 0) return -1;
    unit = unit * 16 + digit;
  }
  return unit;
}

/** An integer that a double holds exactly. Returns the index after it, or -1. */
function scanInteger(bytes: Uint8Array, index: number): number {
  if (bytes[index] === 0x2d) index++;
  const start = index;
  while (bytes[index]! >= 0x30 && bytes[index]! <= 0x39) index++;
  const digits = index - start;
  if (digits === 0 || digits > 15 || (digits > 1 && bytes[start] === 0x30)) return -1;
  const next = bytes[index];
  // Not the beginning of a fraction or an exponent; -0 is 0 as a label.
  return (next === COMMA || next === CLOSE || next === SPACE) && !(digits === 1 && bytes[start] === 0x30 && bytes[start - 1] === 0x2d)
    ? index
    : -1;
}
