/**
 * The short form of the comparison with `transformers` (test/corpus): the templates that come with the trainer's own packages and ours, with
 * every conversation, and a few random ones.
 */
import { expect, it } from 'vitest';
import { compareTemplates, describeDifference } from '../../corpus/compare.js';
import { compareFuzz } from '../../corpus/fuzzRun.js';
import { gatherTemplates, ownTemplates } from '../../corpus/gather.js';

const say = (line: string): void => console.log(line);

it('renders the templates of TRL, and ours, as transformers does', { timeout: 120_000 }, async () => {
  const tallies = await compareTemplates([...(await gatherTemplates(say, { offline: true })), ...ownTemplates()], say);
  const differences = [...tallies.values()].flatMap((tally) => tally.differences);
  expect(differences.slice(0, 5).map(describeDifference).join('\n\n')).toBe('');
  expect(tallies.get('trl')!.identical).toBeGreaterThan(8000);
});

it('renders random templates as transformers does', { timeout: 120_000 }, async () => {
  const { wrong } = await compareFuzz({ seed: 7, count: 300, real: ownTemplates(), say });
  expect(wrong.map(describeDifference).join('\n\n')).toBe('');
});
