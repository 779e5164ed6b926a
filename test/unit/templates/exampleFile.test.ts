/** Examples as JSON lines: the same bytes as JSON.stringify makes, and the hashes that the split goes by. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { RenderedExample } from '../../../schemas/trainerProtocol.js';
import { ExampleFile } from '../../../templates/exampleFile.js';

let folder: string;
beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), 'temper-examples-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(examples: RenderedExample[], seed = 7) {
  const file = new ExampleFile(path.join(folder, 'part'), seed);
  for (const example of examples) file.write(example);
  return { ...file.close(), text: readFileSync(path.join(folder, 'part'), 'utf8') };
}

const example = (line: number, text: string): RenderedExample => ({ line, segments: [[text, true]] });

it('writes what JSON.stringify writes', () => {
  let state = 1;
  const random = (below: number): number => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) % below;
  const alphabet = [
    'a',
    ' ',
    '"',
    '\\',
    '\n',
    '\0',
    '\x1f',
    '\x7f',
    '\x80',
    'é',
    '߿',
    'ࠀ',
    '\u2028',
    '\ue000',
    '\uffff',
    '😀',
    '𝒳',
    '\ud83d',
    '\ude00',
    'word',
  ];
  const texts = Array.from({ length: 3000 }, () => Array.from({ length: random(40) }, () => alphabet[random(alphabet.length)]!).join(''));
  // Around the borders of the pieces that are encoded at a time, and longer than the buffer.
  for (let length = 32766; length < 32771; length++) texts.push('😀'.repeat(length), `a${'😀'.repeat(length)}`);
  texts.push('\0'.repeat(3_000_000));
  const examples: RenderedExample[] = texts.map((text, index) => ({
    line: index + 1,
    segments: [
      [text, false],
      [text, true, true],
    ],
    ...(index % 2 === 0 && { label: text }),
  }));
  const { text, lengths } = write(examples);
  const lines = examples.map((each) => `${JSON.stringify(each)}\n`);
  expect(text === lines.join('')).toBe(true);
  expect([...lengths]).toEqual(lines.map((line) => Buffer.byteLength(line)));
});

it('hashes what an example says, and the seed', () => {
  const { hashes } = write([example(1, 'a'), example(2, 'a'), example(3, 'b')]);
  expect(hashes[0]).toBe(hashes[1]);
  expect(hashes[0]).not.toBe(hashes[2]);
  expect(write([example(1, 'a')], 8).hashes[0]).not.toBe(hashes[0]);
  // The hash decides which examples are held back. Should this fail, sets stored under a key no longer hold what that key means: give
  // them another version in activities/render.ts.
  expect(hashes[0]).toBe(6_526_953_505_618_348_003n);
});
