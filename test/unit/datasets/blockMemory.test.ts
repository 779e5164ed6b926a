import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import loadWabt from 'wabt';
import { takeBlockMemory } from '../../../datasets/blockMemory.js';
import { BLOCK_MEMORY_WASM } from '../../../datasets/blockMemory.wasm.js';
import { hashBytes } from '../../../datasets/hashBytes.js';
import { makeRandom } from './files.js';

const { buffer, words, plainEnd, hash, hashed } = takeBlockMemory();
const endsPlainText = (byte: number) => byte === 0x22 || byte === 0x5c || byte < 0x20 || byte >= 0x80;

test('the bytes of the WebAssembly are what its source gives', async () => {
  const source = readFileSync(new URL('../../../datasets/blockMemory.wat', import.meta.url), 'utf8');
  const { buffer } = (await loadWabt()).parseWat('blockMemory.wat', source, { simd: true }).toBinary({});
  expect(BLOCK_MEMORY_WASM).toBe(Buffer.from(buffer).toString('base64'));
});

test('plain text ends at the first byte that may end it, of each value and at each place', () => {
  for (let byte = 0; byte < 256; byte++) {
    for (let place = 0; place < 33; place++) {
      buffer.fill(0x61, 0, 33).fill(0, 33, 64);
      buffer[place] = byte;
      expect(plainEnd(0), `${byte} at ${place}`).toBe(endsPlainText(byte) ? place : 33);
    }
  }
});

test('a row has one hash, by WebAssembly and by JavaScript', () => {
  const random = makeRandom(7);
  const expected = new Uint32Array(2);
  for (let round = 0; round < 3000; round++) {
    const from = random(40);
    const to = from + random(100);
    for (let index = 0; index < 200; index++) buffer[index] = random(256);
    hash(from, to);
    hashBytes(words, from, to, expected, 0);
    expect([...hashed], `${from} to ${to}`).toEqual([...expected]);
  }
});
