/**
 * Every metric of Temper's own, once, by Prometheus's conventions: base units, `_total` for counters. Each process counts what
 * happens in it; what is true of the whole deployment is read from the records when somebody looks (stores/figures.ts), by
 * the API alone. Temporal's own metrics (`temporal_…`) come from its SDK, those of Node (`nodejs_…`, `process_…`) from prom-client.
 *
 * Labels have few values each: kinds, states, codes. No account, job or user is a label.
 */
import { Counter, Gauge, Histogram } from 'prom-client';

/** Up to the slowest answers, which wait for a workflow. */
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const JOB_SECONDS = [10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600];

// API
export const requests = new Counter({
  name: 'temper_http_requests_total',
  help: 'Requests answered by the API',
  labelNames: ['method', 'route', 'status'],
});
export const requestDuration = new Histogram({
  name: 'temper_http_request_duration_seconds',
  help: 'From a request to the end of its answer',
  labelNames: ['method', 'route'],
  buckets: REQUEST_SECONDS,
});
export const uploadedBytes = new Counter({
  name: 'temper_http_upload_bytes_total',
  help: 'Bytes of files received by the API itself; uploads by signed URL go to the object store',
});

// Control workers
export const transitions = new Counter({
  name: 'temper_job_transitions_total',
  help: 'Changes of state of jobs',
  labelNames: ['from', 'to'],
});
export const jobEnds = new Counter({
  name: 'temper_job_ends_total',
  help: 'Jobs that ended; code is that of the failure, empty without one',
  labelNames: ['state', 'code'],
});
export const attemptEnds = new Counter({
  name: 'temper_attempt_ends_total',
  help: 'Training attempts that ended; code is that of the failure, empty without one',
  labelNames: ['outcome', 'code'],
});
export const validatedDatasets = new Counter({
  name: 'temper_datasets_validated_total',
  help: 'Uploads that were validated',
  labelNames: ['valid'],
});
export const datasetBytes = new Counter({ name: 'temper_dataset_bytes_total', help: 'Bytes of datasets that became READY' });
export const webhookCalls = new Counter({
  name: 'temper_webhook_calls_total',
  help: 'Calls of webhooks',
  labelNames: ['outcome'],
});
export const queueWait = new Histogram({
  name: 'temper_job_queue_seconds',
  help: 'From a job’s creation to the first step of its trainer',
  buckets: JOB_SECONDS,
});

// GPU workers
export const trainerTokens = new Counter({
  name: 'temper_trainer_tokens_total',
  help: 'Tokens that went through the trainer; kind is all or trained (those with a loss)',
  labelNames: ['kind'],
});
export const trainerSteps = new Counter({ name: 'temper_trainer_steps_total', help: 'Optimizer steps' });
export const trainerSpeed = new Gauge({
  name: 'temper_trainer_tokens_per_second',
  help: 'Tokens a second of the last step; 0 when nothing trains',
});
export const checkpoints = new Counter({ name: 'temper_checkpoints_total', help: 'Checkpoints that became durable' });
export const checkpointBytes = new Counter({ name: 'temper_checkpoint_bytes_total', help: 'Their bytes' });
