/** What a settings file and flags say of retraining, as the API takes it: the job's settings once, and around them data, grid and promotion. */
import { accountOf } from './client.js';
import { UsageError } from './failures.js';
import { buildJobRequest, requestOrigins, type JobSettings } from './jobSettings.js';
import type { Session } from './session.js';
import { readBlockFile, type Block } from './settingsFile.js';

export interface RetrainingRequest {
  retraining: Record<string, unknown>;
  /** Where each field came from, for errors of the API. */
  origins: Map<string, string>;
  jobId: string | undefined;
  displayName: string | undefined;
}

/** @param block  the settings file's `retraining:`, or a sweep's own file */
export async function buildRetraining(session: Session, settings: JobSettings, block: Block | undefined): Promise<RetrainingRequest> {
  const request = buildJobRequest(settings, await accountOf(session.connection), { data: block?.value['data'] !== undefined });
  const { dataset, jobId, modelId, displayName, ...fineTuning } = request.body;
  if (modelId !== undefined)
    throw new UsageError(`model_id (${settings.values.get('model_id')!.origin}) cannot be chosen: each run makes a model of its own`);
  if (dataset !== undefined && block?.value['data'] !== undefined)
    throw new UsageError(
      `both dataset (${settings.values.get('dataset')!.origin}) and data (${block.origin}) say what to train on: keep one of them`,
    );
  if (block && 'fineTuning' in block.value)
    throw new UsageError(`${block.origin}: the settings of the jobs stand at the top level of the settings file, not in fine_tuning`);
  return {
    retraining: { ...(dataset !== undefined ? { data: { dataset } } : {}), fineTuning, ...withDurations(block?.value) },
    origins: requestOrigins(request),
    jobId: jobId as string | undefined,
    displayName: displayName as string | undefined,
  };
}

function withDurations(value: Record<string, unknown> | undefined): Record<string, unknown> | undefined {
  const promotion = value?.['promotion'] as { approvalTimeout?: unknown } | null | undefined;
  if (typeof promotion?.approvalTimeout !== 'string') return value;
  return { ...value, promotion: { ...promotion, approvalTimeout: readDuration(promotion.approvalTimeout, 'approval_timeout') } };
}

/** A sweep's file: `grid`, `variants`, `max_concurrent_jobs` and the rest, at the top level. */
export function readSweepFile(path: string): Block {
  return readBlockFile(path);
}

/** `90s`, `30m`, `6h` or `7d` as the API has it. @throws UsageError */
export function readDuration(text: string, flag: string): string {
  const match = /^(\d{1,6})([smhd])$/.exec(text);
  if (!match) throw new UsageError(`${flag} must be a duration such as 90s, 30m, 6h or 7d, not "${text}"`);
  return `${Number(match[1]) * { s: 1, m: 60, h: 3600, d: 86_400 }[match[2] as 's' | 'm' | 'h' | 'd']}s`;
}
