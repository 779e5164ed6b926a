/** Where a job stands in the GPU queue, what it waits for, and when it may start. */
import type { Database } from '../stores/database.js';
import type { JobRecord } from '../stores/jobs.js';
import { readQueue, type Queue } from '../stores/queue.js';
import { describeLine, readLine } from '../stores/quotas.js';

export interface QueuePlace {
  queuePosition?: number;
  waitReason?: string;
  expectedStartTime?: string;
}

/** Nothing for a job that does not wait. */
export async function viewQueuePlace(database: Database, job: JobRecord): Promise<QueuePlace> {
  if (job.state !== 'PENDING' || job.stage !== 'queued') return {};
  const [queue, line] = await Promise.all([readQueue(database, job), job.is_running ? null : readLine(database, job.uid)]);
  const seconds = expectedWait(queue);
  return {
    queuePosition: queue.ahead + 1,
    waitReason: line ? describeLine(line) : describeQueue(queue),
    ...(seconds === null ? {} : { expectedStartTime: new Date(Date.now() + seconds * 1000).toISOString() }),
  };
}

function describeQueue({ ahead, slots }: Queue): string {
  if (slots === 0) return 'No GPU worker is running: an operator must start one (temper doctor).';
  return ahead === 0 ? 'Next for a GPU.' : `Waits for a GPU; ${ahead} ${ahead === 1 ? 'job goes' : 'jobs go'} before it.`;
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
