import { expect, it } from 'vitest';
import { shareLookups } from '../../../api/sharedLookup.js';

it('answers a call with what was true after it came, and calls of the same time with one lookup', async () => {
  let isRevoked = false;
  const ends: (() => void)[] = [];
  const share = shareLookups<string | null>();
  const find = (key: string) =>
    share(key, async () => {
      const seen = isRevoked ? null : 'caller';
      await new Promise<void>((resolve) => ends.push(resolve));
      return seen;
    });
  const before = find('key');
  isRevoked = true;
  const after = [find('key'), find('key'), find('key')];
  expect(ends).toHaveLength(1);
  ends[0]!();
  expect(await before).toBe('caller');
  await expect.poll(() => ends.length).toBe(2);
  isRevoked = false;
  const later = find('key');
  ends[1]!();
  expect(await Promise.all(after)).toEqual([null, null, null]);
  await expect.poll(() => ends.length).toBe(3);
  ends[2]!();
  expect(await later).toBe('caller');
  const quiet = find('key');
  expect(ends).toHaveLength(4);
  ends[3]!();
  expect(await quiet).toBe('caller');
});

it('looks up again after a failure, for those who waited too, and keeps keys apart', async () => {
  let calls = 0;
  const share = shareLookups<string>();
  const find = (key: string) =>
    share(key, async () => {
      calls += 1;
      if (calls === 1) throw new Error('The database is away.');
      return key;
    });
  const [first, second, other] = await Promise.allSettled([find('a'), find('a'), find('b')]);
  expect(first.status).toBe('rejected');
  expect(second).toEqual({ status: 'fulfilled', value: 'a' });
  expect(other).toEqual({ status: 'fulfilled', value: 'b' });
});
