import { describe, expect, it } from 'vitest';
import { checkCron, isTimeZone } from '../../../schemas/cron.js';

describe('checkCron', () => {
  it.each(['0 2 * * *', '*/15 8-18 * * mon-fri', '0 0 1,15 * *', '5 4 * JAN sun', '0 0 29 2 *', '@daily', '0 0 * * 7', '0/20 * * * *'])(
    'takes %s',
    (cron) => expect(checkCron(cron)).toBeNull(),
  );
  it.each([
    ['0 25 * * *', 'hour "25"'],
    ['60 * * * *', 'minute "60"'],
    ['0 0 0 * *', 'day of the month "0"'],
    ['0 0 * 13 *', 'month "13"'],
    ['0 0 * * fun', 'day of the week "fun"'],
    ['0 2 * *', '4 fields'],
    ['0 2 * * * *', '6 fields'],
    ['*/0 * * * *', 'step'],
    ['30-10 * * * *', 'backwards'],
    ['0 0 31 2,4 *', 'no month'],
    ['0 0 31 2 mon', 'no month'],
    ['@nightly', '@daily'],
    ['CRON_TZ=Europe/Berlin 0 2 * * *', '6 fields'],
    ['', 'field'],
    ['0 2 # * *', 'cannot be read'],
  ])('refuses %s', (cron, problem) => expect(checkCron(cron)).toContain(problem));
});

it('knows time zones', () => {
  expect(['Europe/Berlin', 'UTC', 'America/Argentina/Ushuaia'].every(isTimeZone)).toBe(true);
  expect(['Europe/Berlim', '', '+02:00', 'UTC; rm'].some(isTimeZone)).toBe(false);
});
