create table webhooks (
  uid uuid primary key,
  account_id text not null references accounts (id),
  id text not null,
  display_name text not null default '',
  url text not null,
  event_types jsonb not null,
  state text not null default 'ENABLED',
  disabled_reason text not null default '',
  secret_hint text not null,
  previous_secret_until timestamptz,
  request_hash text,
  created_by text not null default '',
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now(),
  unique (account_id, id)
);

-- Written in the transaction of what it tells: an event is there if and only if it happened.
create table webhook_events (
  id text primary key,
  account_id text not null references accounts (id),
  key text not null,
  type text not null,
  body text not null,
  create_time timestamptz not null default now(),
  unique (account_id, key)
);
create index webhook_events_by_time on webhook_events (create_time);

create table webhook_deliveries (
  id text primary key,
  account_id text not null,
  webhook_uid uuid not null references webhooks (uid) on delete cascade,
  event_id text not null references webhook_events (id) on delete cascade,
  state text not null default 'PENDING',
  attempts integer not null default 0,
  status integer,
  error text not null default '',
  workflow_started boolean not null default false,
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now()
);
create index webhook_deliveries_by_webhook on webhook_deliveries (webhook_uid, create_time desc, id);
create index webhook_deliveries_by_event on webhook_deliveries (event_id);
create index webhook_deliveries_not_started on webhook_deliveries (create_time) where not workflow_started;
