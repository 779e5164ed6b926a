/** What is true of the whole deployment now, counted from the records: for metrics. */
import { sql } from 'kysely';
import { WORKER_SILENT_SECONDS } from '../schemas/worker.js';
import type { Database } from './database.js';

export interface Figures {
  /** Jobs by state; ended ones among them. */
  jobs: { state: string; count: number }[];
  /** Jobs that wait for a GPU, by priority. */
  queue: { priority: number; count: number; oldestSeconds: number }[];
  datasets: { state: string; count: number }[];
  workers: { kind: string; version: string; count: number }[];
  slots: { busy: number; all: number };
  /** Deliveries of webhooks that have not succeeded yet. */
  webhooks: { count: number; oldestSeconds: number };
  /** Jobs that ended and whose tracker has not all of it. */
  reports: { count: number; oldestSeconds: number };
}

export async function readFigures(database: Database): Promise<Figures> {
  const all = async <Row>(query: ReturnType<typeof sql<Row>>): Promise<Row[]> => (await query.execute(database)).rows;
  const waiting = { count: 0, oldestSeconds: 0 };
  const [jobs, queue, datasets, workers, slots, webhooks, reports] = await Promise.all([
    all(sql<Figures['jobs'][number]>`select state, count(*)::int8 as count from jobs group by state`),
    all(sql<Figures['queue'][number]>`
      select priority, count(*)::int8 as count, extract(epoch from now() - min(update_time))::float8 as "oldestSeconds"
      from jobs where state in ('PENDING', 'RE_QUEUEING') group by priority`),
    all(sql<Figures['datasets'][number]>`select state, count(*)::int8 as count from datasets group by state`),
    all(sql<Figures['workers'][number]>`
      select kind, version, count(*)::int8 as count from workers
      where heartbeat_time > now() - make_interval(secs => ${WORKER_SILENT_SECONDS}) group by kind, version`),
    all(sql<Figures['slots']>`
      select coalesce(sum((report ->> 'busy')::int8), 0)::int8 as busy, coalesce(sum((report ->> 'slots')::int8), 0)::int8 as "all"
      from workers where kind = 'gpu' and heartbeat_time > now() - make_interval(secs => ${WORKER_SILENT_SECONDS})`),
    all(sql<Figures['webhooks']>`
      select count(*)::int8 as count, coalesce(extract(epoch from now() - min(create_time)), 0)::float8 as "oldestSeconds"
      from webhook_deliveries where state = 'PENDING'`),
    all(sql<Figures['reports']>`
      select count(*)::int8 as count, coalesce(extract(epoch from now() - min(completed_time)), 0)::float8 as "oldestSeconds"
      from jobs where completed_time > now() - interval '2 days' and wandb is not null and coalesce(wandb ->> 'state', 'PENDING') = 'PENDING'`),
  ]);
  return { jobs, queue, datasets, workers, slots: slots[0]!, webhooks: webhooks[0] ?? waiting, reports: reports[0] ?? waiting };
}
