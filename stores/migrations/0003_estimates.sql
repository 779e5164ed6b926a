-- Tokens of a dataset's text as validation counted them, and with the tokenizer of which base model.
alter table datasets
  add column tokens bigint,
  add column tokens_base_model text;
-- What a job was expected to take when it was created: tokens, seconds, prices.
alter table jobs
  add column estimate jsonb;
-- Throughput is measured on the latest finished jobs of a base model.
create index jobs_finished_by_base_model on jobs (base_model, completed_time desc) where completed_time is not null;
