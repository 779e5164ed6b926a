-- The line of an account's jobs that wait for their turn: its first, and how many stand before one of thousands.
create index jobs_waiting on jobs (account_id, priority, create_time, uid) where not is_running and state = 'PENDING';
