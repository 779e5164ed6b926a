import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { parseFilter } from '../../../api/filter.js';
import { number, text, time, type ListFields } from '../../../api/listFields.js';
import { TemperError } from '../../../schemas/errors.js';

const FIELDS: ListFields = {
  state: text('state', ['UPLOADING', 'READY']),
  displayName: text('display_name'),
  exampleCount: number(sql.ref('examples')),
  createTime: time('create_time'),
  'status.code': text('status_code'),
};

function problemOf(filter: string): string {
  try {
    parseFilter(filter, FIELDS);
  } catch (error) {
    if (error instanceof TemperError && error.code === 'INVALID_FILTER') return error.message;
    throw error;
  }
  return 'accepted';
}

describe('parseFilter', () => {
  it.each([
    'state = "READY"',
    "state='READY' AND display_name != 'a'",
    'NOT (state = READY OR exampleCount >= 10) -displayName:"x"',
    'createTime > "2026-01-01T00:00:00Z" AND createTime <= 2026-02-01T00:00:00+02:00',
    'status.code = "OK" displayName = "*night*"',
    'exampleCount < -1.5e3',
    'displayName:*',
    'displayName = "a \\"quoted\\" name"',
  ])('accepts %s', (filter) => {
    expect(problemOf(filter)).toBe('accepted');
  });

  it.each([
    ['stat = "READY"', 'did you mean state'],
    ['state = "REDY"', 'did you mean READY'],
    ['state', 'after state at character 6, found the end'],
    ['state =', 'a value for state'],
    ['= "READY"', 'a field at character 1'],
    ['(state = "READY"', 'a closing parenthesis'],
    ['state = "READY")', 'found )'],
    ['state = "READY', 'no closing quote'],
    ['state = "READY" AND', 'a field'],
    ['regex(state, "R.*")', 'functions such as regex(…) are not supported'],
    ['exampleCount > "many"', 'is a number'],
    ['createTime > "yesterday"', 'is a time'],
    ['account_id = "other"', 'there is no field account_id'],
    ['state = "READY"; drop table jobs', 'no field'],
    ["displayName = 'x' OR 1=1", 'no field 1'],
    ['displayName = "a\0b"', 'NUL'],
  ])('refuses %j', (filter, problem) => {
    expect(problemOf(filter)).toContain(problem);
  });

  it.each([
    ['parentheses too deep', `${'('.repeat(12)}state = "READY"${')'.repeat(12)}`, 'nested 10 deep'],
    ['nothing but parentheses', '('.repeat(4000), 'nested 10 deep'],
    ['too many comparisons', Array(60).fill('state = READY').join(' '), 'more than 50 comparisons'],
    ['too long a text', 'x'.repeat(5000), 'longer than 4096'],
  ])('refuses %s', (_what, filter, problem) => {
    expect(problemOf(filter)).toContain(problem);
  });
});
