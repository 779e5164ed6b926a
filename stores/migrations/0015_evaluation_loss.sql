-- The loss on held-out examples while training, at the steps where it was measured.
alter table job_metrics add column evaluation_loss double precision;
