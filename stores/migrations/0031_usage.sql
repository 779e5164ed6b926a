-- As google.type.Money, of a job that has ended and that there was a price for.
alter table jobs add column cost jsonb;

-- What jobs have used, one row a job that has ended: it stays when the job is deleted.
create table usage_records (
  job_uid uuid primary key,
  account_id text not null references accounts (id),
  job_id text not null,
  created_by text not null,
  base_model text not null,
  kind text not null,
  device text,
  state text not null,
  tokens bigint not null,
  trained_tokens bigint not null,
  gpu_seconds double precision not null,
  -- Null where there was no price for it.
  cost double precision,
  currency text,
  time timestamptz not null default now()
);
create index usage_by_account on usage_records (account_id, time);

insert into usage_records (job_uid, account_id, job_id, created_by, base_model, kind, device, state, tokens, trained_tokens, gpu_seconds, time)
select uid, account_id, id, created_by, base_model, kind, progress ->> 'device', state,
  coalesce((select sum(tokens) from job_metrics where job_uid = uid), 0),
  coalesce((select sum(trained_tokens) from job_metrics where job_uid = uid), 0),
  coalesce((progress ->> 'trainerSeconds')::float8, 0) * coalesce((settings ->> 'acceleratorCount')::int, 1),
  coalesce(completed_time, update_time)
from jobs where state in ('COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED');
