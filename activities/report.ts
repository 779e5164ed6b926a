/**
 * Reports a job that has ended to Weights & Biases: the whole run at once, from the job's own records, under the run ID it has for
 * life. So an outage of the tracker costs nothing but a later report, and a report that is made again changes nothing.
 */
import type { ControlActivities } from '../schemas/activities.js';
import { errorRow, TemperError } from '../schemas/errors.js';
import type { Database, WandbSettings } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import { listMetrics, updateWandb, type JobRecord } from '../stores/jobs.js';
import type { SecretKeys } from '../stores/secretKeys.js';
import { readSecret } from '../stores/secrets.js';
import { withHeartbeats } from './heartbeat.js';
import { requireJob } from './jobs.js';
import { deliverRun, limitsFor } from './wandbDelivery.js';
import { describeRun } from './wandbRun.js';
import { trackerError } from './wandbServer.js';

export interface ReportDependencies {
  database: Database;
  secretKeys: SecretKeys;
}
type ReportInput = Parameters<ControlActivities['report']>[0];

const DEFAULT_BASE_URL = 'https://api.wandb.ai';

export function makeReport(deps: ReportDependencies): Pick<ControlActivities, 'report'> {
  return { report: (input) => withHeartbeats((signal) => reportJob(deps, input, signal)) };
}

/** @throws TemperError TRACKER_REFUSED, TRACKER_FAILED; by then the job is marked as degraded, with the reason */
export async function reportJob(
  { database, secretKeys }: ReportDependencies,
  input: ReportInput,
  signal: AbortSignal,
): Promise<{ url: string | null }> {
  const job = await requireJob(database, input.uid);
  if (!job.wandb) return { url: null };
  try {
    const server = {
      baseUrl: (process.env['WANDB_BASE_URL'] || DEFAULT_BASE_URL).replace(/\/+$/, ''),
      apiKey: await requireKey(database, secretKeys, job, job.wandb),
    };
    const run = describeRun(job, await listMetrics(database, job.uid), input.outcome);
    const { url, verified } = await deliverRun(server, run, limitsFor(run.rows.length), signal);
    await changeWandb(database, job.uid, { url, state: 'DELIVERED', reason: undefined });
    const doubt = verified ? '' : ' (the server does not tell what arrived)';
    await appendEvent(database, job.uid, {
      key: 'report/delivered',
      type: 'report',
      message: `Reported to Weights & Biases: ${run.rows.length} rows at ${url}${doubt}.`,
      data: { url, rows: run.rows.length, verified },
    });
    return { url };
  } catch (error) {
    if (!(error instanceof TemperError) || errorRow(error.code).domain !== 'TRACKER') throw error;
    const reason = error.details[0]!.reason;
    await changeWandb(database, job.uid, { state: 'DEGRADED', reason: error.message });
    await appendEvent(database, job.uid, {
      key: `report/degraded/${reason}`,
      type: 'report',
      message: error.message,
      data: { code: error.code, reason },
    });
    throw error;
  }
}

async function requireKey(database: Database, secretKeys: SecretKeys, job: JobRecord, wandb: WandbSettings): Promise<string> {
  const key = (await readSecret(database, secretKeys, job.account_id, wandb.secretId))?.trim();
  if (key) return key;
  throw trackerError(
    'TRACKER_REFUSED',
    'KEY_MISSING',
    `The secret ${wandb.secretId} with the Weights & Biases key is gone or empty, so nothing could be reported.`,
  );
}

/** On what stands there now: the key may have been replaced while the report was under way. */
async function changeWandb(database: Database, uid: string, change: Partial<WandbSettings>): Promise<void> {
  const { wandb } = await requireJob(database, uid);
  if (wandb) await updateWandb(database, uid, { ...wandb, ...change });
}
