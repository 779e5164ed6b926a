-- How a job's workflow ended before the job had: an operator terminated it, say. Another workflow then cancels the job.
alter table jobs add column abandoned text;
