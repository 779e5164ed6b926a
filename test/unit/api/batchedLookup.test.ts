import { expect, it } from 'vitest';
import { batchLookups } from '../../../api/batchedLookup.js';

it('answers a call with what was true after it came, and all calls of the same time with one lookup', async () => {
  const valid = new Set(['ann', 'bob']);
  const asked: string[][] = [];
  const ends: (() => void)[] = [];
  const find = batchLookups(async (keys) => {
    asked.push(keys);
    const seen = new Map(keys.filter((key) => valid.has(key)).map((key) => [key, `${key}'s`]));
    await new Promise<void>((resolve) => ends.push(resolve));
    return seen;
  });
  const before = [find('ann'), find('bob'), find('ann')];
  await expect.poll(() => asked).toEqual([['ann', 'bob']]);
  valid.delete('ann');
  const after = [find('ann'), find('bob')];
  ends[0]!();
  expect(await Promise.all(before)).toEqual(["ann's", "bob's", "ann's"]);
  await expect.poll(() => asked).toHaveLength(2);
  ends[1]!();
  expect(await Promise.all(after)).toEqual([undefined, "bob's"]);
});

it('looks up again after a failure, for those who waited too', async () => {
  let calls = 0;
  const find = batchLookups(async (keys) => {
    calls += 1;
    if (calls > 1) return new Map(keys.map((key) => [key, key]));
    later = find('b');
    throw new Error('The database is away.');
  });
  let later: Promise<string | undefined> | undefined;
  await expect(find('a')).rejects.toThrow('away');
  expect(await later).toBe('b');
});
