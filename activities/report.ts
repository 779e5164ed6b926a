/**
 * Reports a job to one tracker, while it trains and after: the job's own records are the outbox, the position in it is what the tracker
 * itself has, and whatever goes wrong here costs the job nothing. Ends when the tracker has all of a job that has ended.
 */
import { Context } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlActivities, ReportActivities } from '../schemas/activities.js';
import { isTerminal } from '../schemas/states.js';
import { TRACKER_TITLES, type ReportOutcome, type Tracker } from '../schemas/tracker.js';
import type { Database, TrackerSettings } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import { countMetrics, findJobByUid, lastMetric, listMetrics, updateTracker, type JobRecord } from '../stores/jobs.js';
import { tensorboardKey } from '../stores/jobFiles.js';
import type { ObjectStore } from '../stores/objects.js';
import type { SecretKeys } from '../stores/secretKeys.js';
import { readSecret } from '../stores/secrets.js';
import { describeEnd, describeRun, describeStep, type EvaluationReport } from '../trackers/describeJob.js';
import { openMlflow } from '../trackers/mlflow.js';
import { openTensorboard } from '../trackers/tensorboard.js';
import { TrackerError, type Delivery } from '../trackers/tracker.js';
import { openWandb, WANDB_LIMITS, type WandbLimits } from '../trackers/wandb.js';
import { describeFailure } from './failures.js';
import { withHeartbeats } from './heartbeat.js';

export interface ReportDependencies {
  database: Database;
  objects: ObjectStore;
  secretKeys: SecretKeys;
  /** Python with the tracker's clients. */
  reporterPython: string;
  scratch: string;
  limits?: ReportLimits;
}

export interface ReportLimits {
  /** Between two looks for new steps. */
  pollMs: number;
  /** A tracker that was there and does not answer is waited for this long before the delivery begins anew. */
  patienceMs: number;
  wandb: WandbLimits;
}
export const REPORT_LIMITS: ReportLimits = { pollMs: 2_000, patienceMs: 60_000, wandb: WANDB_LIMITS };

const ROWS_AT_ONCE = 1_000;
const WAIT_FOR_JOB_MS = 15_000;
/** Somebody must do something, and says so when they have: asking often would help nobody. */
const ASK_AGAIN_AFTER_REFUSAL_MS = 15 * 60_000;
/** After the end of the job, or since someone asked again. */
const GIVE_UP_AFTER_MS = 24 * 3_600_000;

const DEFAULT_WANDB_URL = 'https://api.wandb.ai';

export function makeReport(deps: ReportDependencies): ReportActivities & Pick<ControlActivities, 'report'> {
  const deliver = async (uid: string, tracker: Tracker): Promise<ReportOutcome> => {
    let step = 0;
    try {
      return await withHeartbeats(
        (signal) => reportJob(deps, { uid, tracker }, signal, (delivered) => (step = delivered)),
        () => ({ step }),
      );
    } catch (error) {
      throw error instanceof TrackerError ? await toFailure(deps.database, uid, error) : error;
    }
  };
  return {
    deliverReport: ({ uid, tracker }) => deliver(uid, tracker),
    // Of jobs that began before reporters had a workflow of their own.
    report: async ({ uid }) => ({ url: (await deliver(uid, 'wandb')).url || null }),
  };
}

/** Tried again, by the tracker's wish or ours, until the job's end is too long ago. */
async function toFailure(database: Database, uid: string, error: TrackerError): Promise<ApplicationFailure> {
  const job = await findJobByUid(database, uid);
  const since = Math.max(job?.completed_time?.getTime() ?? Infinity, Context.current().info.scheduledTimestampMs);
  const failure = describeFailure(error);
  return ApplicationFailure.create({
    type: error.code,
    message: error.message,
    details: [failure],
    nonRetryable: Date.now() - since > GIVE_UP_AFTER_MS,
    nextRetryDelay: error.code === 'TRACKER_REFUSED' ? ASK_AGAIN_AFTER_REFUSAL_MS : error.retryAfterMs,
    category: ApplicationFailureCategory.BENIGN,
  });
}

/**
 * @param told  hears the last step that the tracker has
 * @throws TrackerError; by then the job is marked as degraded, with the reason
 * @throws ApplicationFailure NOTHING_TO_REPORT_YET, to be tried again, while the job holds no GPU and the tracker has all there is
 */
