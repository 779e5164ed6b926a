/**
 * The states of a job and a dataset, and which transition is legal: the only place that knows. A state never lies:
 * RUNNING starts with the trainer's first step, RE_QUEUEING means an attempt ended and the next has not made a step yet.
 */

export const JOB_TRANSITIONS = {
  CREATING: ['VALIDATING', 'CANCELLING', 'FAILED'],
  // RUNNING at once: a resumed job whose training was complete.
  VALIDATING: ['PENDING', 'RUNNING', 'PAUSED', 'CANCELLING', 'FAILED'],
  PENDING: ['RUNNING', 'RE_QUEUEING', 'PAUSED', 'CANCELLING', 'FAILED'],
  RUNNING: ['WRITING_RESULTS', 'RE_QUEUEING', 'PAUSED', 'CANCELLING', 'FAILED'],
  RE_QUEUEING: ['RUNNING', 'PAUSED', 'WRITING_RESULTS', 'CANCELLING', 'FAILED'],
  PAUSED: ['PENDING', 'CANCELLING', 'FAILED'],
  WRITING_RESULTS: ['COMPLETED', 'EARLY_STOPPED', 'CANCELLING', 'FAILED'],
  CANCELLING: ['CANCELLED', 'FAILED'],
  COMPLETED: ['DELETING'],
  EARLY_STOPPED: ['DELETING'],
  // Resumed.
  FAILED: ['CREATING', 'DELETING'],
  CANCELLED: ['DELETING'],
  DELETING: [],
} as const satisfies Record<string, readonly string[]>;

export type JobState = keyof typeof JOB_TRANSITIONS;

export const TERMINAL_JOB_STATES: readonly JobState[] = ['COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED'];

export function canMove(from: JobState, to: JobState): boolean {
  return (JOB_TRANSITIONS[from] as readonly JobState[]).includes(to);
}

export function isTerminal(state: JobState): boolean {
  return TERMINAL_JOB_STATES.includes(state);
}

/** What the job is doing inside its state, for people: the words of the Temporal UI, the CLI and the events. */
export type JobStage =
  | 'created'
  | 'checking'
  | 'rendering'
  | 'approval'
  | 'queued'
  | 'starting'
  | 'training'
  | 'requeued'
  | 'paused'
  | 'evaluating'
  | 'reporting'
  | 'verifying'
  | 'registering'
  | 'cancelling'
  | 'done';

/** States of `/fineTuningJobs`: its published clients throw on any other. */
export type LegacyJobState = 'CREATING' | 'PENDING' | 'RUNNING' | 'COMPLETED' | 'FAILED' | 'DELETING';

const LEGACY: Record<JobState, LegacyJobState> = {
  CREATING: 'CREATING',
  VALIDATING: 'CREATING',
  PENDING: 'PENDING',
  RUNNING: 'RUNNING',
  RE_QUEUEING: 'RUNNING',
  PAUSED: 'PENDING',
  WRITING_RESULTS: 'RUNNING',
  COMPLETED: 'COMPLETED',
  EARLY_STOPPED: 'COMPLETED',
  FAILED: 'FAILED',
  CANCELLING: 'RUNNING',
  CANCELLED: 'FAILED',
  DELETING: 'DELETING',
};

export function legacyJobState(state: JobState): LegacyJobState {
  return LEGACY[state];
}

/** States of `/supervisedFineTuningJobs`. */
export function supervisedJobState(state: JobState): `JOB_STATE_${JobState}` {
  return `JOB_STATE_${state}`;
}

export type DatasetState = 'UPLOADING' | 'READY';
export type ModelState = 'UPLOADING' | 'READY';
