/** A run of retraining: its name, and how far apart two runs must be to be worth training. */
import { createHash } from 'node:crypto';
import { resourceName } from '../schemas/names.js';
import type { Retraining } from '../schemas/schedule.js';
import type { RunRecord } from '../stores/retrainingRuns.js';

export function runName(run: Pick<RunRecord, 'account_id' | 'schedule_id' | 'id'>): string {
  return run.schedule_id === ''
    ? resourceName(run.account_id, 'sweeps', run.id)
    : `${resourceName(run.account_id, 'schedules', run.schedule_id)}/runs/${run.id}`;
}

/** `nightly-2026-11-24T02:00:00Z`, as Temporal names the workflow of a scheduled run, to a legal ID: `nightly-20261124-020000`. */
export function runIdOf(scheduleId: string, workflowId: string): string {
  const found = /-(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z$/.exec(workflowId);
  if (!found) throw new Error(`${workflowId} is not the ID of a scheduled run.`);
  const [, year, month, day, hour, minute, second] = found;
  return `${scheduleId}-${year}${month}${day}-${hour}${minute}${second}`;
}

/**
 * What would be trained on what: two runs of the same fingerprint would make the same models, but for the adapter they go on from.
 * @param contents  a name or hash of each part of the data, in any order
 */
export function fingerprintOf(contents: string[], { fineTuning, variants, grid, data }: Retraining): string {
  return createHash('sha256')
    .update(canonicalJson({ contents: [...contents].sort(), fineTuning, variants, grid, data }))
    .digest('hex');
}

/** jsonb does not keep the order of keys, so neither may the hash. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
