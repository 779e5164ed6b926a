/**
 * The header of a safetensors file, read alone: eight bytes of length, then JSON with each tensor's type, shape and place. All
 * that the format promises is checked here, so that what passes may be loaded: places inside the file, without overlap or gap,
 * as large as type and shape say, and no name twice.
 */
import { checkJson } from '../datasets/checkJson.js';
import { shown } from './problems.js';

export interface TensorInfo {
  dtype: string;
  shape: number[];
  /** In the file, from its beginning. */
  begin: number;
  end: number;
}
export type TensorInfos = Map<string, TensorInfo>;

/** The format allows 100 MB. The largest header of a known model's file has 1.5 MB. */
const MAX_HEADER_BYTES = 8 * 1024 * 1024;
const MAX_TENSORS = 20_000;
const MAX_NAME_LENGTH = 512;
const MAX_DIMENSIONS = 8;
const LENGTH_BYTES = 8;

const BYTES_PER_VALUE: Record<string, number> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
};

export class SafetensorsError extends Error {}

/**
 * @param read  bytes of the file, from `begin` up to `end`, which may be fewer at its end
 * @throws SafetensorsError  what is wrong, as the end of a sentence that begins with the file's name
 */
export async function readSafetensorsHeader(
  read: (begin: number, end: number) => Promise<Buffer>,
  fileBytes: number,
): Promise<TensorInfos> {
  if (fileBytes < LENGTH_BYTES) throw new SafetensorsError(`is no safetensors file: it has ${fileBytes} bytes`);
  const headerBytes = (await read(0, LENGTH_BYTES)).readBigUInt64LE();
  if (headerBytes > BigInt(MAX_HEADER_BYTES))
    throw new SafetensorsError(`is no safetensors file: its header would have ${headerBytes} bytes, at most ${MAX_HEADER_BYTES} are taken`);
  const dataBegin = LENGTH_BYTES + Number(headerBytes);
  if (dataBegin > fileBytes) throw new SafetensorsError(`is cut short: its header ends at byte ${dataBegin}, the file at ${fileBytes}`);
  const tensors = readTensors(decodeHeader(await read(LENGTH_BYTES, dataBegin)), dataBegin);
  checkPlaces(tensors, dataBegin, fileBytes);
  return tensors;
}

function decodeHeader(bytes: Buffer): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new SafetensorsError('has a header that is not UTF-8');
  }
  const { row, problem } = checkJson(text.trimEnd());
  if (!row) throw new SafetensorsError(`has a header that is not valid JSON: found ${problem.found}, expected ${problem.expected}`);
  return row;
}

function readTensors(header: Record<string, unknown>, dataBegin: number): TensorInfos {
  const { __metadata__: metadata, ...entries } = header;
  if (metadata !== undefined && !isTextRecord(metadata)) throw new SafetensorsError('has a __metadata__ that is not an object of strings');
  const names = Object.keys(entries);
  if (names.length > MAX_TENSORS) throw new SafetensorsError(`has ${names.length} tensors, at most ${MAX_TENSORS} are taken in one file`);
  return new Map(names.map((name) => [name, readTensor(name, entries[name], dataBegin)]));
}

function readTensor(name: string, entry: unknown, dataBegin: number): TensorInfo {
  const label = `tensor ${shown(name)}`;
  if (name.length > MAX_NAME_LENGTH) throw new SafetensorsError(`has a ${label} whose name is longer than ${MAX_NAME_LENGTH} characters`);
  const { dtype, shape, data_offsets: offsets, ...more } = (entry ?? {}) as Record<string, unknown>;
  if (Object.keys(more).length > 0) throw new SafetensorsError(`has a ${label} with the unknown field ${shown(Object.keys(more)[0])}`);
  const valueBytes = typeof dtype === 'string' && Object.hasOwn(BYTES_PER_VALUE, dtype) ? BYTES_PER_VALUE[dtype]! : undefined;
  if (valueBytes === undefined) throw new SafetensorsError(`has a ${label} of the unknown type ${shown(dtype)}`);
  if (!isSizes(shape) || shape.length > MAX_DIMENSIONS)
    throw new SafetensorsError(`has a ${label} with the impossible shape ${shown(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2) throw new SafetensorsError(`has a ${label} with the impossible place ${shown(offsets)}`);
  const wantedBytes = shape.reduce((product, size) => product * size, valueBytes);
  const [begin, end] = offsets as [number, number];
  if (!Number.isSafeInteger(wantedBytes) || end - begin !== wantedBytes)
    throw new SafetensorsError(`has a ${label} of ${end - begin} bytes, where ${String(dtype)} ${shown(shape)} takes ${wantedBytes}`);
  return { dtype: dtype as string, shape, begin: dataBegin + begin, end: dataBegin + end };
}

/** Every byte of the data belongs to exactly one tensor. */
function checkPlaces(tensors: TensorInfos, dataBegin: number, fileBytes: number): void {
  let reached = dataBegin;
  for (const [name, { begin, end }] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin < reached) throw new SafetensorsError(`has a tensor ${shown(name)} that lies over another`);
    if (begin > reached) throw new SafetensorsError(`has ${begin - reached} bytes before tensor ${shown(name)} that belong to no tensor`);
    reached = end;
  }
  if (reached > fileBytes) throw new SafetensorsError(`is cut short: its tensors end at byte ${reached}, the file at ${fileBytes}`);
  if (reached < fileBytes) throw new SafetensorsError(`has ${fileBytes - reached} bytes after its last tensor`);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0);
}

function isTextRecord(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every((item) => typeof item === 'string')
  );
}
