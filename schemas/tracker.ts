/** Trackers: services outside that a job reports to, each by an outbox of its own (workflows/report.ts). */

export const TRACKERS = ['wandb', 'mlflow', 'tensorboard'] as const;
export type Tracker = (typeof TRACKERS)[number];

export const TRACKER_TITLES: Record<Tracker, string> = {
  wandb: 'Weights & Biases',
  mlflow: 'MLflow',
  tensorboard: 'TensorBoard',
};

/**
 * PENDING: nothing is there yet. DELIVERING: the tracker has what the job has, up to a few seconds. DEGRADED: it has not; the reason says
 * why, and delivery is tried again. DELIVERED: it has all of a job that has ended.
 */
export type TrackerState = 'PENDING' | 'DELIVERING' | 'DEGRADED' | 'DELIVERED';

export interface ReportInput {
  uid: string;
  /** `accounts/a/fineTuningJobs/j`. */
  name: string;
  accountId: string;
  tracker: Tracker;
}

export interface ReportOutcome {
  state: TrackerState;
  /** The page of the run; empty where there is none. */
  url: string;
  message: string;
}

/** One reporter a job and tracker. */
export function reportWorkflowId({ name, tracker }: Pick<ReportInput, 'name' | 'tracker'>): string {
  return `${name}/reports/${tracker}`;
}
