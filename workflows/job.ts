/** The state of one job and the rules of changing it: the only place where a job's state is assigned. */
import { CancellationScope, CancelledFailure, patched, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { Failure, JobInput, TrainingMilestone } from '../schemas/activities.js';
import { TEMPER_STAGE, TEMPER_STATE } from '../schemas/searchAttributes.js';
import { canMove, isTerminal, type JobStage, type JobState } from '../schemas/states.js';
import { recordActivities } from './activityOptions.js';
import type { JobProgress } from './messages.js';

/** What someone asked for and the main function has not done yet. */
export type Wish = 'pause' | 'cancel' | 'delete';

export class Job {
  state: JobState = 'CREATING';
  stage: JobStage = 'created';
  attempt: number;
  priority: number;
  /** The strongest wish so far: delete over cancel over pause. */
  wish: Wish | null = null;
  /** Who asked last. */
  wishedBy = 'an operator';
  /** Who said yes to a job that asks before it trains. */
  approval: { by: string; note: string } | null = null;
  /** The job that this one's attempt makes way for. */
  aside: string | null = null;
  /** It waits for its turn among its account's jobs. */
  waitsForTurn = false;
  /** How often it was called to its turn while it waited. */
  calls = 0;
  /** When training ends at the latest: ISO 8601. */
  deadline: string | null;
  /** It has come. */
  overdue = false;
  private cause = 'The job was accepted.';
  private sequence: number;
  private milestone: TrainingMilestone | null = null;
  private failure: Failure | undefined;
  /** The work that a wish interrupts, and whether a mere pause does. */
  private work: { scope: CancellationScope; pausable: boolean } | null = null;
  /** Records are written one after the other, so that events stand in the order of the transitions. */
  private recorded: Promise<void> = Promise.resolve();

  constructor(readonly input: JobInput) {
    this.priority = input.priority;
    this.deadline = input.deadline ?? null;
    this.sequence = input.resumed?.transition ?? 0;
    this.attempt = input.resumed?.attempt ?? 0;
    if (input.abandoned === undefined) return;
    this.wish = 'cancel';
    this.wishedBy =
      input.abandoned === 'TERMINATED'
        ? 'an operator, who terminated its workflow'
        : `Temper, for its workflow ended as ${input.abandoned}`;
  }

  /**
   * Changes state or stage: in memory, in the Temporal UI, then durably in the record with its event. Not cancellable,
   * because a state that was announced must also be written.
   */
  async move(to: JobState, stage: JobStage, cause: string, failure?: Failure): Promise<void> {
    const from = this.state;
    if (from !== to && !canMove(from, to)) throw new Error(`A job cannot go from ${from} to ${to}.`);
    this.state = to;
    this.stage = stage;
    this.cause = cause;
    this.failure = failure ?? this.failure;
    this.sequence += 1;
    upsertSearchAttributes([
      { key: TEMPER_STATE, value: to },
      { key: TEMPER_STAGE, value: stage },
    ]);
    this.show();
    const transition = { uid: this.input.uid, sequence: this.sequence, from, to, stage, cause, failure };
    this.recorded = this.recorded.then(() =>
      CancellationScope.nonCancellable(() => recordActivities(`${to} · ${stage}`).recordTransition(transition)),
    );
    await this.recorded;
  }

  /** Every change so far stands in the record: whoever asked for one then reads it there. */
  written(): Promise<void> {
    return this.recorded;
  }

  /** Runs work that ends with a cancellation when someone cancels or deletes the job. */
  interruptible<T>(work: () => Promise<T>): Promise<T> {
    return this.run(work, false);
  }

  /** The same for work that a pause ends, too. */
  pausable<T>(work: () => Promise<T>): Promise<T> {
    return this.run(work, true);
  }

  private async run<T>(work: () => Promise<T>, pausable: boolean): Promise<T> {
    // The deadline may have come while nothing ran that it could end.
    const isTooLate = this.overdue && !this.begun && patched('deadline-between-steps');
    if (this.ending || isTooLate || (pausable && this.wish === 'pause')) throw new CancelledFailure('Interrupted before it began');
    return CancellationScope.cancellable(async () => {
      this.work = { scope: CancellationScope.current(), pausable };
      try {
        return await work();
      } finally {
        this.work = null;
      }
    });
  }

  wishFor(wish: Wish, by: string): void {
    this.wishedBy = by;
    const strength: Wish[] = ['pause', 'cancel', 'delete'];
    if (this.wish === null || strength.indexOf(wish) > strength.indexOf(this.wish)) this.wish = wish;
    if (this.work && (wish !== 'pause' || this.work.pausable)) this.work.scope.cancel();
  }

  /** Ends the attempt that runs, with a checkpoint; the next waits in the queue. */
  stepAside(forJob: string): void {
    this.aside = forJob;
    this.work?.scope.cancel();
  }

  /** There may be room for it now: it asks at once, not when its next retry is due. */
  callToTurn(): void {
    if (!this.waitsForTurn) return;
    this.calls += 1;
    this.work?.scope.cancel();
  }

  /** An attempt runs, and nobody has asked it to end. */
  get interruptibleByOthers(): boolean {
    return this.stage === 'training' && this.work?.pausable === true && this.wish === null && this.aside === null && !this.overdue;
  }

  /** The deadline: what has not begun will not, what was paused goes on to its end, and a trainer that runs ends by itself. */
  expire(): void {
    this.overdue = true;
    if (this.wish === 'pause') this.resumeBy('its deadline');
    if (!this.begun) this.work?.scope.cancel();
  }

  /** An attempt has begun: there may be a checkpoint. */
  get begun(): boolean {
    return this.milestone !== null || (this.input.resumed?.attempt ?? 0) > 0;
  }

  resumeBy(by: string): void {
    this.wish = null;
    this.wishedBy = by;
  }

  /** A failed job goes on in another workflow, which does what this one still has to do. */
  leave(): void {
    this.work?.scope.cancel();
  }

  get ending(): boolean {
    return this.wish === 'cancel' || this.wish === 'delete';
  }

  get terminal(): boolean {
    return isTerminal(this.state);
  }

  reached(milestone: TrainingMilestone): void {
    this.milestone = milestone;
    this.show();
  }

  progress(): JobProgress {
    const { milestone } = this;
    return {
      state: this.state,
      stage: this.stage,
      cause: this.cause,
      attempt: this.attempt,
      priority: this.priority,
      step: milestone?.step ?? 0,
      totalSteps: milestone?.totalSteps ?? null,
      loss: milestone?.loss ?? null,
      etaSeconds: milestone?.etaSeconds ?? null,
    };
  }

  /** The Markdown of the workflow's page in the Temporal UI: what it is doing, how far it is, where to look. */
  private show(): void {
    const { milestone, failure, input } = this;
    const lines = [`**${this.state}** · ${this.stage}. ${this.cause}`];
    if (failure)
      lines.push(`\n**${failure.code}** (${failure.domain}${failure.retryable ? ', may be tried again' : ''}): ${failure.message}`);
    if (milestone) {
      lines.push(
        '\n| attempt | worker | step | epoch | loss | remaining |\n| --- | --- | --- | --- | --- | --- |',
        `| ${milestone.attempt} | ${milestone.worker} | ${milestone.step} of ${milestone.totalSteps ?? '?'} | ${milestone.epoch?.toFixed(2) ?? ''} | ` +
          `${milestone.loss?.toFixed(4) ?? ''} | ${milestone.etaSeconds == null ? '' : `${Math.round(milestone.etaSeconds)} s`} |`,
      );
    }
    lines.push(
      `\nDataset \`${input.datasetName}\`, base model \`${input.baseModel}\`, model \`${input.modelName}\`, priority ${this.priority}.`,
    );
    setCurrentDetails(lines.join('\n'));
  }
}