export async function reportJob(
  deps: ReportDependencies,
  { uid, tracker }: { uid: string; tracker: Tracker },
  signal: AbortSignal,
  told: (step: number) => void,
): Promise<ReportOutcome> {
  const { database } = deps;
  const job = await findJobByUid(database, uid);
  const settings = job?.[tracker];
  if (!job || !settings) return { state: 'PENDING', url: '', message: 'The job is gone, or reports to nobody.' };
  if (settings.state !== 'DELIVERED' && isIdle(job) && !(await hasNews(database, job, settings))) throw nothingYet();
  let delivery: Delivery | undefined;
  try {
    delivery = await open(deps, job, tracker, signal);
    const { url } = delivery;
    await begin(database, job, tracker, delivery);
    await deliverSteps(deps, { uid, tracker, delivery, signal, told });
    const ended = await findJobByUid(database, uid);
    if (!ended) return { state: 'PENDING', url, message: 'The job was deleted.' };
    const last = await lastMetric(database, uid);
    await delivery.finish(describeEnd(ended, last, await readEvaluation(deps.objects, ended)));
    await updateTracker(database, uid, tracker, { state: 'DELIVERED', url, reason: '', deliveredStep: last?.step ?? 0 });
    const message = `Reported to ${TRACKER_TITLES[tracker]}: ${last?.step ?? 0} steps${url ? ` at ${url}` : ''}.`;
    await appendEvent(database, uid, { key: `report/${tracker}/delivered`, type: 'report', message, data: { tracker, url } });
    return { state: 'DELIVERED', url, message };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TrackerError) await degrade(database, uid, tracker, error);
    throw error;
  } finally {
    await delivery?.close();
  }
}

/** Until the tracker was handed all steps of a job that has ended. */
async function deliverSteps(
  { database, limits = REPORT_LIMITS }: ReportDependencies,
  {
    uid,
    tracker,
    delivery,
    signal,
    told,
  }: { uid: string; tracker: Tracker; delivery: Delivery; signal: AbortSignal; told: (step: number) => void },
): Promise<void> {
  let sent = delivery.position;
  let failingSince: number | null = null;
  for (;;) {
    signal.throwIfAborted();
    // The job first: what is read after its end is all there is.
    const job = await findJobByUid(database, uid);
    if (!job) return;
    const metrics = await listMetrics(database, uid, { after: sent, limit: ROWS_AT_ONCE });
    if (metrics.length > 0) await delivery.send(metrics.map(describeStep));
    sent = metrics.at(-1)?.step ?? sent;
    if (metrics.length === ROWS_AT_ONCE) continue;
    if (isTerminal(job.state)) return;
    try {
      const confirmed = await delivery.confirmed();
      if (confirmed !== null) {
        told(confirmed);
        const recovered = failingSince === null ? {} : { state: 'DELIVERING' as const, reason: '' };
        failingSince = null;
        await updateTracker(database, uid, tracker, { deliveredStep: confirmed, ...recovered });
        if (isIdle(job) && confirmed === sent) throw nothingYet();
      }
    } catch (error) {
      if (!(error instanceof TrackerError) || error.code === 'TRACKER_REFUSED' || error.problem === 'ROWS_MISSING') throw error;
      // What the client has on its way may still arrive.
      failingSince ??= performance.now();
      if (performance.now() - failingSince > limits.patienceMs) throw error;
      await degrade(database, uid, tracker, error);
    }
    await sleep(limits.pollMs, undefined, { signal }).catch(() => {});
  }
}

