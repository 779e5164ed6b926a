/** Retraining between its workflow and its activities. Small: names, numbers and hashes; the plan itself stays in the run's record. */
import type { DatasetInput, EvaluationResult, Failure, JobInput, PreparedSet } from './activities.js';
import type { RunState } from './schedule.js';

/** Of a schedule: the run is made when the workflow begins, its ID from the time in the workflow's ID. Of a sweep: it stands already. */
export interface RetrainingInput {
  accountId: string;
  scheduleUid?: string;
  runUid?: string;
}

export interface RunPlan {
  uid: string;
  id: string;
  /** `accounts/a/schedules/s/runs/r` or `accounts/a/sweeps/r` */
  name: string;
  jobs: number;
  maxConcurrentJobs: number;
  promotion: { alias: string; minImprovement: number; approval: 'AUTOMATIC' | 'MANUAL'; approvalTimeoutMs: number } | null;
}

/** What a run trains on. `skip`: it ends here, with the reason. `assemble`: the dataset is yet to be made from these parts. */
export interface DataChoice {
  dataset: string | null;
  skip: string | null;
  assemble: { datasetId: string; objects: number } | null;
}

/** How one of the run's jobs is started: as the API would. */
export interface RunJobStart {
  uid: string;
  /** Ended already: nothing to start or to wait for. */
  ended: boolean;
  input: JobInput;
  createdBy: string;
}

export interface RunJobResult {
  index: number;
  id: string;
  uid: string | null;
  model: string;
  baseModel: string | null;
  state: string;
  evaluation: EvaluationResult | null;
  failure?: Failure;
}

/** The model that an alias points at; null: at none yet. */
export interface AliasTarget {
  model: string;
  baseModel: string;
}

export interface PromotionOutcome {
  alias: string;
  decision: 'PENDING' | 'PROMOTED' | 'KEPT' | 'REJECTED' | 'EXPIRED' | 'NOT_COMPARABLE' | 'MOVED_MEANWHILE';
  reason: string;
  candidate?: string;
  candidateValue?: number;
  current?: string;
  currentValue?: number;
  metric?: string;
  minImprovement: number;
  decidedBy?: string;
}

/** Signalled by the control worker when a job that a run waits for has ended, before its report to a tracker. */
export const JOB_ENDED_SIGNAL = 'jobEnded';

/** Queue `temper-control`. */
export interface RetrainingRecordActivities {
  beginRun(input: RetrainingInput & { workflowId: string }): Promise<RunPlan>;
  readRunJob(input: { runUid: string; index: number; failure?: Failure }): Promise<RunJobResult>;
  readAlias(input: { runUid: string }): Promise<AliasTarget | null>;
  recordPromotion(input: { runUid: string; outcome: PromotionOutcome; state: RunState; reason: string }): Promise<void>;
  /** False when the alias has left `expected` meanwhile: then it stays where it is. */
  promote(input: { runUid: string; model: string; expected: string | null; reason: string; by: string }): Promise<boolean>;
  endRun(input: { runUid: string; state: RunState; reason: string; failure?: Failure }): Promise<void>;
}

/** Queue `temper-data`. */
export interface RetrainingDataActivities {
  chooseData(input: { runUid: string }): Promise<DataChoice>;
  assembleDataset(input: { runUid: string }): Promise<DatasetInput>;
  createRunJob(input: { runUid: string; index: number; workflowId: string }): Promise<RunJobStart>;
}

/** Queue `temper-gpu`. */
export interface RetrainingGpuActivities {
  /** Scores a registered model on the rows that a job was evaluated on. */
  evaluateModel(input: {
    model: string;
    jobUid: string;
    prepared: PreparedSet;
  }): Promise<{ metric: string; value: number; examples: number }>;
}
