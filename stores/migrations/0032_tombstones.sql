-- Datasets and models that others stood on when they were deleted: what their lineage still has to tell.
create table tombstones (
  account_id text not null references accounts (id),
  name text not null,
  uid uuid not null,
  kind text not null,
  -- Its SHA-256, size, or for a model what it was made from.
  facts jsonb not null default '{}',
  deleted_by text not null default '',
  delete_time timestamptz not null default now(),
  primary key (account_id, uid)
);
create index tombstones_by_name on tombstones (account_id, name);
create index models_by_lineage_dataset on models (account_id, (lineage -> 'dataset' ->> 'name')) where lineage is not null;
create index models_by_warm_start on models (account_id, (lineage -> 'warmStart' ->> 'name')) where lineage is not null;
