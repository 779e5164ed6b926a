/** Schedules, runs and aliases in words. */
import type { Resource } from './client.js';
import { formatFields, formatNumber, formatTable, formatTime, idOf, plainText } from './format.js';
import { terminalWidth } from './session.js';

/** `best`, or nothing. */
interface RunJob {
  job?: string;
  settings?: Record<string, unknown>;
  state?: string;
  metric?: string;
  value?: number;
  baseValue?: number;
  best?: boolean;
  failure?: { message?: string };
}
interface Promotion {
  alias?: string;
  decision?: string;
  reason?: string;
}

/** When it runs, in one line: `0 2 * * * Europe/Berlin`, or `every 6h`. */
export function describeTiming({ cron, timeZone, interval }: Resource): string {
  if (interval) return `every ${formatSeconds(plainText(interval))}`;
  return `${plainText(cron)} ${plainText(timeZone ?? 'UTC')}`;
}

export function nextRun({ paused, nextRunTimes }: Resource): string {
  if (paused) return 'paused';
  const [next] = (nextRunTimes as string[] | undefined) ?? [];
  return next ? formatTime(next).slice(0, 16) : '';
}

export function describeSchedule(schedule: Resource): string {
  const {
    retraining = {},
    nextRunTimes = [],
    runningRuns = [],
  } = schedule as { retraining?: Resource; nextRunTimes?: string[]; runningRuns?: string[] };
  const promotion = retraining.promotion as { alias?: string; minImprovement?: number; approval?: string } | undefined;
  return formatFields([
    ['Name', plainText(schedule.name)],
    ['Display name', plainText(schedule.displayName)],
    ['Runs', describeTiming(schedule)],
    ['Paused', schedule.paused ? `yes${schedule.note ? `: ${plainText(schedule.note)}` : ''}` : ''],
    [
      'Next runs',
      nextRunTimes
        .slice(0, 5)
        .map((time) => formatTime(time))
        .join('\n'),
    ],
    ['Running', runningRuns.map(idOf).join('\n')],
    ['When the last is not over', plainText(schedule.overlapPolicy ?? 'SKIP')],
    ['Data', plainText(retraining.data)],
    ['Settings', plainText(retraining.fineTuning)],
    ['Variants', plainText(retraining.variants)],
    ['Grid', plainText(retraining.grid)],
    ['Starts from', plainText(retraining.startFrom)],
    [
      'Promotes to',
      promotion &&
        `${plainText(promotion.alias)}, if better by ${promotion.minImprovement ?? 0}${promotion.approval === 'MANUAL' ? ' and approved' : ''}`,
    ],
    ['Created', `${formatTime(plainText(schedule.createTime))} by ${plainText(schedule.createdBy)}`],
  ]);
}

export function describeRun(run: Resource): string {
  const jobs = (run.jobs as RunJob[] | undefined) ?? [];
  const promotion = run.promotion as Promotion | undefined;
  const text = formatFields([
    ['Name', plainText(run.name)],
    ['Display name', plainText(run.displayName)],
    ['State', plainText(run.state)],
    ['Reason', plainText(run.reason)],
    ['Dataset', plainText(run.dataset)],
    ['Promotion', promotion && `${plainText(promotion.alias)}: ${plainText(promotion.decision)}. ${plainText(promotion.reason)}`],
    ['Created', `${formatTime(plainText(run.createTime))} by ${plainText(run.createdBy)}`],
    ['Ended', run.endTime ? formatTime(plainText(run.endTime)) : ''],
  ]);
  return jobs.length === 0 ? text : `${text}\n\n${runTable(jobs)}`;
}

/** The jobs of a run, the best first. */
function runTable(jobs: RunJob[]): string {
  const metric = jobs.find((job) => job.metric)?.metric ?? 'metric';
  const sign = metric === 'accuracy' ? -1 : 1;
  const ranked = [...jobs].sort((a, b) => (a.value === undefined ? 1 : b.value === undefined ? -1 : sign * (a.value - b.value)));
  const number = (value: number | undefined) => (value === undefined ? '' : formatNumber(value));
  return formatTable(
    ['JOB', 'STATE', metric.toUpperCase(), 'BASE', '', 'SETTINGS'],
    ranked.map((job) => [
      idOf(job.job),
      plainText(job.state),
      number(job.value),
      number(job.baseValue),
      job.best ? 'best' : '',
      job.failure?.message ? plainText(job.failure.message) : describeSettings(job.settings ?? {}),
    ]),
    terminalWidth(),
  );
}

function describeSettings(settings: Record<string, unknown>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} ${plainText(value)}`)
    .join(', ');
}

export function describeAlias(alias: Resource, moves: Resource[]): string {
  const text = formatFields([
    ['Name', plainText(alias.name)],
    ['Model', plainText(alias.model)],
    ['Moved', formatTime(plainText(alias.updateTime))],
  ]);
  const rows = moves.map((move) => [
    plainText(move.sequence),
    formatTime(plainText(move.time)).slice(0, 16),
    plainText(move.kind),
    idOf(move.from),
    idOf(move.to),
    plainText(move.by),
    plainText(move.reason),
  ]);
  return rows.length === 0 ? text : `${text}\n\n${formatTable(['MOVE', 'WHEN', 'KIND', 'FROM', 'TO', 'BY', 'WHY'], rows, terminalWidth())}`;
}

/** `21600s` as `6h`. */
function formatSeconds(duration: string): string {
  const seconds = Number.parseInt(duration, 10);
  for (const [unit, length] of [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
  ] as const) {
    if (seconds >= length && seconds % length === 0) return `${seconds / length}${unit}`;
  }
  return `${seconds}s`;
}
