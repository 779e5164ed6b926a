/**
 * The activities, as the workflows see them: one interface a task queue. Workflows import these types, activities implement
 * them. Inputs and results are small and travel through workflow history: references and hashes, never data or secrets.
 */
import type { ErrorDomain, ErrorDetail } from './errors.js';
import type { JobStage, JobState } from './states.js';
import type { ReportInput, ReportOutcome, Tracker } from './tracker.js';
import type { EvaluationChange } from './trainerProtocol.js';

/** An object of the object store, by key and content. */
export interface ObjectReference {
  key: string;
  sha256: string;
  sizeBytes: number;
}

/** The end of a job or dataset that failed, as users see it. */
export interface Failure {
  code: string;
  message: string;
  domain: ErrorDomain;
  retryable: boolean;
  details?: ErrorDetail[];
}

/** In the heartbeats of an activity that waits while a server is away: what it waits for. */
export interface WaitingHeartbeat {
  outage?: Failure;
}

// ---- Dataset

export interface DatasetInput {
  uid: string;
  name: string;
  /** Where the upload lies; a new key for every upload. */
  uploadKey: string;
  /** What the uploader declared, checked against what arrived. */
  declaredSizeBytes?: number;
  declaredSha256?: string;
  /** The base model whose tokenizer counts; the deployment's own when absent. */
  baseModel?: string;
}
export interface DatasetOutcome {
  valid: boolean;
  examples: number;
  /** CHAT, COMPLETION or FORMAT_UNSPECIFIED. */
  format: string;
  averageTurns: number | null;
  /** Bytes of the JSONL that the last attempt read: less than all when it went on from where another one ended. */
  bytesRead?: number;
  /** The published, immutable object when valid. */
  object?: ObjectReference;
  reportKey?: string;
  /** Of the rows' text, where they could be counted. */
  tokens?: { baseModel: string; total: number };
  failure?: Failure;
}

// ---- Model

export interface ModelInput {
  uid: string;
  name: string;
  /** Of the upload that is checked; an import has none before it is here. */
  uploadId?: string;
  /** For the summary: where it is imported from. */
  importedFrom?: string;
}
export interface ModelOutcome {
  valid: boolean;
  /** What it is, or what is wrong. */
  message: string;
}

// ---- Job

export interface JobInput {
  uid: string;
  name: string;
  accountId: string;
  datasetName: string;
  baseModel: string;
  kind: string;
  modelName: string;
  /** 1 (first) to 5. */
  priority: number;
  /** When training ends at the latest, where the job has such a limit: ISO 8601. */
  deadline?: string;
  /** Temporal's status of the workflow before this one, which ended without its job: this one cancels it. */
  abandoned?: string;
  /** Of a job that had a workflow before, because it had failed and goes on: the number of its last transition, and of its last attempt. */
  resumed?: { transition: number; attempt: number };
}

/** A state the workflow decided. `sequence` counts the workflow's transitions from 1: the idempotency key. */
export interface Transition {
  uid: string;
  sequence: number;
  from: JobState;
  to: JobState;
  stage: JobStage;
  /** Why, in a sentence for people. */
  cause: string;
  failure?: Failure;
}

/** More to train, or more time for it, while a job lives. What is absent stays as it is. */
export interface ExtendInput {
  uid: string;
  /** Of the request: asked again, it is the same. */
  id: string;
  epochs?: number;
  /** ISO 8601; null: no deadline any more. */
  deadline?: string | null;
  /** null: no limit any more. */
  maxGpuSeconds?: number | null;
  by: string;
}
/** What a job's length is, after a change. */
export interface JobLength {
  epochs: number;
  deadline: string | null;
  maxGpuSeconds: number | null;
}

export interface JobPlan {
  evaluation: boolean;
  /** What the job reports to. Absent in jobs that were checked before reporters had a workflow of their own: see `wandb`. */
  trackers?: Tracker[];
  /** Of such jobs: they report to Weights & Biases. */
  wandb?: boolean;
  examples: number;
  /** Someone must approve before it trains. */
  approval?: boolean;
  /** Of a resumed job: what it has done already. */
  trained?: TrainResult;
  evaluated?: EvaluationResult;
}

/** A rendered set in the object store: `KEY/examples-N.jsonl`, `KEY/index.bin`, `KEY/eval.jsonl` and `KEY/manifest.json`, made once per content. */
export interface PreparedSet {
  key: string;
  hash: string;
  trainExamples: number;
  evalExamples: number;
  labels: number;
  /** True when another job had already made it. */
  reused: boolean;
}

export interface TrainInput {
  uid: string;
  name: string;
  /** 1 for the first; the fencing token of everything the attempt writes. */
  attempt: number;
  prepared: PreparedSet;
  /** Why this attempt exists, for the list of attempts. */
  reason: string;
}
/** Carried by heartbeats and by the failure of an attempt: how far it durably got. */
export interface TrainProgress {
  attempt: number;
  step: number;
  totalSteps: number;
  checkpointStep: number;
}
/** The two limits of time that a job may have. */
export type TimeLimitName = 'maxGpuSeconds' | 'deadline';

