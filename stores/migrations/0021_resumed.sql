-- How often the job was resumed after it had failed: each time it has a workflow of its own.
alter table jobs add column resumed int not null default 0;
