/** A job's metrics, thinned for a chart: one query on the index of its steps. */
import { sql } from 'kysely';
import type { Database } from './database.js';
import type { MetricRecord } from './jobs.js';

/**
 * At most about `points` of the job's steps, in order: of each of equally long stretches the step of the lowest and that of the highest loss,
 * and the last one with a loss on held-out examples; always the first and the last. All steps of a job that has no more than that.
 */
export async function sampleMetrics(database: Database, uid: string, points: number): Promise<MetricRecord[]> {
  const stretches = Math.max(1, Math.floor((points - 2) / 3));
  const { rows } = await sql<MetricRecord>`
    with steps as (
      select *, count(*) over () as total, min(step) over () as first, max(step) over () as last from job_metrics where job_uid = ${uid}
    ), stretched as (
      select *, (step - first)::bigint * ${stretches}::bigint / (last - first + 1) as stretch from steps
    ), ranked as (
      select *, row_number() over (partition by stretch order by loss, step) as lowest,
        row_number() over (partition by stretch order by loss desc, step) as highest,
        row_number() over (partition by stretch, evaluation_loss is null order by step desc) as latest
      from stretched
    )
    select job_uid, step, attempt, epoch, loss, learning_rate, grad_norm, tokens, trained_tokens, tokens_per_second, evaluation_loss, machine, time
    from ranked
    where total <= ${points} or lowest = 1 or highest = 1 or (evaluation_loss is not null and latest = 1) or step = first or step = last
    order by step`.execute(database);
  return rows;
}
