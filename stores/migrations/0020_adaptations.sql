-- What an attempt did when memory was too small, in order.
alter table job_attempts add column adaptations jsonb;
