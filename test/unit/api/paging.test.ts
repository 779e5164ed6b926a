import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { openPageToken, parsePageSize, sealPageToken } from '../../../api/paging.js';

const KEY = randomBytes(32).toString('base64');
const BINDING = ['account', 'datasets', 'state = "READY"', 'name'];
const INVALID = expect.objectContaining({ code: 'INVALID_PAGE_TOKEN' }) as Error;

describe('page tokens', () => {
  it('give back the position they were made for', () => {
    const position = ['2026-01-01 00:00:00.123456+00', 'some-id'];
    expect(openPageToken(KEY, BINDING, sealPageToken(KEY, BINDING, position))).toEqual(position);
  });

  it.each(BINDING.map((_, index) => index))('are good for one query only (part %i)', (index) => {
    const token = sealPageToken(KEY, BINDING, ['a']);
    const other = BINDING.with(index, 'another');
    expect(() => openPageToken(KEY, other, token)).toThrow(INVALID);
  });

  it('are refused when any byte of them was changed, or another key made them', () => {
    const token = sealPageToken(KEY, BINDING, ['some-id']);
    const forged = `${Buffer.from('["other"]').toString('base64url')}.${token.split('.')[1]}`;
    for (const bad of [
      forged,
      `${token}.x`,
      token.slice(0, -4),
      '',
      '.',
      'x',
      'null',
      '2',
      sealPageToken(randomBytes(32).toString('base64'), BINDING, ['some-id']),
    ]) {
      expect(() => openPageToken(KEY, BINDING, bad)).toThrow(INVALID);
    }
  });
});

describe('parsePageSize', () => {
  it.each([
    [undefined, 50],
    ['', 50],
    ['0', 50],
    ['7', 7],
    ['200', 200],
    ['201', 200],
    ['1000000000', 200],
  ])('reads %j as %i', (given, size) => {
    expect(parsePageSize(given)).toBe(size);
  });

  it.each(['-1', 'x', '1.5', '1e3', '99999999999', ' 5'])('refuses %j', (given) => {
    expect(() => parsePageSize(given)).toThrow(expect.objectContaining({ code: 'INVALID_PAGE_SIZE' }) as Error);
  });
});
