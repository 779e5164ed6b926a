/** How long an attempt may train, where the job has a deadline or a budget of GPU seconds. */
import type { TimeLimitName } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import type { JobSettings } from '../schemas/task.js';

export interface TimeLimit {
  name: TimeLimitName;
  /** From now on; 0 when it is over. */
  seconds: number;
}

/**
 * The nearer of the two limits; null where there is none.
 * @param usedSeconds  how long the job has held a GPU so far
 * @param nowMs  by the database's clock: that of a worker may be wrong
 */
export function timeLimit(
  { maxGpuSeconds, deadline }: Pick<JobSettings, 'maxGpuSeconds' | 'deadline'>,
  usedSeconds: number,
  nowMs: number,
): TimeLimit | null {
  const limits: TimeLimit[] = [];
  if (maxGpuSeconds !== undefined) limits.push({ name: 'maxGpuSeconds', seconds: Math.max(0, maxGpuSeconds - usedSeconds) });
  if (deadline !== undefined) limits.push({ name: 'deadline', seconds: Math.max(0, (Date.parse(deadline) - nowMs) / 1000) });
  return limits.sort((one, other) => one.seconds - other.seconds)[0] ?? null;
}

/** The end of a job whose time is over before there is anything to make a model of. */
export function nothingInTime(limit: TimeLimitName): TemperError {
  return limit === 'deadline'
    ? new TemperError('DEADLINE_PASSED', 'The deadline of the job came before its first checkpoint. Give it a later one and resume it.')
    : new TemperError('GPU_SECONDS_SPENT', 'maxGpuSeconds were spent before the first checkpoint. Give the job more and resume it.');
}
