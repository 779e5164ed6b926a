-- Models that users bring: what they declared to upload or import, what validation found, and what they say of the model.
alter table models
  add column upload jsonb,
  add column import jsonb,
  add column base_details jsonb,
  add column facts jsonb not null default '{}',
  add column warnings jsonb not null default '[]',
  add column status_details jsonb not null default '[]';
