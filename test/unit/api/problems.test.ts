import { describe, expect, it } from 'vitest';
import { describeError } from '../../../api/problems.js';
import { ERRORS, TemperError, type ErrorCode } from '../../../schemas/errors.js';

/** The statuses of the reference, and the three that HTTP itself needs. */
const DOCUMENTED = [400, 401, 402, 403, 404, 405, 408, 409, 412, 413, 415, 429, 431, 499, 500, 501, 502, 503, 504];

describe('describeError', () => {
  it.each(Object.keys(ERRORS) as ErrorCode[])('gives %s a documented status, a message and its reason', (code) => {
    const { status, body } = describeError(new TemperError(code, 'What to do.'), 'id');
    expect(DOCUMENTED).toContain(status);
    expect(body).toMatchObject({ message: 'What to do.', details: [{ reason: code }] });
  });

  it('says nothing of the inside of an unexpected error', () => {
    const { status, body, unexpected } = describeError(new Error('password is hunter2 at /home/x.ts:1'), 'request-7');
    expect([status, unexpected]).toEqual([500, true]);
    expect(JSON.stringify(body)).not.toMatch(/hunter2|x\.ts/);
    expect(body.message).toContain('request-7');
  });

  it.each([
    [Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }), 'DATABASE_UNAVAILABLE'],
    [Object.assign(new Error('the database system is shutting down'), { code: '57P01' }), 'DATABASE_UNAVAILABLE'],
    [new Error('Connection terminated unexpectedly'), 'DATABASE_UNAVAILABLE'],
    [Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', $metadata: { attempts: 5 } }), 'OBJECT_STORE_UNAVAILABLE'],
    [Object.assign(new Error('14 UNAVAILABLE'), { code: 14, details: '', metadata: {} }), 'TEMPORAL_UNAVAILABLE'],
    [Object.assign(new Error('9'), { code: 9, details: '… due to Workflow Task in failed state.', metadata: {} }), 'TEMPORAL_UNAVAILABLE'],
  ])('calls an outage an outage, to be tried again: %s', (error, reason) => {
    const problem = describeError(error, 'id');
    expect(problem).toMatchObject({ status: 503, retryAfterSeconds: 2, unexpected: false });
    expect(problem.body.details[0]?.reason).toBe(reason);
  });
});