async function open(deps: ReportDependencies, job: JobRecord, tracker: Tracker, signal: AbortSignal): Promise<Delivery> {
  const { database, secretKeys, reporterPython: python, scratch, limits = REPORT_LIMITS } = deps;
  const run = describeRun(job, process.env['TEMPER_PUBLIC_URL'] ?? '');
  if (tracker === 'tensorboard')
    return openTensorboard(job.create_time, async (file) => void (await deps.objects.putBytes(tensorboardKey(job.uid), file)));
  if (tracker === 'mlflow') return openMlflow({ ...readMlflowServer(), experiment: job.mlflow!.experiment }, run, signal);
  const { project, entity, runId, secretId } = job.wandb!;
  const apiKey = await requireKey(database, secretKeys, job.account_id, secretId);
  const target = { baseUrl: (process.env['WANDB_BASE_URL'] || DEFAULT_WANDB_URL).replace(/\/+$/, ''), apiKey, project, entity, runId };
  const countRows = (upToStep: number) => countMetrics(database, job.uid, upToStep);
  return openWandb(target, run, { python, scratch, countRows, delivered: job.wandb!.deliveredStep ?? 0, limits: limits.wandb }, signal);
}

/** The deployment's own server, by the variables that MLflow's clients know. */
function readMlflowServer(): { trackingUri: string; authorization: string | null } {
  const { MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD = '' } = process.env;
  if (!MLFLOW_TRACKING_URI) {
    const message = 'This deployment has no MLflow server: set MLFLOW_TRACKING_URI for the workers of temper-reports.';
    throw new TrackerError('TRACKER_REFUSED', 'ADDRESS_WRONG', message);
  }
  const basic =
    MLFLOW_TRACKING_USERNAME && `Basic ${Buffer.from(`${MLFLOW_TRACKING_USERNAME}:${MLFLOW_TRACKING_PASSWORD}`).toString('base64')}`;
  const authorization = MLFLOW_TRACKING_TOKEN ? `Bearer ${MLFLOW_TRACKING_TOKEN}` : basic || null;
  return { trackingUri: MLFLOW_TRACKING_URI.replace(/\/+$/, ''), authorization };
}

async function begin(database: Database, job: JobRecord, tracker: Tracker, { url, warnings }: Delivery): Promise<void> {
  const { uid } = job;
  await updateTracker(database, uid, tracker, { url, state: 'DELIVERING', reason: '' });
  const message = `Reports to ${TRACKER_TITLES[tracker]}${url ? `: ${url}` : ''}.`;
  await appendEvent(database, uid, { key: `report/${tracker}/run`, type: 'report', message, data: { tracker, url } });
  for (const { code, message } of warnings)
    await appendEvent(database, uid, { key: `report/${tracker}/${code}`, type: 'warning', message, data: { tracker, code } });
}

/** The state always; the event once for each problem, however often it comes. */
async function degrade(database: Database, uid: string, tracker: Tracker, { code, problem, message }: TrackerError): Promise<void> {
  await updateTracker(database, uid, tracker, { state: 'DEGRADED', reason: message });
  const key = `report/${tracker}/degraded/${problem}`;
  await appendEvent(database, uid, { key, type: 'report', message, data: { tracker, code, reason: problem } });
}

async function requireKey(database: Database, secretKeys: SecretKeys, accountId: string, secretId: string): Promise<string> {
  const key = (await readSecret(database, secretKeys, accountId, secretId))?.trim();
  if (key) return key;
  const message = `The secret ${secretId} with the Weights & Biases key is gone or empty: give the job a key.`;
  throw new TrackerError('TRACKER_REFUSED', 'KEY_MISSING', message);
}

/** The job makes no steps now, and has not ended. */
function isIdle({ state }: JobRecord): boolean {
  return state === 'CREATING' || state === 'VALIDATING' || state === 'PENDING' || state === 'PAUSED';
}

async function hasNews(database: Database, { uid }: JobRecord, { deliveredStep = 0 }: TrackerSettings): Promise<boolean> {
  return ((await lastMetric(database, uid))?.step ?? 0) > deliveredStep;
}

/** Retries stand in no history, however long a job waits for its GPU or is paused. */
function nothingYet(): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'NOTHING_TO_REPORT_YET',
    message: 'The job makes no steps now, and the tracker has all there are.',
    nextRetryDelay: WAIT_FOR_JOB_MS,
    category: ApplicationFailureCategory.BENIGN,
  });
}

/** null where there is none, or it is gone: the report does not depend on it. */
async function readEvaluation(objects: ObjectStore, { evaluation }: JobRecord): Promise<EvaluationReport | null> {
  if (!evaluation?.reportKey) return null;
  try {
    return JSON.parse(await objects.getText(evaluation.reportKey)) as EvaluationReport;
  } catch {
    return null;
  }
}
