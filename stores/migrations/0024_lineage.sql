-- What a model was made from and with (schemas/lineage.ts), as in its file lineage.json.
alter table models add column lineage jsonb;

-- Of a job that makes a model once more: which one, the files it must make, and in the end whether it did.
alter table jobs add column reproduction jsonb;
create index jobs_by_dataset on jobs (dataset_uid);
