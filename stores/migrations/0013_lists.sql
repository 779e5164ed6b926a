-- Lists of an account's jobs by state: what people look for among a hundred thousand.
create index jobs_by_state on jobs (account_id, state, id);
create index datasets_by_state on datasets (account_id, state, id);
