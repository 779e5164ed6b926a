/** How fast this deployment trains a base model: tokens a second over the steps of its latest finished jobs, by device. */
import { sql } from 'kysely';
import type { Throughput } from '../schemas/prices.js';
import type { Database } from './database.js';

/** Jobs that are looked at. */
const RECENT_JOBS = 20;

export async function measureThroughput(database: Database, baseModel: string): Promise<Throughput[]> {
  const { rows } = await sql<Throughput>`
    with recent as (
      select uid, progress ->> 'device' as device, coalesce(progress ->> 'quantization', settings ->> 'quantization') as quantization
      from jobs
      where base_model = ${baseModel} and completed_time is not null and state in ('COMPLETED', 'EARLY_STOPPED')
      order by completed_time desc
      limit ${RECENT_JOBS}
    )
    select device, quantization, count(distinct uid) as jobs, sum(tokens)::float8 / sum(tokens / tokens_per_second) as "tokensPerSecond"
    from recent join job_metrics on job_uid = uid
    where device is not null and tokens_per_second > 0
    group by device, quantization
    having sum(tokens) > 0
    order by jobs desc, device`.execute(database);
  return rows;
}
