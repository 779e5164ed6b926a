/** A job's reporter to one tracker: begins with the job's first step, goes on after its end, and nothing that happens here reaches the job. */
import { CancellationScope, isCancellation, setCurrentDetails, setHandler, upsertSearchAttributes } from '@temporalio/workflow';
import { TEMPER_ACCOUNT, TEMPER_STATE } from '../schemas/searchAttributes.js';
import { TRACKER_TITLES, type ReportInput, type ReportOutcome, type TrackerState } from '../schemas/tracker.js';
import { deliverReportActivity } from './activityOptions.js';
import { failureOf } from './failures.js';
import { deliverAgainSignal } from './messages.js';

export async function ReportWorkflow(input: ReportInput): Promise<ReportOutcome> {
  const title = TRACKER_TITLES[input.tracker];
  let again = false;
  let delivering: CancellationScope | null = null;
  setHandler(deliverAgainSignal, () => {
    again = true;
    delivering?.cancel();
  });
  upsertSearchAttributes([{ key: TEMPER_ACCOUNT, value: input.accountId }]);
  for (;;) {
    again = false;
    show('DELIVERING', `Tells ${title} of \`${input.name}\`, as it trains. What the tracker misses while it is away, it gets later.`);
    try {
      const outcome = await CancellationScope.cancellable(() => {
        delivering = CancellationScope.current();
        return deliverReportActivity(`report to ${title}`).deliverReport(input);
      });
      show(outcome.state, outcome.message);
      return outcome;
    } catch (error) {
      if (again) continue;
      if (isCancellation(error)) throw error;
      const { message } = failureOf(error);
      show('DEGRADED', `Given up: ${message}\n\nMake it go on with \`temper report fine-tuning-job\`.`);
      return { state: 'DEGRADED', url: '', message };
    }
  }
}

function show(state: TrackerState, details: string): void {
  upsertSearchAttributes([{ key: TEMPER_STATE, value: state }]);
  setCurrentDetails(`**${state}** · ${details}`);
}
