import { describe, expect, test } from 'vitest';
import { MAX_LINE_BYTES, readBlocks } from '../../../datasets/blocks.js';
import { readRows } from '../../../datasets/rows.js';
import { makeFileWriter } from './files.js';

const write = makeFileWriter();
const places = (file: string) => [...readRows(file)].map(({ line, byteOffset, row }) => [line, byteOffset, row.a]);

describe('lines are physical, from 1, and end at \\n alone', () => {
  test.each([
    [
      'plain',
      '{"a":1}\n{"a":2}\n',
      [
        [1, 0, 1],
        [2, 8, 2],
      ],
    ],
    [
      'no last newline',
      '{"a":1}\n{"a":2}',
      [
        [1, 0, 1],
        [2, 8, 2],
      ],
    ],
    [
      'CRLF',
      '{"a":1}\r\n{"a":2}\r\n',
      [
        [1, 0, 1],
        [2, 9, 2],
      ],
    ],
    [
      'byte order mark',
      '\ufeff{"a":1}\n{"a":2}\n',
      [
        [1, 3, 1],
        [2, 11, 2],
      ],
    ],
    [
      'blank lines',
      '\n{"a":1}\n \t\r\n\n{"a":2}\n\n',
      [
        [2, 1, 1],
        [5, 14, 2],
      ],
    ],
    [
      'a bare CR and U+2028 are not line ends',
      '{"a":\r1}\n{"a":"\u2028"}\n{"a":3}',
      [
        [1, 0, 1],
        [2, 9, '\u2028'],
        [3, 21, 3],
      ],
    ],
    ['empty file', '', []],
  ])('%s', (_name, content, expected) => {
    expect(places(write(content))).toEqual(expected);
  });
});

test('any cut into ranges gives every row once, with its line of the whole file', () => {
  const file = write(Array.from({ length: 57 }, (_, index) => `${'\n'.repeat(index % 3)}{"a":"${'x'.repeat(index * 7)}"}`).join('\n'));
  const whole = [...readRows(file)];
  const sizeBytes = whole.at(-1)!.byteOffset + 500;
  for (const rangeBytes of [1, 2, 7, 64, 1000]) {
    const pieces = [];
    for (let start = 0; start < sizeBytes; start += rangeBytes) pieces.push(...readRows(file, { start, end: start + rangeBytes }));
    expect(pieces).toEqual(whole);
  }
});

test('names of object internals are ordinary fields, and absent ones are absent', () => {
  const [first] = readRows(write('{"__proto__":{"admin":true},"constructor":1}'));
  expect(Object.keys(first!.row)).toEqual(['__proto__', 'constructor']);
  expect(first!.row.admin).toBeUndefined();
  expect(first!.row.toString).toBeUndefined();
});

test('a line that is not a JSON object throws with its number', () => {
  expect(() => places(write('{"a":1}\n\n[1]\n'))).toThrow('line 3 is not a JSON object');
  expect(() => places(write('{"a":1}\n{"a":\n'))).toThrow('line 2 is not JSON');
});

test('lines up to the limit are read whole, longer ones are skipped to the next newline', () => {
  const longest = 'x'.repeat(MAX_LINE_BYTES);
  const file = write(`a\n${longest}\nb\n${longest}y\nc\n${longest}yy`);
  const blocks = [...readBlocks(file, { start: 0, end: Infinity })].map(({ bytes, byteOffset, tooLongBytes }) => [
    byteOffset,
    tooLongBytes ?? bytes.length,
  ]);
  const tooLong = MAX_LINE_BYTES + 5; // where the first line over the limit begins
  expect(blocks).toEqual([
    [0, 2],
    [2, MAX_LINE_BYTES + 1],
    [MAX_LINE_BYTES + 3, 2],
    [tooLong, MAX_LINE_BYTES + 2],
    [tooLong + MAX_LINE_BYTES + 2, 2],
    [tooLong + MAX_LINE_BYTES + 4, MAX_LINE_BYTES + 2],
  ]);
});
