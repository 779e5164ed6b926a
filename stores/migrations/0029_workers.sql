-- The worker processes that live: each writes its row every few seconds, with what operators want to know of its machine.
create table workers (
  identity text primary key,
  kind text not null,
  version text not null,
  start_time timestamptz not null,
  heartbeat_time timestamptz not null default now(),
  -- Its clock less the database's.
  clock_offset_ms integer not null,
  report jsonb not null
);
