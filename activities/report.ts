/**
 * Reports a job that has ended to Weights & Biases: the whole run at once, from the job's own records, under the run ID it has for
 * life. So an outage of the tracker costs nothing but a later report, and a report that is made again changes nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlActivities } from '../schemas/activities.js';
import { errorRow, TemperError } from '../schemas/errors.js';
import type { Database, WandbSettings } from '../stores/database.js';
import { appendEvent } from '../stores/events.js';
import { listMetrics, updateWandb, type JobRecord } from '../stores/jobs.js';
import { readSecret } from '../stores/secrets.js';
import { withHeartbeats } from './heartbeat.js';
import { requireJob } from './jobs.js';
import { deadlineFor, sendRun } from './wandbProcess.js';
import { describeRun, type WandbRun } from './wandbRun.js';
import { entityRefused, findRun, holdsRun, hostOf, readViewer, runUrl, trackerError, type WandbServer } from './wandbServer.js';

export interface ReportDependencies {
  database: Database;
  secretKey: string;
}
type ReportInput = Parameters<ControlActivities['report']>[0];

const DEFAULT_BASE_URL = 'https://api.wandb.ai';
/** A server takes what it was sent into its records a little later. */
const SETTLE_MS = 20_000;
const SETTLE_INTERVAL_MS = 500;

export function makeReport(deps: ReportDependencies): Pick<ControlActivities, 'report'> {
  return { report: (input) => withHeartbeats((signal) => reportJob(deps, input, signal)) };
}

/** @throws TemperError TRACKER_REFUSED, TRACKER_FAILED; by then the job is marked as degraded, with the reason */
export async function reportJob({ database, secretKey }: ReportDependencies, input: ReportInput, signal: AbortSignal): Promise<{ url: string | null }> {
  const job = await requireJob(database, input.uid);
  if (!job.wandb) return { url: null };
  try {
    const server = { baseUrl: (process.env['WANDB_BASE_URL'] || DEFAULT_BASE_URL).replace(/\/+$/, ''), apiKey: await requireKey(database, secretKey, job, job.wandb) };
    const run = describeRun(job, await listMetrics(database, job.uid), input.outcome);
    const { url, verified } = await deliverRun(server, run, signal);
    await changeWandb(database, job.uid, { url, state: 'DELIVERED', reason: undefined });
    const message = `Reported to Weights & Biases: ${run.rows.length} rows at ${url}${verified ? '' : ' (the server does not tell what arrived)'}.`;
    await appendEvent(database, job.uid, { key: 'report/delivered', type: 'report', message, data: { url, rows: run.rows.length, verified } });
    return { url };
  } catch (error) {
    if (!(error instanceof TemperError) || errorRow(error.code).domain !== 'TRACKER') throw error;
    const reason = error.details[0]!.reason;
    await changeWandb(database, job.uid, { state: 'DEGRADED', reason: error.message });
    await appendEvent(database, job.uid, { key: `report/degraded/${reason}`, type: 'report', message: error.message, data: { code: error.code, reason } });
    throw error;
  }
}

/** Sends the run unless the server has it already, and makes sure that it has. */
export async function deliverRun(
  server: WandbServer, run: WandbRun, signal: AbortSignal, deadlineMs = deadlineFor(run.rows.length),
): Promise<{ url: string; verified: boolean }> {
  const viewer = await readViewer(server, signal);
  const entity = run.entity ?? viewer.entity;
  if (!viewer.entity) throw entityRefused(server, entity, run);
  const url = runUrl(server, entity, run);

  const before = await findRun(server, entity, run, signal);
  if (before && before !== 'unknown' && holdsRun(before, run)) return { url, verified: true };
  await sendRun({ run, server, entity, isMember: [viewer.entity, ...viewer.teams].includes(entity), deadlineMs }, signal);

  const giveUpAt = performance.now() + Math.min(SETTLE_MS, deadlineMs);
  for (;;) {
    const after = await findRun(server, entity, run, signal);
    if (after === 'unknown') return { url, verified: false };
    if (after && holdsRun(after, run)) return { url, verified: true };
    if (performance.now() > giveUpAt) throw rowsMissing(server, after?.rowCount ?? 0, run.rows.length);
    await sleep(SETTLE_INTERVAL_MS);
    signal.throwIfAborted();
  }
}

function rowsMissing(server: WandbServer, arrived: number, sent: number): TemperError {
  return trackerError('TRACKER_FAILED', 'ROWS_MISSING', `Weights & Biases (${hostOf(server)}) holds ${arrived} of ${sent} rows of the run; they are sent again.`);
}

async function requireKey(database: Database, secretKey: string, job: JobRecord, wandb: WandbSettings): Promise<string> {
  const key = (await readSecret(database, secretKey, job.account_id, wandb.secretId))?.trim();
  if (key) return key;
  throw trackerError('TRACKER_REFUSED', 'KEY_MISSING', `The secret ${wandb.secretId} with the Weights & Biases key is gone or empty, so nothing could be reported.`);
}

/** On what stands there now: the key may have been replaced while the report was under way. */
async function changeWandb(database: Database, uid: string, change: Partial<WandbSettings>): Promise<void> {
  const { wandb } = await requireJob(database, uid);
  if (wandb) await updateWandb(database, uid, { ...wandb, ...change });
}
