-- Aliases of models (`support-bot@production`), and every move of one.

create table aliases (
  account_id text not null references accounts (id),
  id text not null,
  model_id text not null,
  -- The models it can be rolled back to, the nearest last.
  earlier jsonb not null default '[]',
  moves integer not null default 0,
  created_by text not null default '',
  create_time timestamptz not null default now(),
  update_time timestamptz not null default now(),
  primary key (account_id, id)
);
create index aliases_by_model on aliases (account_id, model_id);

create table alias_moves (
  account_id text not null,
  alias_id text not null,
  sequence integer not null,
  -- Names the move for ever: a repeat of the step that made it changes nothing.
  key text not null,
  kind text not null,
  from_model text,
  to_model text not null,
  moved_by text not null default '',
  reason text not null default '',
  time timestamptz not null default now(),
  primary key (account_id, alias_id, sequence),
  unique (account_id, alias_id, key),
  foreign key (account_id, alias_id) references aliases (account_id, id) on delete cascade
);
