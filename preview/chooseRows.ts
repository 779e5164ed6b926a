/**
 * The rows of a dataset that a preview shows, and a sample of it for estimates, read by byte ranges: from an object or a file, as
 * little as is needed.
 */
import { statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { fieldError } from '../schemas/errors.js';

/** Where the bytes are. */
export interface RowReader {
  sizeBytes: number;
  /** Bytes `start` (included) to `end` (excluded). */
  read(start: number, end: number): Promise<Buffer>;
}

/** `line`: physical, from 1; null where it is not known because what lies before was not read. */
export interface ChosenRow {
  line: number | null;
  text: string;
}

export interface ChosenRows {
  shown: ChosenRow[];
  /** Begins with the dataset's first row. */
  sample: ChosenRow[];
  /** `ALL`: the sample is every row. `ROWS`: evenly spread rows. `BYTES`: rows at evenly spread places of the file, of which long rows take more. */
  sampled: 'ALL' | 'ROWS' | 'BYTES';
}

/** The bytes of a local file. */
export function openFileRows(file: string): RowReader {
  return {
    sizeBytes: statSync(file).size,
    async read(start, end) {
      const handle = await open(file, 'r');
      try {
        const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(end - start), 0, end - start, start);
        return buffer.subarray(0, bytesRead);
      } finally {
        await handle.close();
      }
    },
  };
}

/** A file up to this size is read whole. */
const WHOLE_BYTES = 1024 * 1024;
const SAMPLE_ROWS = 200;
const STRETCHES = 16;
const STRETCH_BYTES = 64 * 1024;
/** A row of the greatest length is in it whole. */
const MAX_STRETCH_BYTES = 17 * 1024 * 1024;
/** How far into a file a line is looked for. */
const MAX_SEARCH_BYTES = 1024 ** 3;
const SEARCH_BYTES = 4 * 1024 * 1024;
const NEWLINE = 10;

/** The first `rows` rows, or those of the given `lines`. @throws TemperError INVALID_FIELD for a line that has no row */
export async function chooseRows(reader: RowReader, { rows, lines }: { rows: number; lines: number[] }): Promise<ChosenRows> {
  const { sizeBytes } = reader;
  if (sizeBytes <= WHOLE_BYTES) {
    const all = splitLines(await reader.read(0, sizeBytes), 1);
    const step = Math.max(1, all.length / SAMPLE_ROWS);
    const sample = Array.from({ length: Math.min(all.length, SAMPLE_ROWS) }, (_, index) => all[Math.floor(index * step)]!);
    const shown =
      lines.length === 0 ? all.slice(0, rows) : lines.map((line) => requireRow(all.find((row) => row.line === line)?.text, line));
    return { shown, sample, sampled: all.length <= SAMPLE_ROWS ? 'ALL' : 'ROWS' };
  }
  const sample: ChosenRow[] = [];
  for (let stretch = 0; stretch < STRETCHES; stretch++) {
    const start = Math.floor((stretch * sizeBytes) / STRETCHES);
    sample.push(...(await readStretch(reader, start, Math.ceil(SAMPLE_ROWS / STRETCHES))));
  }
  const shown = lines.length === 0 ? await readStretch(reader, 0, rows) : await findLines(reader, lines);
  return { shown, sample, sampled: 'BYTES' };
}

/** Up to `rows` whole rows from the first line that begins after byte `start`, at least one where there is one. */
async function readStretch(reader: RowReader, start: number, rows: number): Promise<ChosenRow[]> {
  for (let size = STRETCH_BYTES; ; size *= 2) {
    const end = Math.min(reader.sizeBytes, start + size);
    const bytes = await reader.read(start, end);
    const from = start === 0 ? 0 : bytes.indexOf(NEWLINE) + 1;
    const to = end === reader.sizeBytes ? bytes.length : bytes.lastIndexOf(NEWLINE) + 1;
    const found = (start > 0 && from === 0) || to <= from ? [] : splitLines(bytes.subarray(from, to), start === 0 ? 1 : null);
    const enough = start === 0 ? found.length >= rows : found.length > 0;
    if (enough || end === reader.sizeBytes || size >= MAX_STRETCH_BYTES) return found.slice(0, rows);
  }
}

/** Reads on from the beginning until the last of the lines has come. */
async function findLines(reader: RowReader, lines: number[]): Promise<ChosenRow[]> {
  const wanted = new Set(lines);
  const last = Math.max(...lines);
  const texts = new Map<number, string>();
  const end = Math.min(reader.sizeBytes, MAX_SEARCH_BYTES);
  let rest = Buffer.alloc(0);
  let line = 0;
  for (let offset = 0; offset < end && line < last; offset += SEARCH_BYTES) {
    const bytes = Buffer.concat([rest, await reader.read(offset, Math.min(end, offset + SEARCH_BYTES))]);
    let from = 0;
    for (let to = bytes.indexOf(NEWLINE); to >= 0 && line < last; to = bytes.indexOf(NEWLINE, from)) {
      if (wanted.has(++line)) texts.set(line, bytes.toString('utf8', from, to));
      from = to + 1;
    }
    rest = bytes.subarray(from);
  }
  if (rest.length > 0 && end === reader.sizeBytes && wanted.has(line + 1)) texts.set(line + 1, rest.toString('utf8'));
  if (end < reader.sizeBytes && line < last)
    throw fieldError('INVALID_FIELD', 'lines', `Line ${last} lies beyond the first GiB of the dataset, further than a preview looks.`);
  return lines.map((wantedLine) => requireRow(texts.get(wantedLine), wantedLine));
}

function requireRow(text: string | undefined, line: number): ChosenRow {
  if (text !== undefined && text.trim() !== '') return { line, text: withoutMark(text) };
  throw fieldError('INVALID_FIELD', 'lines', `The dataset has no row on line ${line}.`);
}

/** The lines that are not blank. `firstLine`: the number of the first, where it is known. */
function splitLines(bytes: Buffer, firstLine: number | null): ChosenRow[] {
  return withoutMark(bytes.toString('utf8'))
    .split('\n')
    .map((text, index) => ({ line: firstLine === null ? null : firstLine + index, text }))
    .filter(({ text }) => text.trim() !== '');
}

/** A byte order mark may stand at the beginning of a file. */
function withoutMark(text: string): string {
  return text.startsWith('\ufeff') ? text.slice(1) : text;
}
