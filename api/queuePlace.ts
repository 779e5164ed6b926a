/** Where a job stands in the GPU queue, and when it may start. */
import type { Database } from '../stores/database.js';
import type { JobRecord } from '../stores/jobs.js';
import { readQueue, type Queue } from '../stores/queue.js';

/** Nothing for a job that does not wait. */
export async function viewQueuePlace(database: Database, job: JobRecord): Promise<{ queuePosition?: number; expectedStartTime?: string }> {
  if (job.state !== 'PENDING' || job.stage !== 'queued') return {};
  const queue = await readQueue(database, job);
  const seconds = expectedWait(queue);
  return {
    queuePosition: queue.ahead + 1,
    ...(seconds === null ? {} : { expectedStartTime: new Date(Date.now() + seconds * 1000).toISOString() }),
  };
}

/** Each slot takes the next job when it is free. Null where a time is not known, or nothing runs jobs. */
export function expectedWait({ ahead, slots, leftSeconds, jobSeconds }: Queue): number | null {
  if (slots === 0 || leftSeconds.includes(null)) return null;
  const known = leftSeconds as number[];
  const free = [...known, ...Array.from({ length: Math.max(0, slots - known.length) }, () => 0)].sort((a, b) => a - b).slice(0, slots);
  if (ahead > 0 && jobSeconds === null) return free[0]! > 0 || ahead >= free.filter((seconds) => seconds === 0).length ? null : 0;
  for (let job = 0; job < ahead; job += 1) {
    free[0] = free[0]! + jobSeconds!;
    free.sort((a, b) => a - b);
  }
  return free[0]!;
}