export interface TrainResult {
  /** Prefix of the finished adapter's files. */
  adapterKey: string;
  files: { name: string; sizeBytes: number; sha256: string }[];
  steps: number;
  tokens: number;
  trainedTokens: number;
  finalLoss: number;
  trainerSeconds: number;
  /** The loss on the evaluation set had stopped falling, and the job wanted training to end then. */
  earlyStopped?: boolean;
  /** The limit of time that ended the training before its last step. */
  endedBy?: TimeLimitName;
  /** The step whose weights the adapter has, and its loss on the evaluation set; absent without evaluation while training. */
  bestStep?: number;
  bestLoss?: number;
}

/** The signal by which a GPU worker tells a job's workflow its milestones: an attempt that began, its first step, and about a hundred steps a run. */
export interface TrainingMilestone {
  attempt: number;
  kind: 'began' | 'firstStep' | 'step';
  worker: string;
  step: number;
  totalSteps: number | null;
  epoch?: number;
  loss?: number;
  etaSeconds?: number | null;
  resumedFrom?: string | null;
}
export const MILESTONE_SIGNAL = 'milestone';
/** To a job that waits for its turn among its account's: there is room for it. */
export const TURN_SIGNAL = 'turn';

export interface EvaluateInput {
  uid: string;
  name: string;
  prepared: PreparedSet;
  adapterKey: string;
}
export interface EvaluationResult {
  metric: 'accuracy' | 'perplexity';
  base: number;
  tuned: number;
  examples: number;
  reportKey: string;
  trainerSeconds: number;
  /** This and the next: absent in evaluations of before there were such. */
  change?: EvaluationChange;
  verification?: Verification;
}

export interface VerifyInput {
  uid: string;
  name: string;
  prepared: PreparedSet;
  training: TrainResult;
}
/** What loading the adapter once more from its files has shown. */
export interface Verification {
  rows: number;
  /** Between the evaluation's figures and those found again, of a mean loss a token; 0 without an evaluation. */
  largestDifference: number;
}

export interface RegisterInput {
  uid: string;
  name: string;
  prepared: PreparedSet;
  training: TrainResult;
  evaluation: EvaluationResult | null;
  /** Absent in jobs that began before there was such a step. */
  verification?: Verification;
}

export interface CleanUpInput {
  uid: string;
  name: string;
  /** True: the model did not come to be, so what registration left is removed too. */
  removeModel: boolean;
  /** True: checkpoints and a finished adapter stay, for the job may be resumed. */
  keepWork?: boolean;
  /** True: the job's record goes as well (DELETE). */
  removeJob: boolean;
}

// ---- Webhook

export interface DeliveryInput {
  /** Of the delivery's record. */
  id: string;
  /** `accounts/a/webhooks/w`. */
  webhookName: string;
  eventType: string;
  /** A trial: one attempt, whose result is wanted at once. */
  once: boolean;
}
export interface DeliveryResult {
  state: 'DELIVERED' | 'FAILED' | 'CANCELLED';
  /** HTTP status of the answer; null when there was none. */
  status: number | null;
  message: string;
}

/** Queue `temper-control`: Postgres and other light steps. */
export interface ControlActivities {
  recordDatasetOutcome(input: DatasetInput, outcome: DatasetOutcome): Promise<void>;
  recordModelFailure(input: ModelInput, failure: Failure): Promise<void>;
  recordTransition(transition: Transition): Promise<void>;
  recordEvent(input: { uid: string; key: string; type: string; message: string; data?: Record<string, unknown> }): Promise<void>;
  claimRun(input: { uid: string }): Promise<void>;
  extendJob(input: ExtendInput): Promise<JobLength>;
  recordAttemptEnd(input: { uid: string; attempt: number; outcome: string; failure?: Failure }): Promise<void>;
  /** Of jobs that began before reporters had a workflow of their own. */
  report(input: { uid: string; name: string; outcome: JobState }): Promise<{ url: string | null }>;
  /** One attempt. Fails, to be tried again, unless that is pointless. */
  deliverWebhook(input: { id: string }): Promise<DeliveryResult>;
  recordDeliveryEnd(input: { id: string; message: string }): Promise<DeliveryResult>;
}

/** Queue `temper-reports`: the tracker's clients, one process a delivery. */
export interface ReportActivities {
  /** Goes on for as long as the job trains. */
  deliverReport(input: ReportInput): Promise<ReportOutcome>;
}

/** Queue `temper-data`: CPU, disk and the object store. */
export interface DataActivities {
  validateDataset(input: DatasetInput): Promise<DatasetOutcome>;
  importModel(input: ModelInput): Promise<void>;
  validateModel(input: ModelInput): Promise<ModelOutcome>;
  checkJob(input: { uid: string; name: string }): Promise<JobPlan>;
  renderJob(input: { uid: string; name: string }): Promise<PreparedSet>;
  registerModel(input: RegisterInput): Promise<{ modelName: string }>;
  cleanUpJob(input: CleanUpInput): Promise<void>;
}

/** Queue `temper-gpu`: the trainer process. */
export interface GpuActivities {
  train(input: TrainInput): Promise<TrainResult>;
  evaluate(input: EvaluateInput): Promise<EvaluationResult>;
  verifyModel(input: VerifyInput): Promise<Verification>;
}
