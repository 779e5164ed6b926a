-- A model in another form (schemas/export.ts): its adapter, merged with its base model, or as GGUF. Goes with its model.
create table exports (
  uid uuid primary key,
  account_id text not null references accounts (id),
  model_uid uuid not null references models (uid) on delete cascade,
  model_id text not null,
  id text not null,
  format text not null,
  quantization text,
  state text not null default 'PENDING',
  stage text not null default 'queued',
  -- Of the present stage.
  percent integer not null default 0,
  failure jsonb,
  -- Those of the merged model that a GGUF is made from, while it is made.
  merged jsonb,
  -- What can be downloaded: all of it at once, when the export is COMPLETED.
  files jsonb not null default '[]',
  -- How far the result is from what it was made of.
  checked jsonb,
  request_hash text not null,
  workflow_started boolean not null default false,
  created_by text not null default '',
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now(),
  end_time timestamptz,
  unique (model_uid, id)
);
create index exports_by_account on exports (account_id, create_time);
create index exports_to_start on exports (create_time) where not workflow_started;
