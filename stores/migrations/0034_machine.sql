-- What training took of its machine, at the steps where it was looked at (StepEvent's `machine`).
alter table job_metrics add column machine jsonb;
