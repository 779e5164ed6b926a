/** What jobs have used, kept when they end and for as long as the account is there; and what is stored. */
import { sql } from 'kysely';
import { asMoney, priceOf } from '../schemas/prices.js';
import type { UsageGroup } from '../schemas/usage.js';
import type { Database } from './database.js';

/**
 * In the transaction that ends a job. Tokens are those of the steps that count, a step made twice once; GPU seconds those that attempts
 * held the GPUs, lost ones too, and those of the evaluation.
 */
export async function recordUsage(transaction: Database, uid: string): Promise<void> {
  const job = await transaction.selectFrom('jobs').selectAll().where('uid', '=', uid).executeTakeFirstOrThrow();
  const { tokens, trained } = await transaction
    .selectFrom('job_metrics')
    .select([sql<number>`coalesce(sum(tokens), 0)::int8`.as('tokens'), sql<number>`coalesce(sum(trained_tokens), 0)::int8`.as('trained')])
    .where('job_uid', '=', uid)
    .executeTakeFirstOrThrow();
  const { seconds } = await transaction
    .selectFrom('job_attempts')
    .select(sql<number>`coalesce(sum(extract(epoch from coalesce(end_time, now()) - start_time)), 0)::float8`.as('seconds'))
    .where('job_uid', '=', uid)
    .executeTakeFirstOrThrow();
  const device = job.progress.device ?? null;
  const gpuSeconds = (seconds + (job.evaluation?.trainerSeconds ?? 0)) * (job.settings.acceleratorCount ?? 1);
  const prices = job.estimate?.prices ?? null;
  const used = { device: device ?? undefined, gpuSeconds, baseModel: job.base_model, tokens };
  const cost = prices && device ? priceOf(used, prices) : undefined;
  await transaction
    .insertInto('usage_records')
    .values({
      job_uid: uid,
      account_id: job.account_id,
      job_id: job.id,
      created_by: job.created_by,
      base_model: job.base_model,
      kind: job.kind,
      device,
      state: job.state,
      tokens,
      trained_tokens: trained,
      gpu_seconds: gpuSeconds,
      cost: cost ?? null,
      currency: cost === undefined ? null : prices!.currency,
    })
    .onConflict((conflict) => conflict.column('job_uid').doNothing())
    .execute();
  if (cost !== undefined)
    await transaction
      .updateTable('jobs')
      .set({ cost: JSON.stringify(asMoney(cost, prices!.currency)) })
      .where('uid', '=', uid)
      .execute();
}

/** By what usage can be summed up, with the SQL of its key. */
const KEYS = {
  account: sql`account_id`,
  user: sql`created_by`,
  job: sql`'accounts/' || account_id || '/fineTuningJobs/' || job_id`,
  baseModel: sql`base_model`,
  day: sql`to_char(time at time zone 'UTC', 'YYYY-MM-DD')`,
} as const;

export interface UsageSum {
  key: string;
  jobs: number;
  tokens: number;
  trainedTokens: number;
  gpuSeconds: number;
  /** One for each currency. */
  costs: { currency: string; amount: number }[];
}

/** Of the jobs that ended in a span of time; the largest first, the days in their order. */
export async function sumUsage(
  database: Database,
  accountId: string,
  { from, to, groupBy }: { from: Date; to: Date; groupBy: UsageGroup },
  limit: number,
): Promise<UsageSum[]> {
  const { rows } = await sql<UsageSum>`
    with of_currency as (
      select ${KEYS[groupBy]} as key, currency, count(*) as jobs, sum(tokens) as tokens, sum(trained_tokens) as trained_tokens,
        sum(gpu_seconds) as gpu_seconds, sum(cost) as cost
      from usage_records where account_id = ${accountId} and time >= ${from} and time < ${to}
      group by 1, 2
    )
    select key, sum(jobs)::int8 as jobs, sum(tokens)::int8 as tokens, sum(trained_tokens)::int8 as "trainedTokens",
      sum(gpu_seconds)::float8 as "gpuSeconds",
      coalesce(jsonb_agg(jsonb_build_object('currency', currency, 'amount', cost)) filter (where currency is not null), '[]') as costs
    from of_currency group by key
    order by ${groupBy === 'day' ? sql`key` : sql`"gpuSeconds" desc, key`} limit ${limit}`.execute(database);
  return rows;
}

/** Bytes of datasets, models and exports now, by who made them. */
export async function sumStored(database: Database, accountId: string): Promise<{ user: string; bytes: number }[]> {
  const { rows } = await sql<{ user: string; bytes: number }>`
    select created_by as user, sum(bytes)::int8 as bytes from (
      select created_by, size_bytes as bytes from datasets where account_id = ${accountId}
      union all
      select created_by, (file ->> 'sizeBytes')::int8 from models, jsonb_array_elements(files) as file where account_id = ${accountId}
      union all
      select created_by, (file ->> 'sizeBytes')::int8 from exports, jsonb_array_elements(files) as file
      where account_id = ${accountId} and format <> 'ADAPTER' -- whose files are the model's
    ) as stored group by created_by order by bytes desc, created_by`.execute(database);
  return rows;
}
