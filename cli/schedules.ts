/** `temper create schedule`, and what can be done with one: pause, unpause, trigger, backfill; approve or reject what a run would promote. */
import { Option, type Command } from 'commander';
import { callApi, type ApiRequest } from './client.js';
import { ApiError, UsageError } from './failures.js';
import { formatTime, idOf } from './format.js';
import { SETTINGS } from './jobSettings.js';
import { buildRetraining, readDuration } from './retraining.js';
import { collectionPath, resourcePath, RUN, SCHEDULE, SWEEP, type ResourceType } from './resources.js';
import { describeRun, describeSchedule, nextRun } from './retrainingText.js';
import { openSession, printRequest, printResource } from './session.js';
import { addSettingFlags, gatherSettings } from './settingFlags.js';

interface TimingFlags {
  cron?: string;
  timeZone?: string;
  every?: string;
  overlapPolicy?: string;
  catchupWindow?: string;
  jitter?: string;
}

export function addTimingFlags(command: Command): void {
  command
    .option('--cron <expression>', 'when: minute, hour, day of month, month, day of week, such as "0 2 * * *"')
    .option('--time-zone <name>', 'zone of the cron expression, such as Europe/Berlin (default: UTC)')
    .option('--every <duration>', 'instead of --cron: so often, such as 6h')
    .addOption(
      new Option('--overlap-policy <policy>', 'when the last run is not over').choices(['SKIP', 'BUFFER_ONE', 'CANCEL_OTHER', 'ALLOW_ALL']),
    )
    .option('--catchup-window <duration>', 'how late a missed run may start (default: 1h)')
    .option('--jitter <duration>', 'start at a random moment within so long');
}

/** Fields of the API, of the flags that are given. */
export function readTiming({ cron, timeZone, every, overlapPolicy, catchupWindow, jitter }: TimingFlags): Record<string, unknown> {
  return {
    ...(cron !== undefined ? { cron } : {}),
    ...(timeZone !== undefined ? { timeZone } : {}),
    ...(every !== undefined ? { interval: readDuration(every, '--every') } : {}),
    ...(overlapPolicy !== undefined ? { overlapPolicy } : {}),
    ...(catchupWindow !== undefined ? { catchupWindow: readDuration(catchupWindow, '--catchup-window') } : {}),
    ...(jitter !== undefined ? { jitter: readDuration(jitter, '--jitter') } : {}),
  };
}

export function defineCreateSchedule(command: Command): void {
  command.description('Train again and again: on a schedule, with promotion of what is better').argument('<id>', 'ID of the schedule');
  addTimingFlags(command);
  command.option('--paused', 'make it paused: no run until it is unpaused').option('--note <text>', 'why, for people');
  addSettingFlags(command, SETTINGS);
  command
    .addHelpText(
      'after',
      [
        '',
        'The settings file has the settings of the jobs, as for a fine-tuning job, and the blocks `retraining:` (data, grid, promotion)',
        'and `schedule:` (cron, time_zone, …): see docs/retraining.md.',
        '',
        'Examples:',
        '  temper create schedule nightly --cron "0 2 * * *" --time-zone Europe/Berlin --settings-file examples/nightly.yaml',
        '  temper create schedule hourly --every 1h --settings-file nightly.yaml --paused',
      ].join('\n'),
    )
    .action(async (id: string, options: TimingFlags & { paused?: boolean; note?: string }, self: Command) => {
      const settings = gatherSettings(self);
      const session = openSession(self);
      const request = await buildRetraining(session, settings, settings.blocks?.retraining);
      if (request.jobId !== undefined) throw new UsageError('a schedule names its jobs itself: leave job_id out');
      const flags = readTiming(options);
      const ofFile = readTiming((settings.blocks?.schedule?.value ?? {}) as TimingFlags);
      if (flags['cron'] !== undefined) delete ofFile['interval'];
      if (flags['interval'] !== undefined) for (const field of ['cron', 'timeZone']) delete ofFile[field];
      const body = {
        scheduleId: id,
        ...(request.displayName !== undefined ? { displayName: request.displayName } : {}),
        ...ofFile,
        ...flags,
        ...(options.paused ? { paused: true } : {}),
        ...(options.note !== undefined ? { note: options.note } : {}),
        retraining: request.retraining,
      };
      const call: ApiRequest = { method: 'POST', path: await collectionPath(session, SCHEDULE), body, idempotent: true };
      if (session.dryRun) return printRequest(session, { ...call, body: withoutKey(body) });
      const schedule = await callApi(session.connection, call).catch((error: unknown) => {
        if (error instanceof ApiError) error.origins = request.origins;
        throw error;
      });
      printResource(
        session,
        schedule,
        id,
        `Created ${String(schedule.name)}\nNext run: ${nextRun(schedule) || 'as soon as Temporal answers'}`,
      );
    });
}

