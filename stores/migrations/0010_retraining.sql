-- Schedules (their clock is a Temporal Schedule) and the runs of retraining, by schedule or by hand (a sweep: schedule_id '').

create table schedules (
  uid uuid primary key,
  account_id text not null references accounts (id),
  id text not null,
  display_name text not null default '',
  timing jsonb not null,
  retraining jsonb not null,
  request_hash text not null,
  -- What Temporal has been told: less than `version` while there is something to tell.
  version integer not null default 1,
  applied_version integer not null default 0,
  deleting boolean not null default false,
  created_by text not null default '',
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now(),
  unique (account_id, id)
);
create index schedules_to_apply on schedules (update_time) where deleting or applied_version < version;

create table retraining_runs (
  uid uuid primary key,
  account_id text not null references accounts (id),
  id text not null,
  schedule_uid uuid references schedules (uid) on delete cascade,
  schedule_id text not null default '',
  display_name text not null default '',
  retraining jsonb not null,
  request_hash text,
  workflow_id text not null,
  workflow_started boolean not null default true,
  state text not null default 'RUNNING',
  reason text not null default '',
  failure jsonb,
  -- SHA-256 of the data and of what is asked to be made of it.
  fingerprint text,
  dataset_name text,
  -- The objects its dataset is made of: kept after that only where later runs ask what is new.
  parts jsonb not null default '[]',
  -- The adapter that its jobs go on from.
  start_model text,
  jobs jsonb not null default '[]',
  promotion jsonb,
  created_by text not null default '',
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now(),
  end_time timestamptz,
  unique (account_id, schedule_id, id)
);
create index retraining_runs_by_time on retraining_runs (account_id, schedule_id, create_time desc);
create index retraining_runs_not_started on retraining_runs (create_time) where not workflow_started;

-- The run that made the job, and the workflow that waits for its end.
alter table jobs add column retraining_run text;
alter table jobs add column awaited_by text;
create index jobs_by_run on jobs (account_id, retraining_run) where retraining_run is not null;
