-- The line of an account's jobs that wait for their turn: its first, and how many stand before one of thousands.
create index jobs_waiting on jobs (account_id, priority, create_time, uid) where not is_running and state = 'PENDING';
-- The queue of all accounts for the GPUs.
create index jobs_queued on jobs (priority, account_id, create_time, uid)
  where state in ('PENDING', 'RE_QUEUEING') and stage in ('queued', 'requeued');
