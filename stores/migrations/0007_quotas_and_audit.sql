-- What differs from the defaults of schemas/quotas.ts.
create table quotas (
  account_id text not null references accounts (id),
  id text not null,
  -- Enforced, as the account's admins chose it; null: max_value.
  value bigint,
  -- The most they may choose, as operators allow it; null: the default.
  max_value bigint,
  update_time timestamptz not null default now(),
  primary key (account_id, id)
);

-- Whether the job counts among those that run: it has, or is about to get, a GPU.
alter table jobs add column is_running boolean not null default false;
create index jobs_unfinished on jobs (account_id, is_running) where state not in ('COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED');

create table audit_events (
  -- The request's own ID, as in the header x-request-id and in the log.
  id text primary key,
  account_id text not null,
  time timestamptz not null default now(),
  user_id text not null,
  -- The user's address at that time: users change and go.
  email text not null,
  key_id text not null,
  -- The account of the user, where operators act on another.
  user_account_id text not null,
  method text not null,
  path text not null,
  resource text not null,
  status integer not null,
  reason text not null,
  address text not null
);
create index audit_events_by_time on audit_events (account_id, time desc, id);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'the audit trail is only added to';
end $$;
create trigger audit_events_append_only before update or delete on audit_events for each row execute function refuse_change();
