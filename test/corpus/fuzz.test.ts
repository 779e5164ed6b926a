/** Random templates with random data beside `transformers`: never another text, never a text where it raises, never a crash or a hang. */
import { expect, it } from 'vitest';
import { describeDifference } from './compare.js';
import { compareFuzz } from './fuzzRun.js';
import { gatherTemplates } from './gather.js';

const say = (line: string): void => console.log(`[fuzz] ${line}`);

it.each([1, 2, 3])('renders 2000 random templates as transformers does, seed %i', async (seed) => {
  const { wrong, slowestMs } = await compareFuzz({ seed, count: 2000, real: await gatherTemplates(say), say });
  expect(wrong.map(describeDifference).join('\n\n')).toBe('');
  expect(slowestMs).toBeLessThan(5000);
});
