import { Type } from 'typebox';
import { describe, expect, it } from 'vitest';
import { compileReader, parseJsonBody } from '../../../api/body.js';
import { TemperError } from '../../../schemas/errors.js';
import { Id, Int64, ReadOnly } from '../../../schemas/wire.js';

const read = compileReader(
  Type.Object({
    jobId: Type.Optional(Id()),
    loraRank: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 32, 'x-reason': 'LORA_RANK_OUT_OF_RANGE', 'x-expected': 'a whole number from 1 to 32' }),
    ),
    state: ReadOnly(Type.String()),
    inner: Type.Optional(Type.Object({ jinjaTemplate: Type.Optional(Type.String()) })),
    sizes: Type.Optional(Type.Record(Type.String(), Int64())),
    apiKey: Type.Optional(Type.String({ maxLength: 5, writeOnly: true })),
  }),
);

function refused(input: unknown): TemperError {
  try {
    read(input);
  } catch (error) {
    if (error instanceof TemperError) return error;
    throw error;
  }
  throw new Error('accepted');
}

describe('compileReader', () => {
  it('reads camelCase and snake_case alike, and ignores output-only fields', () => {
    const wanted = { loraRank: 8, inner: { jinjaTemplate: 'x' } };
    expect(read({ loraRank: 8, inner: { jinjaTemplate: 'x' }, state: 'READY' })).toEqual(wanted);
    expect(read({ lora_rank: 8, inner: { jinja_template: 'x' } })).toEqual(wanted);
  });

  it('takes 64-bit integers as text or number, and leaves the keys of maps alone', () => {
    expect(read({ sizes: { my_file: 12, other: '13' } })).toEqual({ sizes: { my_file: '12', other: '13' } });
  });

  it.each([
    [{ lora_rnak: 8 }, 'UNKNOWN_FIELD', 'unknown field lora_rnak, did you mean lora_rank'],
    [{ loraRnak: 8 }, 'UNKNOWN_FIELD', 'unknown field loraRnak, did you mean loraRank'],
    [{ inner: { nope: 1 } }, 'UNKNOWN_FIELD', 'unknown field nope'],
    [JSON.parse('{"__proto__": {"loraRank": 1}}'), 'UNKNOWN_FIELD', 'unknown field __proto__'],
    [{ constructor: 1 }, 'UNKNOWN_FIELD', 'unknown field constructor'],
    [{ lora_rank: 8, loraRank: 9 }, 'INVALID_FIELD', 'given twice'],
    [{ loraRank: '8' }, 'LORA_RANK_OUT_OF_RANGE', 'loraRank must be a whole number from 1 to 32, not "8"'],
    [{ loraRank: null }, 'LORA_RANK_OUT_OF_RANGE', 'not null'],
    [{ loraRank: 8.5 }, 'LORA_RANK_OUT_OF_RANGE', 'not 8.5'],
    [{ jobId: '-a' }, 'INVALID_ID', 'jobId must be 1 to 63 characters'],
    [{ sizes: { a: '1e3' } }, 'INVALID_FIELD', 'a whole number'],
    [[], 'INVALID_FIELD', 'body must be an object, not a list'],
  ])('refuses %j', (input, code, message) => {
    const error = refused(input);
    expect(error.code).toBe(code);
    expect(error.message).toContain(message);
    expect(error.details[0]?.field).toBeTruthy();
  });

  it('does not repeat a secret in its answer', () => {
    expect(refused({ apiKey: 'a-secret' }).message).not.toContain('a-secret');
  });

  it('names a bounded number of a million problems', () => {
    const error = refused(Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`field${index}`, 1])));
    expect(error.details).toHaveLength(20);
    expect(error.message.length).toBeLessThan(500);
  });
});

describe('parseJsonBody', () => {
  it('takes no bytes for an empty object', () => {
    expect(parseJsonBody(Buffer.from(''))).toEqual({});
  });

  it.each([['{"a": 1, "a": 2}'], ['{"a": "\\u0000"}'], ['{"a": "\\ud83d"}'], ['{"a": NaN}'], ['[]'], ['null'], ['{']])(
    'refuses %s',
    (text) => {
      expect(() => parseJsonBody(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'INVALID_JSON' }) as Error);
    },
  );

  it('refuses what is nested too deeply', () => {
    for (const text of [`${'{"a":'.repeat(100)}1${'}'.repeat(100)}`, '['.repeat(100_000)])
      expect(() => parseJsonBody(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'INVALID_JSON' }) as Error);
  });

  it('refuses what is not UTF-8', () => {
    expect(() => parseJsonBody(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]))).toThrow('not valid UTF-8');
  });
});
