import { expect, test } from 'vitest';
import { timeLimit } from '../../../activities/timeLimit.js';

const noon = Date.parse('2027-01-31T12:00:00Z');

test('the nearer of the two limits counts, and neither is below zero', () => {
  const deadline = '2027-01-31T12:01:00Z';
  expect(timeLimit({}, 100, noon)).toBeNull();
  expect(timeLimit({ maxGpuSeconds: 90 }, 60.5, noon)).toEqual({ name: 'maxGpuSeconds', seconds: 29.5 });
  expect(timeLimit({ maxGpuSeconds: 90, deadline }, 0, noon)).toEqual({ name: 'deadline', seconds: 60 });
  expect(timeLimit({ maxGpuSeconds: 90, deadline }, 89, noon)).toEqual({ name: 'maxGpuSeconds', seconds: 1 });
  expect(timeLimit({ maxGpuSeconds: 90 }, 1000, noon)).toEqual({ name: 'maxGpuSeconds', seconds: 0 });
  expect(timeLimit({ deadline }, 0, noon + 120_000)).toEqual({ name: 'deadline', seconds: 0 });
});
