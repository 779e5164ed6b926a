/** What work costs, by a table of the operator's. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { priceOf, type Prices } from '../../../schemas/prices.js';
import { readPrices } from '../../../stores/pricesFile.js';

const work = { device: 'cuda: NVIDIA H100 80GB HBM3', gpuSeconds: 1800, baseModel: 'accounts/fireworks/models/llama-v3p1-8b', tokens: 2e6 };
const price = (prices: Partial<Prices>, changes: Partial<typeof work> = {}) =>
  priceOf({ ...work, ...changes }, { currency: 'USD', perHour: {}, ...prices });

it('adds hours of the device and tokens of the base model', () => {
  expect(price({ perHour: { h100: 4, '*': 1 } })).toBe(2);
  expect(price({ perHour: { h100: 4, '*': 1 } }, { device: 'cpu: 2 threads' })).toBe(0.5);
  expect(price({ perMillionTokens: { 'llama-v3p1-8b': 0.5, '*': 9 } })).toBe(1);
  expect(price({ perHour: { '*': 2 }, perMillionTokens: { '*': 1 } })).toBe(3);
});

it('names no price where a part of it is not known', () => {
  expect(price({ perHour: { A100: 4 } })).toBeUndefined();
  expect(price({ perHour: { '*': 1 }, perMillionTokens: { other: 1 } })).toBeUndefined();
  expect(priceOf({ ...work, tokens: null }, { currency: 'USD', perHour: { '*': 1 }, perMillionTokens: { '*': 1 } })).toBeUndefined();
});

it('is read from YAML or JSON, and refused with what is wrong', () => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'prices-')), 'prices.yaml');
  writeFileSync(file, "currency: EUR\nperHour: { H100: 2.5, '*': 1 }\nperMillionTokens: { '*': 0.1 }\n");
  expect(readPrices({ TEMPER_PRICES: file })).toEqual({ currency: 'EUR', perHour: { H100: 2.5, '*': 1 }, perMillionTokens: { '*': 0.1 } });
  expect(readPrices({ TEMPER_GPU_PRICES: '{"currency": "USD", "perHour": {"*": 1}}' })).toEqual({ currency: 'USD', perHour: { '*': 1 } });
  expect(readPrices({})).toBeNull();
  writeFileSync(file, 'currency: EUR\nperHour: { H100: cheap }\n');
  expect(() => readPrices({ TEMPER_PRICES: file })).toThrow(`${file} of TEMPER_PRICES must have a currency and prices`);
  expect(() => readPrices({ TEMPER_GPU_PRICES: '{' })).toThrow('TEMPER_GPU_PRICES cannot be read');
});
