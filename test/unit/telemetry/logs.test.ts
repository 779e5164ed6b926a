import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import { formatLogLine } from '../../../telemetry/logs.js';

const parse = (line: string) => JSON.parse(line) as Record<string, unknown>;

describe('log lines of workers', () => {
  it('name the account and the job that they are about', () => {
    const meta = { workflowId: 'accounts/acme/fineTuningJobs/intents', activityType: 'train', attempt: 2, taskQueue: 'temper-gpu' };
    expect(parse(formatLogLine('gpu', 'WARN', 'Activity failed', meta))).toMatchObject({
      ...{
        level: 40,
        worker: 'gpu',
        msg: 'Activity failed',
        account: 'acme',
        job: 'intents',
        activity: 'train',
        attempt: 2,
        queue: 'temper-gpu',
      },
    });
    expect(parse(formatLogLine('data', 'INFO', 'x', { workflowId: 'accounts/acme/datasets/d' }))).toMatchObject({
      account: 'acme',
      datasets: 'd',
    });
  });

  it('say an error’s code and message, in one line and without its stack', () => {
    const error = ApplicationFailure.create({ type: 'TRAINER_CRASHED', message: 'It\nended.' });
    const line = formatLogLine('gpu', 'ERROR', 'Activity failed', { error });
    expect(line).not.toContain('\n');
    expect(line).not.toMatch(/at .*\.ts/);
    expect(parse(line)['cause']).toBe('TRAINER_CRASHED: It\nended.');
  });
});
