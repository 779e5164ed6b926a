/** The GPU queue as the records show it: who is before a job, and which job should make way for another. */
import { sql } from 'kysely';
import { WORKER_SILENT_SECONDS } from '../schemas/worker.js';
import type { Database } from './database.js';
import type { JobRecord } from './jobs.js';

export interface Queue {
  /** Jobs that are taken before this one: those of a higher priority, and at its own one of each other account for each of its own. */
  ahead: number;
  /** Jobs that the GPU workers run at once. */
  slots: number;
  /** Of the jobs that hold a GPU, the seconds they still need; null where that is not known yet. */
  leftSeconds: (number | null)[];
  /** What a waiting job is expected to take, by the first hundred; null where none of them has an estimate. */
  jobSeconds: number | null;
}

const WAITING = sql`state in ('PENDING', 'RE_QUEUEING') and stage in ('queued', 'requeued')`;
const LIVING_GPU_WORKERS = sql`workers where kind = 'gpu' and heartbeat_time > now() - make_interval(secs => ${WORKER_SILENT_SECONDS})`;

export async function readQueue(database: Database, job: JobRecord): Promise<Queue> {
  const { rows } = await sql<Queue>`
    with own as (
      select count(*)::int8 as before from jobs where ${WAITING}
        and account_id = ${job.account_id} and priority = ${job.priority} and (create_time, uid) < (${job.create_time}, ${job.uid}::uuid)
    ), others as (
      select least(count(*), (select before + 1 from own)) as before from jobs where ${WAITING}
        and account_id <> ${job.account_id} and priority = ${job.priority} group by account_id
    ), first_ones as (
      select (estimate ->> 'seconds')::float8 as seconds from jobs where ${WAITING} order by priority limit 100
    )
    select
      (select count(*) from jobs where ${WAITING} and priority < ${job.priority})::int8 + (select before from own)
        + (select coalesce(sum(before), 0) from others)::int8 as ahead,
      (select coalesce(sum((report ->> 'slots')::int8), 0) from ${LIVING_GPU_WORKERS})::int8 as slots,
      (select coalesce(json_agg((progress ->> 'etaSeconds')::float8), '[]') from jobs
        where is_running and stage in ('starting', 'training', 'evaluating') and state in ('PENDING', 'RUNNING', 'RE_QUEUEING')) as "leftSeconds",
      (select avg(seconds) from first_ones)::float8 as "jobSeconds"`.execute(database);
  return rows[0]!;
}

/** A job that trains, and one of the same account that waits for a GPU and goes before it. */
export interface Preemption {
  running: JobRecord;
  waiting: JobRecord;
}

/** A job that waits for less may be about to start. */
const WAITS_SECONDS = 5;
/** A slot that was made free is taken within this. */
const HANDOVER_SECONDS = 30;

/**
 * The one that should step aside now, if any: the least urgent and youngest of those that train, for a more urgent one of its own
 * account that has waited for a moment while no slot is free. One account's priorities never end another's attempt.
 */
export async function findPreemption(database: Database): Promise<Preemption | null> {
  const { rows } = await sql<{ running: string; waiting: string }>`
    select running.uid as running, waiting.uid as waiting
    from jobs as waiting join jobs as running
      on running.account_id = waiting.account_id and running.priority > waiting.priority and running.state = 'RUNNING' and running.stage = 'training'
    where waiting.is_running and waiting.state in ('PENDING', 'RE_QUEUEING') and waiting.stage in ('queued', 'requeued')
      and waiting.update_time < now() - make_interval(secs => ${WAITS_SECONDS})
      and (select sum((report ->> 'slots')::int8 - (report ->> 'busy')::int8) from ${LIVING_GPU_WORKERS}) = 0
      and not exists (
        select from job_attempts where outcome = 'preempted' and end_time > now() - make_interval(secs => ${HANDOVER_SECONDS}))
    order by waiting.priority, waiting.create_time, running.priority desc, running.started_time desc
    limit 1`.execute(database);
  const found = rows[0];
  if (!found) return null;
  const jobs = await database.selectFrom('jobs').selectAll().where('uid', 'in', [found.running, found.waiting]).execute();
  const [running, waiting] = [found.running, found.waiting].map((uid) => jobs.find((job) => job.uid === uid));
  return running && waiting ? { running, waiting } : null;
}
