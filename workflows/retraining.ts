/**
 * One run of retraining: choose the data, train one job or several, promote the best. A schedule starts it, or somebody does by
 * hand (a sweep). Its jobs are FineTuningWorkflows of their own, its children in the Temporal UI: they outlive it if it is
 * terminated, and are cancelled with it if it is cancelled.
 */
import {
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  ChildWorkflowFailure,
  condition,
  executeChild,
  isCancellation,
  ParentClosePolicy,
  setCurrentDetails,
  setHandler,
  startChild,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { Failure } from '../schemas/activities.js';
import { jobStartOptions, startAttributes } from '../schemas/jobStart.js';
import type { PromotionOutcome, RetrainingInput, RunJobResult, RunJobStart, RunPlan } from '../schemas/retraining.js';
import type { RunState } from '../schemas/schedule.js';
import { TEMPER_DATASET, TEMPER_MODEL, TEMPER_STAGE, TEMPER_STATE } from '../schemas/searchAttributes.js';
import { dataActivities, evaluateModelActivity, retrainingData, retrainingRecords } from './activityOptions.js';
import type { DatasetWorkflow } from './dataset.js';
import { failureOf } from './failures.js';
import type { FineTuningWorkflow } from './fineTuning.js';
import { approveUpdate, asker, DATASET_WORKFLOW, FINE_TUNING_WORKFLOW, jobEndedSignal, rejectUpdate } from './messages.js';
import { bestOf, compare, hasModel, isComparable } from './promotion.js';

export interface RunOutcome {
  state: RunState;
  reason: string;
}

export async function RetrainingWorkflow(input: RetrainingInput): Promise<RunOutcome> {
  const run = new Run();
  handleMessages(run);
  let plan: RunPlan;
  try {
    plan = await retrainingRecords('begin').beginRun({ ...input, workflowId: workflowInfo().workflowId });
  } catch (error) {
    if (!(error instanceof ActivityFailure) || isCancellation(error)) throw error;
    return { state: 'CANCELLED', reason: failureOf(error).message };
  }
  let outcome: RunOutcome & { failure?: Failure };
  try {
    outcome = await carryOut(input, plan, run);
  } catch (error) {
    if (isCancellation(error)) outcome = { state: 'CANCELLED', reason: 'Cancelled; so were the jobs that had not ended.' };
    else if (error instanceof ActivityFailure || error instanceof ApplicationFailure || error instanceof ChildWorkflowFailure) {
      const failure = failureOf(error);
      outcome = { state: 'FAILED', reason: failure.message, failure };
    } else throw error; // a bug of ours: only halts this workflow's task until a fixed worker goes on
  }
  const { state, reason, failure } = outcome;
  await CancellationScope.nonCancellable(async () => {
    run.show(plan, state, 'done', reason);
    await retrainingRecords(state).endRun({ runUid: plan.uid, state, reason, failure });
    await condition(allHandlersFinished);
  });
  return { state, reason };
}

/** What messages change and the details show. */
class Run {
  readonly ended = new Set<string>();
  readonly results: (RunJobResult | { index: number; id: string; state: string })[] = [];
  awaitsApproval = false;
  decision: { approved: boolean; by: string; note: string } | null = null;

  show(plan: RunPlan, state: RunState, stage: string, reason: string): void {
    upsertSearchAttributes([
      { key: TEMPER_STATE, value: state },
      { key: TEMPER_STAGE, value: stage },
    ]);
    const lines = [`**${state}** · ${stage}. ${reason}`, '', `Run \`${plan.name}\`.`];
    if (this.results.length > 0) lines.push('', '| job | state | metric | tuned | base |', '| --- | --- | --- | --- | --- |');
    for (const result of this.results) {
      const evaluation = 'evaluation' in result ? result.evaluation : null;
      const numbers = evaluation ? `${evaluation.metric} | ${evaluation.tuned.toFixed(4)} | ${evaluation.base.toFixed(4)}` : ' | | ';
      lines.push(`| \`${result.id}\` | ${result.state} | ${numbers} |`);
    }
    setCurrentDetails(lines.join('\n'));
  }

  note(result: RunJobResult | { index: number; id: string; state: string }): void {
    const at = this.results.findIndex(({ index }) => index === result.index);
    if (at < 0) this.results.push(result);
    else this.results[at] = result;
  }
}

function handleMessages(run: Run): void {
  const decide = (approved: boolean) => (request?: { by?: string; note?: string } | null) => {
    run.decision = { approved, by: asker(request), note: request?.note ?? '' };
    return approved ? 'approved' : 'rejected';
  };
  const validator = (_request: { by: string; note: string }) => {
    if (run.awaitsApproval && !run.decision) return;
    throw ApplicationFailure.create({ type: 'ILLEGAL_STATE', message: 'The run does not wait for an approval.', nonRetryable: true });
  };
  setHandler(approveUpdate, decide(true), { validator });
  setHandler(rejectUpdate, decide(false), { validator });
  setHandler(jobEndedSignal, ({ uid }) => void run.ended.add(uid));
}

async function carryOut(input: RetrainingInput, plan: RunPlan, run: Run): Promise<RunOutcome> {
  run.show(plan, 'RUNNING', 'choosing', 'Choosing the data.');
  const choice = await retrainingData('choose the data').chooseData({ runUid: plan.uid });
  if (choice.skip) return { state: 'SKIPPED', reason: choice.skip };
  const dataset = choice.dataset ?? (await makeDataset(plan, run, choice.assemble!.objects));
  upsertSearchAttributes([{ key: TEMPER_DATASET, value: dataset }]);

  const results = await trainAll(input, plan, run, dataset);
  const made = results.filter(hasModel);
  if (made.length === 0) {
    const [first] = results;
    const why = first?.failure ? ` ${first.failure.message}` : '';
    if (results.every(({ state }) => state === 'CANCELLED')) return { state: 'CANCELLED', reason: 'Every job of the run was cancelled.' };
    throw ApplicationFailure.create({
      type: first?.failure?.code ?? 'INTERNAL',
      message: `None of ${results.length} jobs made a model.${why}`,
      nonRetryable: true,
      details: [{ ...(first?.failure ?? INTERNAL), message: `None of ${results.length} jobs made a model.${why}` }],
    });
  }
  const count = results.length === 1 ? 'The job made its model' : `${made.length} of ${results.length} jobs made a model`;
  if (!plan.promotion) return { state: 'COMPLETED', reason: `${count}.` };
  const promotion = await promoteBest(input, plan, plan.promotion, run, results);
  return {
    state: 'COMPLETED',
    reason: `${count}. ${promotion.decision === 'PROMOTED' ? `${promotion.alias} is now ${promotion.candidate}: ` : ''}${promotion.reason}`,
  };
}

const INTERNAL: Failure = { code: 'INTERNAL', message: '', domain: 'PLATFORM', retryable: true };

/** Puts the parts together and has the whole validated, as any upload is. @returns the dataset's name */
async function makeDataset(plan: RunPlan, run: Run, parts: number): Promise<string> {
  run.show(plan, 'RUNNING', 'assembling', `Making one dataset of ${parts} part${parts === 1 ? '' : 's'}.`);
  const upload = await retrainingData(`put ${parts} parts together`).assembleDataset({ runUid: plan.uid });
  const verdict = await executeChild<typeof DatasetWorkflow>(DATASET_WORKFLOW, {
    args: [upload],
    workflowId: upload.name,
    memo: { upload: upload.uploadKey },
    staticSummary: 'validate a dataset',
    staticDetails: `**Dataset** \`${upload.name}\`, made by \`${plan.name}\``,
    typedSearchAttributes: startAttributes({
      account: plan.name.split('/')[1]!,
      dataset: upload.name,
      state: 'UPLOADING',
      stage: 'uploaded',
    }),
  });
  if (verdict.valid) return upload.name;
  const failure: Failure = {
    code: 'DATASET_INVALID',
    domain: 'DATASET',
    retryable: false,
    message: `The dataset ${upload.name}, put together from ${parts} parts, is not valid: ${verdict.message}`,
  };
  throw ApplicationFailure.create({ type: failure.code, message: failure.message, nonRetryable: true, details: [failure] });
}

/** As many jobs at a time as the plan allows, in its order. A job that cannot be made or fails costs the others nothing. */
async function trainAll(input: RetrainingInput, plan: RunPlan, run: Run, dataset: string): Promise<RunJobResult[]> {
  run.show(plan, 'RUNNING', 'training', `Training ${plan.jobs} job${plan.jobs === 1 ? '' : 's'} on ${dataset}.`);
  const results: RunJobResult[] = [];
  let next = 0;
  const takeJobs = async () => {
    while (next < plan.jobs) {
      const index = next++;
      const result = await trainOne(input, plan, run, dataset, index);
      results[index] = result;
      run.note(result);
      run.show(plan, 'RUNNING', 'training', `${results.filter(Boolean).length} of ${plan.jobs} jobs on ${dataset} have ended.`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(plan.maxConcurrentJobs, plan.jobs) }, takeJobs));
  return results;
}

async function trainOne(input: RetrainingInput, plan: RunPlan, run: Run, dataset: string, index: number): Promise<RunJobResult> {
  const summary = `job ${index + 1} of ${plan.jobs}`;
  const read = (failure?: Failure) => retrainingRecords(`result of ${summary}`).readRunJob({ runUid: plan.uid, index, failure });
  let job: RunJobStart;
  try {
    job = await retrainingData(`make ${summary}`).createRunJob({ runUid: plan.uid, index, workflowId: workflowInfo().workflowId });
  } catch (error) {
    if (!(error instanceof ActivityFailure) || isCancellation(error)) throw error;
    return read(failureOf(error));
  }
  run.note({ index, id: job.input.name.split('/').at(-1)!, state: 'RUNNING' });
  run.show(plan, 'RUNNING', 'training', `Training ${plan.jobs} job${plan.jobs === 1 ? '' : 's'} on ${dataset}.`);
  if (!job.ended) await untilEnded(run, job);
  return read();
}

/**
 * Runs the job's workflow to the end of the job. That is before the workflow's own end, for a report to a tracker follows it,
 * and takes as long as the tracker is away: the job's end is signalled. A workflow that an operator terminates only ends.
 */
async function untilEnded(run: Run, job: RunJobStart): Promise<void> {
  const child = await startChild<typeof FineTuningWorkflow>(FINE_TUNING_WORKFLOW, {
    args: [job.input],
    workflowId: job.input.name,
    memo: { uid: job.uid },
    parentClosePolicy: ParentClosePolicy.ABANDON,
    ...jobStartOptions(job.input, job.createdBy),
  });
  const closed = child.result().then(
    () => {},
    (error: unknown) => {
      if (isCancellation(error)) throw error;
    },
  );
  await Promise.race([condition(() => run.ended.has(job.uid)), closed]);
}

async function promoteBest(
  input: RetrainingInput,
  plan: RunPlan,
  promotion: NonNullable<RunPlan['promotion']>,
  run: Run,
  results: RunJobResult[],
): Promise<PromotionOutcome> {
  const record = (outcome: PromotionOutcome, state: RunState = 'RUNNING', reason = outcome.reason) =>
    retrainingRecords(`${promotion.alias}: ${outcome.decision}`).recordPromotion({ runUid: plan.uid, outcome, state, reason });
  const candidate = bestOf(results);
  if (!candidate) {
    const outcome: PromotionOutcome = {
      alias: promotion.alias,
      minImprovement: promotion.minImprovement,
      decision: 'NOT_COMPARABLE',
      reason: `No job was evaluated, so ${promotion.alias} stays where it is.`,
    };
    await record(outcome);
    return outcome;
  }
  upsertSearchAttributes([{ key: TEMPER_MODEL, value: candidate.model }]);
  run.show(plan, 'RUNNING', 'comparing', `Comparing ${candidate.model} with what ${promotion.alias} points at.`);
  const present = await retrainingRecords(`read ${promotion.alias}`).readAlias({ runUid: plan.uid });
  const comparable = present && isComparable(candidate.evaluation!.metric, candidate.baseModel, present.baseModel);
  const score = comparable ? await scoreCurrent(input, candidate, present.model) : null;
  let outcome = compare({ ...promotion, candidate, current: present ? { ...present, score } : null });
  if (outcome.decision === 'PENDING' && promotion.approval === 'MANUAL') {
    const waiting = `${promotion.alias} waits for an approval: ${outcome.reason}`;
    await record(outcome, 'AWAITING_APPROVAL', waiting);
    run.show(plan, 'AWAITING_APPROVAL', 'approval', waiting);
    run.awaitsApproval = true;
    await condition(() => run.decision !== null, promotion.approvalTimeoutMs);
    run.awaitsApproval = false;
    outcome = afterApproval(outcome, run.decision);
  }
  if (outcome.decision === 'PENDING') {
    const by = outcome.decidedBy ?? plan.name;
    const moved = await retrainingRecords(`move ${promotion.alias}`).promote({
      runUid: plan.uid,
      model: candidate.model,
      expected: present?.model ?? null,
      reason: outcome.reason,
      by,
    });
    outcome = moved
      ? { ...outcome, decision: 'PROMOTED' }
      : {
          ...outcome,
          decision: 'MOVED_MEANWHILE',
          reason: `${promotion.alias} was moved to another model meanwhile, so it stays there. ${outcome.reason}`,
        };
  }
  await record(outcome);
  return outcome;
}

/** The current model on the rows of the candidate's evaluation: numbers of another day were measured on other rows. */
async function scoreCurrent(
  { accountId }: RetrainingInput,
  candidate: RunJobResult,
  model: string,
): Promise<{ metric: string; value: number }> {
  const uid = candidate.uid!;
  const name = `accounts/${accountId}/fineTuningJobs/${candidate.id}`;
  const prepared = await dataActivities('the rows that the best was evaluated on').renderJob({ uid, name });
  const place = { accountId, priority: 3 };
  return evaluateModelActivity(place, `evaluate ${model.split('/').at(-1)} on the same rows`).evaluateModel({
    model,
    jobUid: uid,
    prepared,
  });
}

function afterApproval(outcome: PromotionOutcome, decision: Run['decision']): PromotionOutcome {
  if (!decision) return { ...outcome, decision: 'EXPIRED', reason: `Nobody approved it in time. ${outcome.reason}` };
  const note = decision.note ? ` (${decision.note})` : '';
  if (decision.approved) return { ...outcome, decidedBy: decision.by, reason: `Approved by ${decision.by}${note}. ${outcome.reason}` };
  return { ...outcome, decision: 'REJECTED', decidedBy: decision.by, reason: `Rejected by ${decision.by}${note}. ${outcome.reason}` };
}
