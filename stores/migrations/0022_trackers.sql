-- Reporting to MLflow, and TensorBoard files, as Weights & Biases has it: what was asked for, and how delivery stands.
alter table jobs add column mlflow jsonb;
alter table jobs add column tensorboard jsonb;
