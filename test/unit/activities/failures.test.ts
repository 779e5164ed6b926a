/** What an activity throws, as the workflow, users and operators see it. */
import pg from 'pg';
import { expect, it } from 'vitest';
import { describeFailure, toTemporalFailure } from '../../../activities/failures.js';
import { formatLogLine } from '../../../telemetry/logs.js';

function throwUnexpected(): never {
  throw new Error('password hunter2 refused');
}

const thrown = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

it('an unexpected error says where it was thrown, to operators alone, and nothing of what it said', () => {
  const failure = toTemporalFailure(thrown(throwUnexpected)) as Error;
  const line = formatLogLine('gpu', 'WARN', 'Activity failed', { error: failure });
  expect(line).toContain('throwUnexpected');
  expect(failure.message).not.toContain('throwUnexpected');
  for (const said of [line, failure.message, failure.stack!]) expect(said).not.toContain('hunter2');
});

it('a connection that Postgres dropped within a transaction is an outage', async () => {
  const client = new pg.Client({ host: '127.0.0.1', port: 1 });
  await client.end();
  const error: unknown = await client.query('select 1').catch((reason: unknown) => reason);
  expect(describeFailure(error)).toMatchObject({ code: 'DATABASE_UNAVAILABLE', retryable: true });
});
