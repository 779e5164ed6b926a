/** What can be said to a running workflow and asked of it: by the API, by an operator in the Temporal UI, by a GPU worker. */
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import { MILESTONE_SIGNAL, TURN_SIGNAL, type ExtendInput, type JobLength, type TrainingMilestone } from '../schemas/activities.js';
import { JOB_ENDED_SIGNAL } from '../schemas/retraining.js';
import type { JobStage, JobState } from '../schemas/states.js';

/** Who sent a message; in the Temporal UI it can be sent without any input. */
export function asker(request?: { by?: string } | null): string {
  return request?.by || 'an operator';
}

/** Each answers with the state after it; one that is not legal now is rejected with ILLEGAL_STATE and changes nothing. */
export const pauseUpdate = defineUpdate<JobState, [{ by: string }]>('pause');
export const resumeUpdate = defineUpdate<JobState, [{ by: string }]>('resume');
export const cancelUpdate = defineUpdate<JobState, [{ by: string }]>('cancel');
/** The same from where only a signal can be sent: nothing is answered. */
export const pauseSignal = defineSignal<[({ by?: string } | null)?]>('pause');
export const resumeSignal = defineSignal<[({ by?: string } | null)?]>('resume');
export const cancelSignal = defineSignal<[({ by?: string } | null)?]>('cancel');
/** 1 (first) to 5; decides the place in the GPU queue from the next attempt on. */
export const setPriorityUpdate = defineUpdate<number, [{ priority: number; by: string }]>('setPriority');
/**
 * More epochs, or other limits of time, while the job lives; null lifts a limit. A trainer that runs checkpoints and goes on with the new
 * length; what has not begun takes it up when it does. Answers with the job's length.
 */
export const extendUpdate = defineUpdate<JobLength, [Omit<ExtendInput, 'uid' | 'id'>]>('extend');
/** A job that trains checkpoints, frees its GPU and goes to the queue again, behind the one that it is told of. */
export const stepAsideUpdate = defineUpdate<JobState, [{ for: string }]>('stepAside');
/** Cancels if need be, then removes everything of the job but its model, the record last. */
export const deleteUpdate = defineUpdate<JobState, [{ by: string }]>('delete');

/** From a GPU worker: see TrainingMilestone. */
export const milestoneSignal = defineSignal<[TrainingMilestone]>(MILESTONE_SIGNAL);
/** From whoever made room: another job of the account that ended, or the API when a quota was raised. */
export const turnSignal = defineSignal<[]>(TURN_SIGNAL);

export interface JobProgress {
  state: JobState;
  stage: JobStage;
  cause: string;
  attempt: number;
  step: number;
  totalSteps: number | null;
  loss: number | null;
  etaSeconds: number | null;
  priority: number;
}
export const progressQuery = defineQuery<JobProgress>('progress');

/** To a run of retraining, or a job, that waits for somebody's word; each answers with the decision. */
export const approveUpdate = defineUpdate<string, [{ by: string; note: string }]>('approve');
export const rejectUpdate = defineUpdate<string, [{ by: string; note: string }]>('reject');

/** To a job's reporter: delivers again at once, with the key that the job has now. */
export const deliverAgainSignal = defineSignal<[]>('deliverAgain');

/** From the control worker: a job that the run waits for has ended. */
export const jobEndedSignal = defineSignal<[{ uid: string }]>(JOB_ENDED_SIGNAL);

export const FINE_TUNING_WORKFLOW = 'FineTuningWorkflow';
export const RETRAINING_WORKFLOW = 'RetrainingWorkflow';
export const DATASET_WORKFLOW = 'DatasetWorkflow';
export const WEBHOOK_WORKFLOW = 'WebhookWorkflow';
export const REPORT_WORKFLOW = 'ReportWorkflow';
export const MODEL_WORKFLOW = 'ModelWorkflow';
export const EXPORT_WORKFLOW = 'ExportWorkflow';
export const JANITOR_WORKFLOW = 'JanitorWorkflow';
