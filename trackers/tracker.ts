/** What every tracker is given, and what is asked of it. Deliveries are made again after any failure, from the position that the tracker has. */
import { TemperError } from '../schemas/errors.js';

/** A step of the job. Values are finite; their names are those that dashboards of the field use (`train/loss`, …). */
export interface Row {
  step: number;
  time: Date;
  values: Record<string, number>;
}

/** The run of a job, one for its life. */
export interface Run {
  /** Of the job; where the tracker lets us choose, the run's own unless the job names another. */
  uid: string;
  /** Resource name of the job: the way back from the run. */
  job: string;
  displayName: string;
  notes: string;
  config: Record<string, unknown>;
  tags: string[];
}

/** Text as a table: rows where the base and the tuned model differ most. */
export interface Samples {
  columns: string[];
  rows: (string | number)[][];
}

export interface RunEnd {
  outcome: 'finished' | 'failed' | 'killed';
  summary: Record<string, number | string>;
  samples: Samples | null;
  /** A pointer to the model that the job made, not its files. */
  model: { name: string; uri: string; metadata: Record<string, string> } | null;
}

export interface Delivery {
  /** The page of the run for people; empty where there is none. */
  readonly url: string;
  /** The last step that the tracker had when the delivery began; 0: none. */
  readonly position: number;
  /** What is odd about the run and does not stop the delivery: sentences, by a stable code. */
  readonly warnings: { code: string; message: string }[];
  /** Hands rows over, in rising steps; they may be on their way when it returns. */
  send(rows: Row[]): Promise<void>;
  /** The last step that the tracker has, for certain; null: it was asked too short a time ago to be asked again. */
  confirmed(): Promise<number | null>;
  /** The tracker has everything, the end of the run included, when it returns. */
  finish(end: RunEnd): Promise<void>;
  /** Releases what the delivery holds; without an end, so that another can go on. */
  close(): Promise<void>;
}

/** Why a delivery failed; the `reason` of the error's first detail. */
export type TrackerProblem =
  | 'KEY_MISSING'
  | 'KEY_REFUSED'
  | 'ENTITY_REFUSED'
  | 'RUN_REFUSED'
  | 'ADDRESS_WRONG'
  | 'TLS_FAILED'
  | 'NO_ANSWER'
  | 'RATE_LIMITED'
  | 'SERVER_ERROR'
  | 'ROWS_MISSING'
  | 'CLIENT_BROKEN';

/** TRACKER_REFUSED: someone must do something. TRACKER_FAILED: it passes by itself. */
export class TrackerError extends TemperError {
  constructor(
    code: 'TRACKER_FAILED' | 'TRACKER_REFUSED',
    readonly problem: TrackerProblem,
    message: string,
    /** When the tracker wants to be asked again, where it says so. */
    readonly retryAfterMs?: number,
  ) {
    super(code, message, [{ reason: problem }]);
  }
}

/** Only the host: an address may carry credentials. */
export function hostOf(address: string): string {
  return URL.canParse(address) ? new URL(address).host : 'an address that is no URL';
}
