/** What a schedule or a sweep asks for, checked as far as it can be before there is data: each job's body, the data's shape, the timing. */
import type { TSchema } from 'typebox';
import { expandJobs } from '../jobs/expandJobs.js';
import { readFineTuningJob } from '../jobs/jobRequest.js';
import { resolveStart } from '../jobs/resolveSettings.js';
import { findWandbKey } from '../jobs/wandbKey.js';
import { checkCron, isTimeZone } from '../schemas/cron.js';
import { fieldError, TemperError } from '../schemas/errors.js';
import type { FineTuningJob } from '../schemas/job.js';
import { parseName } from '../schemas/names.js';
import { JobTemplate, type Retraining, type Timing } from '../schemas/schedule.js';
import { compileReader, toCamelCase } from './body.js';
import type { ApiDependencies } from './server.js';

const readTemplate = compileReader(JobTemplate as TSchema);

/** The retraining as it is stored, and the key that is kept apart. */
export interface CheckedRetraining {
  retraining: Retraining;
  wandbApiKey: string | null;
}

/** @param storedKey  of a schedule that is being changed: stays when the change gives none */
export async function checkRetraining(
  { database, config: { secretKeys } }: ApiDependencies,
  accountId: string,
  given: Retraining,
  storedKey: string | null,
): Promise<CheckedRetraining> {
  checkData(given.data, accountId);
  const { wandbApiKey = null, ...template } = given.fineTuning;
  const retraining: Retraining = {
    ...given,
    fineTuning: template,
    ...(given.variants ? { variants: given.variants.map(camelCaseKeys) } : {}),
    ...(given.grid ? { grid: camelCaseKeys(given.grid) } : {}),
  };
  const key =
    wandbApiKey ??
    (template.wandbProject !== undefined ? (storedKey ?? (await findWandbKey(database, secretKeys, accountId, template))) : null);
  checkPromotion(retraining);
  for (const { settings, body } of expandJobs(retraining)) {
    const which = Object.keys(settings).length > 0 ? `With ${JSON.stringify(settings)}: ` : '';
    try {
      const read = readTemplate({ ...body, ...(key === null ? {} : { wandbApiKey: key }) }) as FineTuningJob;
      const request = readFineTuningJob(read, accountId);
      await resolveStart(database, accountId, request);
    } catch (error) {
      if (!(error instanceof TemperError) || which === '') throw error;
      throw new TemperError(error.code, which.replaceAll(key ?? '\0', '…') + error.message, error.details);
    }
  }
  return { retraining, wandbApiKey };
}

/** Settings may be written either way, as everywhere; as names of a map they reach us as they were written. */
function camelCaseKeys<T>(settings: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [toCamelCase(name), value]));
}

function checkData(data: Retraining['data'], accountId: string): void {
  const given = Object.entries(data)
    .filter(([, value]) => value !== undefined)
    .map(([name]) => name);
  if (given.length !== 1)
    throw fieldError(
      given.length === 0 ? 'MISSING_FIELD' : 'INVALID_FIELD',
      'retraining.data',
      `retraining.data must say one thing: dataset, newest, merge or s3Import${given.length > 1 ? `, not ${given.join(' and ')}` : ''}.`,
    );
  const { dataset, merge } = data;
  if (merge && (merge.datasets === undefined) === (merge.prefix === undefined))
    throw fieldError('INVALID_FIELD', 'retraining.data.merge', 'retraining.data.merge needs either datasets or prefix.');
  for (const [field, name] of [
    ...(dataset !== undefined ? [['retraining.data.dataset', dataset] as const] : []),
    ...(merge?.datasets ?? []).map((name) => ['retraining.data.merge.datasets', name] as const),
  ]) {
    if (parseName(name, 'datasets', accountId)?.accountId !== accountId)
      throw fieldError(
        'INVALID_FIELD',
        field,
        `${field} must be accounts/${accountId}/datasets/ID, not ${JSON.stringify(name.slice(0, 100))}.`,
      );
  }
}

/** The best of a run is the best by one number, measured on the same rows: what would make that untrue is refused. */
function checkPromotion(retraining: Retraining): void {
  const { promotion, startFrom, fineTuning } = retraining;
  const bodies = expandJobs(retraining).map(({ body }) => body);
  const differ = (setting: string) => new Set(bodies.map((body) => JSON.stringify(body[setting] ?? null))).size > 1;
  if (startFrom === 'PROMOTED_MODEL' && !promotion)
    throw fieldError(
      'MISSING_FIELD',
      'retraining.promotion',
      'startFrom PROMOTED_MODEL needs promotion.alias: the alias says which model that is.',
    );
  if (startFrom === 'PROMOTED_MODEL' && (differ('baseModel') || differ('loraRank')))
    throw fieldError(
      'INVALID_FIELD',
      'retraining.startFrom',
      'startFrom PROMOTED_MODEL goes on from one adapter, which brings its base model and rank: they cannot differ between the jobs.',
    );
  if (!promotion) return;
  if (fineTuning.evaluation === false)
    throw fieldError('INVALID_FIELD', 'retraining.fineTuning.evaluation', 'promotion compares evaluations: leave evaluation on.');
  if (differ('seed') && fineTuning.evaluationDataset === undefined)
    throw fieldError(
      'INVALID_FIELD',
      'retraining.grid.seed',
      'The seed also chooses the held-out examples, so jobs of different seeds cannot be compared: give an evaluationDataset, or one seed.',
    );
  if (differ('baseModel') && !fineTuning.textClassification)
    throw fieldError(
      'INVALID_FIELD',
      'retraining.promotion',
      'Perplexities of different base models cannot be compared: leave promotion out, or tune one base model.',
    );
}

/** @throws TemperError for a timing that never runs, or that Temporal would refuse */
export function checkTiming(timing: Timing): void {
  const { cron, interval, timeZone, catchupWindow, jitter } = timing;
  if ((cron === undefined) === (interval === undefined))
    throw fieldError(
      cron === undefined ? 'MISSING_FIELD' : 'INVALID_FIELD',
      'cron',
      'A schedule needs either cron ("0 2 * * *" is every night at two) or interval ("3600s" is every hour).',
    );
  const problem = cron === undefined ? null : checkCron(cron);
  if (problem) throw fieldError('CRON_INVALID', 'cron', `cron ${JSON.stringify(cron!.slice(0, 100))} cannot work: ${problem}.`);
  if (timeZone !== undefined && interval !== undefined)
    throw fieldError('INVALID_FIELD', 'timeZone', 'timeZone has no meaning beside interval: leave one of them out.');
  if (timeZone !== undefined && !isTimeZone(timeZone))
    throw fieldError(
      'INVALID_FIELD',
      'timeZone',
      `timeZone ${JSON.stringify(timeZone)} is not known: use a name such as Europe/Berlin or UTC.`,
    );
  if (interval !== undefined && seconds(interval) < 1) throw fieldError('INVALID_FIELD', 'interval', 'interval must be at least "1s".');
  if (catchupWindow !== undefined && seconds(catchupWindow) < 10)
    throw fieldError('INVALID_FIELD', 'catchupWindow', 'catchupWindow must be at least "10s".');
  if (jitter !== undefined && seconds(jitter) > 86_400)
    throw fieldError('INVALID_FIELD', 'jitter', 'jitter must be at most "86400s", a day.');
}

function seconds(duration: string): number {
  return Number.parseInt(duration, 10);
}