export function defineUpdateSchedule(command: Command): void {
  command.description('Change when a schedule runs, or what its next run does').argument('<name>', 'ID or full name of the schedule');
  addTimingFlags(command);
  addSettingFlags(command, SETTINGS);
  command
    .addHelpText(
      'after',
      [
        '',
        'Settings of jobs are changed as a whole: give the settings file again.',
        '',
        'Examples:',
        '  temper update schedule nightly --cron "0 4 * * *"',
        '  temper update schedule nightly --settings-file examples/nightly.yaml',
      ].join('\n'),
    )
    .action(async (name: string, options: TimingFlags & { displayName?: string; settingsFile?: string }, self: Command) => {
      const settings = gatherSettings(self);
      const session = openSession(self);
      const asks = [...settings.values.keys()].some((key) => key !== 'display_name') || settings.blocks?.retraining !== undefined;
      const request = asks ? await buildRetraining(session, settings, settings.blocks?.retraining) : null;
      const displayName = settings.values.get('display_name')?.value;
      const body = {
        ...readTiming((settings.blocks?.schedule?.value ?? {}) as TimingFlags),
        ...readTiming(options),
        ...(displayName !== undefined ? { displayName } : {}),
        ...(request ? { retraining: request.retraining } : {}),
      };
      if (Object.keys(body).length === 0)
        throw new UsageError('nothing to change: give --cron, --every, --display-name or --settings-file');
      const call: ApiRequest = { method: 'PATCH', path: await resourcePath(session, SCHEDULE, name), body, idempotent: true };
      if (session.dryRun)
        return printRequest(session, request ? { ...call, body: withoutKey({ ...body, retraining: request.retraining }) } : call);
      const schedule = await callApi(session.connection, call);
      printResource(session, schedule, idOf(schedule.name), `Updated ${String(schedule.name)}\nNext run: ${nextRun(schedule)}`);
    });
}

function withoutKey<T extends { retraining: Record<string, unknown> }>(body: T): T {
  const { wandbApiKey, ...fineTuning } = body.retraining['fineTuning'] as Record<string, unknown>;
  const shown = wandbApiKey === undefined ? fineTuning : { ...fineTuning, wandbApiKey: '(hidden)' };
  return { ...body, retraining: { ...body.retraining, fineTuning: shown } };
}

const SCHEDULE_VERBS = {
  pause: { description: 'Pause a schedule: no run until it is unpaused; one that is on its way goes on', done: 'Paused' },
  unpause: { description: 'Let a paused schedule run again', done: 'Unpaused' },
  trigger: { description: 'Run a schedule now', done: 'Triggered' },
} as const;

export function defineScheduleVerb(command: Command, verb: keyof typeof SCHEDULE_VERBS): void {
  command.description(SCHEDULE_VERBS[verb].description).argument('<name>', 'ID or full name of the schedule');
  if (verb !== 'trigger') command.option('--note <text>', 'why, for people');
  command
    .addHelpText('after', `\nExample:\n  temper ${verb} schedule nightly`)
    .action(async (name: string, { note }: { note?: string }, self: Command) => {
      const session = openSession(self);
      const path = await resourcePath(session, SCHEDULE, name);
      const request: ApiRequest = { method: 'POST', path: `${path}:${verb}`, body: note === undefined ? {} : { note } };
      if (session.dryRun) return printRequest(session, request);
      const schedule = await callApi(session.connection, request);
      const next = verb === 'trigger' ? `Its runs: temper list schedule-runs ${idOf(path)}` : `Next run: ${nextRun(schedule)}`;
      printResource(session, schedule, idOf(path), `${SCHEDULE_VERBS[verb].done} ${idOf(path)}. ${next}`);
    });
}

export function defineBackfill(command: Command): void {
  command
    .description('Run a schedule for a time that has passed, as if it had been there: one run after the other')
    .argument('<name>', 'ID or full name of the schedule')
    .requiredOption('--from <time>', 'RFC 3339, such as 2026-11-01T00:00:00Z')
    .requiredOption('--to <time>', 'RFC 3339')
    .addHelpText('after', '\nExample:\n  temper backfill schedule nightly --from 2026-11-01T00:00:00Z --to 2026-11-04T00:00:00Z')
    .action(async (name: string, options: { from: string; to: string }, self: Command) => {
      const session = openSession(self);
      const path = await resourcePath(session, SCHEDULE, name);
      const body = { startTime: options.from, endTime: options.to };
      const request: ApiRequest = { method: 'POST', path: `${path}:backfill`, body };
      if (session.dryRun) return printRequest(session, request);
      const schedule = await callApi(session.connection, request);
      printResource(
        session,
        schedule,
        idOf(path),
        `Backfilling ${idOf(path)} from ${formatTime(options.from)} to ${formatTime(options.to)}.`,
      );
    });
}

const RUN_VERBS = {
  cancel: { description: 'Cancel a run and the jobs that it waits for', done: 'Cancelling' },
  approve: { description: 'Approve what a run would promote', done: 'Approved' },
  reject: { description: 'Reject what a run would promote', done: 'Rejected' },
} as const;

export function defineRunVerb(command: Command, type: ResourceType, verb: keyof typeof RUN_VERBS): void {
  command.description(RUN_VERBS[verb].description).argument('<name>', `ID or full name of the ${type.noun}`);
  if (verb !== 'cancel') command.option('--note <text>', 'why, for people');
  command
    .addHelpText('after', `\nExample:\n  temper ${verb} ${type.noun} ${type === SWEEP ? 'my-sweep' : 'nightly-20261124-020000'}`)
    .action(async (name: string, { note }: { note?: string }, self: Command) => {
      const session = openSession(self);
      const path = await resourcePath(session, type, name);
      const request: ApiRequest = { method: 'POST', path: `${path}:${verb}`, body: note === undefined ? {} : { note } };
      if (session.dryRun) return printRequest(session, request);
      const run = await callApi(session.connection, request);
      printResource(session, run, idOf(path), `${RUN_VERBS[verb].done} ${idOf(path)}.`);
    });
}

/** `temper get` of each, in words. */
export const describeRetraining = new Map<ResourceType, typeof describeRun>([
  [SCHEDULE, describeSchedule],
  [RUN, describeRun],
  [SWEEP, describeRun],
]);
