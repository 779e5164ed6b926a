create table accounts (
  id text primary key,
  display_name text not null default '',
  email text not null default '',
  create_time timestamptz not null default now()
);

create table users (
  account_id text not null references accounts (id),
  id text not null,
  email text not null default '',
  display_name text not null default '',
  role text not null default 'user',
  create_time timestamptz not null default now(),
  primary key (account_id, id)
);

create table api_keys (
  key_id text primary key,
  account_id text not null,
  user_id text not null,
  display_name text not null default '',
  prefix text not null,
  hash text not null unique,
  create_time timestamptz not null default now(),
  expire_time timestamptz,
  last_used_time timestamptz,
  foreign key (account_id, user_id) references users (account_id, id) on delete cascade
);

create table secrets (
  account_id text not null references accounts (id),
  id text not null,
  key_name text not null default '',
  ciphertext bytea not null,
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now(),
  primary key (account_id, id)
);

create table datasets (
  uid uuid primary key,
  account_id text not null references accounts (id),
  id text not null,
  display_name text not null default '',
  state text not null,
  status_code text not null default 'OK',
  status_message text not null default '',
  status_details jsonb not null default '[]',
  format text not null default 'FORMAT_UNSPECIFIED',
  request jsonb not null,
  request_hash text not null,
  upload jsonb,
  examples bigint not null default 0,
  size_bytes bigint not null default 0,
  sha256 text,
  object_key text,
  report_key text,
  average_turns double precision,
  created_by text not null default '',
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now(),
  unique (account_id, id)
);

create table jobs (
  uid uuid primary key,
  account_id text not null references accounts (id),
  id text not null,
  collection text not null,
  display_name text not null default '',
  request jsonb not null,
  request_hash text not null,
  settings jsonb not null,
  setting_origins jsonb not null,
  dataset_name text not null,
  dataset_uid uuid not null,
  base_model text not null,
  warm_start_from text,
  kind text not null,
  model_id text not null,
  priority integer not null default 3,
  wandb jsonb,
  state text not null default 'CREATING',
  stage text not null default 'created',
  transition integer not null default 0,
  status_code text not null default 'OK',
  status_message text not null default '',
  failure jsonb,
  progress jsonb not null default '{}',
  evaluation jsonb,
  attempt integer not null default 0,
  workflow_started boolean not null default false,
  created_by text not null default '',
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now(),
  started_time timestamptz,
  completed_time timestamptz,
  unique (account_id, id)
);
create index jobs_by_time on jobs (account_id, create_time desc, id);
create index jobs_not_started on jobs (create_time) where not workflow_started;

create table job_events (
  job_uid uuid not null references jobs (uid) on delete cascade,
  sequence integer not null,
  key text not null,
  type text not null,
  message text not null,
  state text,
  data jsonb not null default '{}',
  time timestamptz not null default now(),
  primary key (job_uid, sequence),
  unique (job_uid, key)
);

create table job_metrics (
  job_uid uuid not null references jobs (uid) on delete cascade,
  step integer not null,
  attempt integer not null,
  epoch double precision not null,
  loss double precision not null,
  learning_rate double precision not null,
  grad_norm double precision,
  tokens bigint not null,
  trained_tokens bigint not null,
  tokens_per_second double precision not null,
  time timestamptz not null default now(),
  primary key (job_uid, step)
);

create table job_attempts (
  job_uid uuid not null references jobs (uid) on delete cascade,
  attempt integer not null,
  worker text not null,
  device text,
  reason text not null,
  start_step integer not null default 0,
  resumed_from text,
  end_step integer,
  outcome text,
  failure jsonb,
  start_time timestamptz not null default now(),
  end_time timestamptz,
  primary key (job_uid, attempt)
);

create table job_checkpoints (
  job_uid uuid not null references jobs (uid) on delete cascade,
  step integer not null,
  attempt integer not null,
  key text not null,
  manifest_sha256 text not null,
  files jsonb not null,
  size_bytes bigint not null,
  loss double precision,
  create_time timestamptz not null default now(),
  primary key (job_uid, attempt, step)
);

create table models (
  uid uuid primary key,
  account_id text not null references accounts (id),
  id text not null,
  display_name text not null default '',
  description text not null default '',
  kind text not null,
  state text not null,
  status_code text not null default 'OK',
  status_message text not null default '',
  base_model text,
  peft jsonb,
  conversation jsonb,
  source jsonb,
  files jsonb not null default '[]',
  context_length integer,
  job_name text,
  job_uid uuid,
  metrics jsonb,
  request_hash text,
  created_by text not null default '',
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now(),
  unique (account_id, id)
);

create table idempotency_keys (
  account_id text not null references accounts (id),
  key text not null,
  request_hash text not null,
  status integer,
  body jsonb,
  create_time timestamptz not null default now(),
  primary key (account_id, key)
);
