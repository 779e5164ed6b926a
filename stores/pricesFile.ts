/** The operator's prices: a YAML or JSON file that TEMPER_PRICES names, or JSON in TEMPER_GPU_PRICES. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { checkPrices, type Prices } from '../schemas/prices.js';

/** Null when neither is set: then no costs are shown. @throws Error saying what is wrong */
export function readPrices(environment: NodeJS.ProcessEnv): Prices | null {
  const { TEMPER_PRICES: file, TEMPER_GPU_PRICES: text } = environment;
  if (!file && !text) return null;
  const source = file ? `The file ${file} of TEMPER_PRICES` : 'TEMPER_GPU_PRICES';
  let value: unknown;
  try {
    value = file ? parse(readFileSync(file, 'utf8')) : JSON.parse(text!);
  } catch (error) {
    throw new Error(`${source} cannot be read: ${(error as Error).message.split('\n')[0]}`);
  }
  return checkPrices(value, source);
}
