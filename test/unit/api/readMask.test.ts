import { Type } from 'typebox';
import { describe, expect, it } from 'vitest';
import { compileReadMask } from '../../../api/readMask.js';

const SCHEMA = Type.Object({
  name: Type.String(),
  createTime: Type.String(),
  status: Type.Object({ code: Type.String(), message: Type.String() }),
});
const RESOURCE = { name: 'n', createTime: 't', status: { code: 'OK', message: '' } };

describe('compileReadMask', () => {
  it.each([undefined, '', '*', ' , '])('keeps everything for %j', (mask) => {
    expect(compileReadMask(mask, SCHEMA)(RESOURCE)).toEqual(RESOURCE);
  });

  it('keeps what is named, nested fields too, in either spelling', () => {
    expect(compileReadMask('create_time, status.code', SCHEMA)(RESOURCE)).toEqual({ createTime: 't', status: { code: 'OK' } });
  });

  it.each(['nam', 'status.cod', '__proto__', 'constructor'])('refuses %j', (mask) => {
    expect(() => compileReadMask(mask, SCHEMA)).toThrow(expect.objectContaining({ code: 'INVALID_READ_MASK' }) as Error);
  });
});
