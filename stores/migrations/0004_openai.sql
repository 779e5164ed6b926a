-- What OpenAI's protocol has beside datasets, jobs and models: files that expire, uploads in parts, and what a job was asked for in its words.
alter table datasets add column expire_time timestamptz;
create index datasets_by_time on datasets (account_id, create_time desc, id desc);
create index datasets_expiring on datasets (expire_time) where expire_time is not null;

alter table jobs add column openai jsonb;
alter table jobs add column results jsonb;
create index jobs_by_metadata on jobs using gin ((openai -> 'metadata') jsonb_path_ops) where openai is not null;

alter table models add column openai_name text;
create unique index models_by_openai_name on models (account_id, openai_name);

create table uploads (
  id text primary key,
  account_id text not null references accounts (id),
  filename text not null,
  mime_type text not null,
  size_bytes bigint not null,
  file_seconds bigint,
  state text not null default 'pending',
  dataset_uid uuid references datasets (uid) on delete set null,
  request_hash text not null,
  created_by text not null default '',
  create_time timestamptz not null default now(),
  expire_time timestamptz not null
);
create index uploads_open on uploads (expire_time) where state = 'pending';

create table upload_parts (
  id text primary key,
  upload_id text not null references uploads (id) on delete cascade,
  key text not null,
  size_bytes bigint not null,
  sha256 text not null,
  create_time timestamptz not null default now()
);
create index upload_parts_by_upload on upload_parts (upload_id);
