import { describe, expect, it } from 'vitest';
import { scanFiniteValues } from '../../../models/finiteValues.js';
import { rawFile, readHeader, tensorFile, type Entry } from '../../safetensorsFiles.js';

const entry = (changes: Partial<Record<keyof Entry, unknown>> = {}) => ({ dtype: 'F32', shape: [2], data_offsets: [0, 8], ...changes });
const file = (entries: Record<string, unknown>, dataBytes: number) => rawFile(JSON.stringify(entries), dataBytes);

it('reads names, types, shapes and places', async () => {
  const tensors = await readHeader(
    rawFile(
      `${JSON.stringify({ __metadata__: { format: 'pt' }, b: entry({ data_offsets: [4, 12] }), a: entry({ shape: [], data_offsets: [0, 4] }) })}   `,
      12,
    ),
  );
  expect([...tensors.keys()]).toEqual(['b', 'a']);
  expect(tensors.get('a')).toMatchObject({ dtype: 'F32', shape: [] });
  expect(tensors.get('b')!.begin - tensors.get('a')!.begin).toBe(4);
});

describe('a file that is wrong', () => {
  it.each([
    ['too short for a length', Buffer.from([1, 2, 3]), 'has 3 bytes'],
    ['a length of 2^63', rawFile('{}', 0, 2n ** 63n), 'header would have 9223372036854775808 bytes'],
    ['a length of a gigabyte', rawFile('{}', 0, 10n ** 9n), 'at most 8388608'],
    ['a header beyond the end', rawFile('{}', 0, 100n), 'is cut short'],
    ['no JSON', rawFile('{"a":', 0), 'not valid JSON'],
    ['no UTF-8', rawFile(Buffer.from([0x7b, 0xff, 0x7d])), 'not UTF-8'],
    ['a name twice', rawFile(`{"a":${JSON.stringify(entry())},"a":${JSON.stringify(entry())}}`, 8), 'not valid JSON'],
    ['metadata that is no text', file({ __metadata__: { a: 1 } }, 0), '__metadata__'],
    ['an unknown type', file({ a: entry({ dtype: 'F4' }) }, 8), 'unknown type "F4"'],
    ['a negative size', file({ a: entry({ shape: [-2] }) }, 8), 'impossible shape [-2]'],
    ['a shape that overflows', file({ a: entry({ shape: [2 ** 31, 2 ** 31] }) }, 8), 'where F32'],
    ['a place of another size', file({ a: entry({ shape: [3] }) }, 8), 'of 8 bytes, where F32 [3] takes 12'],
    ['a place backwards', file({ a: entry({ data_offsets: [8, 0] }) }, 8), 'of -8 bytes'],
    ['an unknown field', file({ a: { ...entry(), more: 1 } }, 8), 'unknown field "more"'],
    ['an overlap', file({ a: entry(), b: entry({ data_offsets: [4, 12] }) }, 12), '"b" that lies over another'],
    ['a gap', file({ a: entry(), b: entry({ data_offsets: [12, 20] }) }, 20), '4 bytes before tensor "b"'],
    ['tensors beyond the end', file({ a: entry() }, 4), 'is cut short'],
    ['bytes after the last tensor', file({ a: entry() }, 9), '1 bytes after its last tensor'],
    ['a tensor that is no object', file({ a: null }, 0), 'unknown type nothing'],
  ])('%s', async (_, bytes, message) => {
    await expect(readHeader(bytes)).rejects.toThrow(message);
  });
});

describe('values that are not finite', () => {
  const scan = async (bytes: Buffer, chunkBytes: number) => {
    const found = scanFiniteValues(await readHeader(bytes));
    for (let at = 0; at < bytes.length; at += chunkBytes) found.take(bytes.subarray(at, at + chunkBytes));
    return found.found();
  };

  it.each([
    ['F32', 4, 0x7fc00000],
    ['F32', 4, 0xff800000],
    ['F16', 2, 0x7c00],
    ['BF16', 2, 0xff80],
  ])('are found in %s, however the file is cut', async (dtype, size, bits) => {
    const bytes = tensorFile({ good: [5], bad: [7], last: [3] }, dtype);
    expect(await scan(bytes, 7)).toBe(null);
    const at = bytes.length - (3 + 1) * size;
    if (size === 4) bytes.writeUInt32LE(bits, at);
    else bytes.writeUInt16LE(bits, at);
    for (const chunkBytes of [1, 3, 7, 1000]) expect(await scan(bytes, chunkBytes)).toBe('bad');
  });
});
