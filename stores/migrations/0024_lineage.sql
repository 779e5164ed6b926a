-- What a model was made from and with (schemas/lineage.ts), as in its file lineage.json; and which version of which model it is.
alter table models
  add column lineage jsonb,
  add column version_of text,
  add column version integer;
create unique index models_by_version on models (account_id, version_of, version) where version_of is not null;
create index models_by_dataset on models (account_id, (lineage -> 'dataset' ->> 'name')) where lineage is not null;

-- Of a job that makes a model once more: which one, the files it must make, and in the end whether it did.
alter table jobs add column reproduction jsonb;
create index jobs_by_dataset on jobs (dataset_uid);
