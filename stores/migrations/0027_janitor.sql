-- What the janitor found, and what it removed: the latest runs.
create table janitor_reports (
  account_id text not null references accounts (id),
  id text not null,
  orphans jsonb not null,
  removed integer not null,
  kept integer not null,
  size_bytes bigint not null,
  create_time timestamptz not null default now(),
  primary key (account_id, id)
);
