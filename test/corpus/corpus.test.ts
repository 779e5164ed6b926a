/**
 * Every chat template that packages on PyPI and npm carry, with every conversation of conversations.jsonl, beside `transformers`: the same
 * text to the byte, the same spans, and an error wherever it raises one. `npm test -- test/corpus`
 */
import { expect, it } from 'vitest';
import { compareTemplates, describeDifference } from './compare.js';
import { gatherTemplates, ownTemplates } from './gather.js';

const say = (line: string): void => console.log(`[corpus] ${line}`);

it('renders a thousand templates as transformers does', async () => {
  const templates = [...(await gatherTemplates(say)), ...ownTemplates()];
  expect(templates.length).toBeGreaterThan(900);
  const tallies = await compareTemplates(templates, say);
  const differences = [...tallies.values()].flatMap((tally) => tally.differences);
  expect(differences.slice(0, 20).map(describeDifference).join('\n\n')).toBe('');
  expect([...tallies.values()].reduce((sum, { identical }) => sum + identical, 0)).toBeGreaterThan(100_000);
});
