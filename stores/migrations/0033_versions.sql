-- Versions of a model: aliases `support-bot@v3` that are numbered as they are made and never move.
alter table aliases add column is_version boolean not null default false;

-- The highest number that was given: one that was deleted is not given again.
create table version_numbers (
  account_id text not null references accounts (id),
  model_name text not null,
  last integer not null,
  primary key (account_id, model_name)
);
