/**
 * Brings a run to the server: asks first whether it has it, sends it, and asks what arrived, because the SDK reports lost rows as a
 * success.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TemperError } from '../schemas/errors.js';
import { sendRun } from './wandbProcess.js';
import type { WandbRun } from './wandbRun.js';
import {
  entityRefused,
  findRun,
  holdsRun,
  hostOf,
  readViewer,
  runUrl,
  serverError,
  trackerError,
  type WandbServer,
} from './wandbServer.js';

export interface DeliveryLimits {
  /** For the process that sends: signing in, creating the run, all rows. */
  sendMs: number;
  /** From then until the server must show what it was sent: it takes that into its records a little later. */
  settleMs: number;
}

const SETTLE_INTERVAL_MS = 500;

/** A minute, a second more for every thousand rows, and well below the ten minutes that the step may take. */
export function limitsFor(rowCount: number): DeliveryLimits {
  return { sendMs: Math.min(60_000 + rowCount, 8 * 60_000), settleMs: 20_000 };
}

/** Sends the run unless the server has it already, and makes sure that it has. */
export async function deliverRun(
  server: WandbServer,
  run: WandbRun,
  limits: DeliveryLimits,
  signal: AbortSignal,
): Promise<{ url: string; verified: boolean }> {
  const viewer = await readViewer(server, signal);
  const entity = run.entity ?? viewer.entity;
  if (!viewer.entity) throw entityRefused(server, entity, run);
  const url = runUrl(server, entity, run);

  const before = await findRun(server, entity, run, signal);
  if (before && before !== 'unknown' && holdsRun(before, run)) return { url, verified: true };
  await sendRun({ run, server, entity, deadlineMs: limits.sendMs }, signal);

  const giveUpAt = performance.now() + limits.settleMs;
  for (;;) {
    const after = await findRun(server, entity, run, signal);
    if (after === 'unknown') return { url, verified: false };
    if (after && holdsRun(after, run)) return { url, verified: true };
    if (performance.now() > giveUpAt) {
      if (after) throw rowsMissing(server, after.rowCount, run.rows.length);
      throw [viewer.entity, ...viewer.teams].includes(entity) ? serverError(server) : entityRefused(server, entity, run);
    }
    await sleep(SETTLE_INTERVAL_MS);
    signal.throwIfAborted();
  }
}

function rowsMissing(server: WandbServer, arrived: number, sent: number): TemperError {
  return trackerError(
    'TRACKER_FAILED',
    'ROWS_MISSING',
    `Weights & Biases (${hostOf(server)}) holds ${arrived} of ${sent} rows of the run; they are sent again.`,
  );
}
