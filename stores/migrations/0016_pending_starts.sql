-- What was accepted while Temporal was away, or by a process that died before it told it: the API starts the workflow later.
alter table datasets add column validation jsonb; -- the input of the validation that is to be started; null when it is under way
alter table models add column is_work_due boolean not null default false;
create index datasets_to_validate on datasets (update_time) where validation is not null;
create index models_to_start on models (update_time) where is_work_due;
