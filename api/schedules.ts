/** Schedules of retraining: create, get, list, change, pause, trigger, backfill and delete. */
import { randomUUID } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { sql } from 'kysely';
import { Type, type Static } from 'typebox';
import { runName } from '../jobs/retrainingRun.js';
import { fieldError, notFound, TemperError } from '../schemas/errors.js';
import { BackfillRequest, Schedule, ScheduleNote, type Retraining, type Timing } from '../schemas/schedule.js';
import { Empty, GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import { openRuns } from '../stores/retrainingRuns.js';
import {
  findSchedule,
  findScheduleByUid,
  insertSchedule,
  markScheduleDeleting,
  updateSchedule,
  type ScheduleRecord,
} from '../stores/schedules.js';
import { deleteSecret, putSecret, readSecret } from '../stores/secrets.js';
import { checkRetraining, checkTiming } from './checkRetraining.js';
import { readIdempotencyKey, requestHash, requireSameRequest } from './idempotency.js';
import { name, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import {
  applySchedule,
  backfillSchedule,
  describeSchedule,
  isRunning,
  onSchedule,
  pauseSchedule,
  removeSchedule,
  scheduleName,
  triggerSchedule,
  unpauseSchedule,
  type ScheduleFacts,
} from './temporalSchedules.js';
import { NOT_CLEARABLE, readChanges, UpdateQuery } from './updateMask.js';

const SchedulePath = Type.Object({ account: Id(), id: Id() });
const MAX_BACKFILL_DAYS = 366;

const FIELDS: ListFields = {
  name: name('schedules'),
  displayName: text('display_name'),
  cron: { type: 'text', expression: sql`coalesce(timing ->> 'cron', '')` },
  timeZone: { type: 'text', expression: sql`coalesce(timing ->> 'timeZone', '')` },
  createTime: time('create_time'),
  updateTime: time('update_time'),
  createdBy: text('created_by'),
};

export function scheduleRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  const { database, temporal, config } = dependencies;
  const collection = '/v1/accounts/:account/schedules';
  const one = `${collection}/:id(^[^:/]+$)`;
  const account = Type.Object({ account: Id() });
  const read = { access: 'member' as const };
  const write = { access: 'user' as const };
  const view = (schedule: ScheduleRecord) => viewWithFacts(dependencies, schedule);

  server.post(collection, { config: write, schema: { params: account, body: Schedule, response: { 200: Schedule } } }, async (request) =>
    view(await createSchedule(dependencies, request)),
  );

  server.get(
    collection,
    { config: read, schema: { params: account, querystring: ListQuery, response: { 200: listReply('schedules', Schedule) } } },
    async (request) => {
      const query = request.query as Static<typeof ListQuery>;
      const mask = compileReadMask<Schedule>(query.readMask, Schedule);
      const rows: ScheduleRecord[] = [];
      const reply = await answerList(
        database,
        config.secretKey,
        request.caller.accountId,
        { ...query, readMask: undefined },
        {
          table: 'schedules',
          collection: 'schedules',
          fields: FIELDS,
          schema: Schedule,
          view: (row) => (rows.push(row), {}),
          where: sql<boolean>`not deleting`,
        },
      );
      return { ...reply, schedules: (await Promise.all(rows.map(view))).map(mask) };
    },
  );

  server.get(
    one,
    { config: read, schema: { params: SchedulePath, querystring: GetQuery, response: { 200: Schedule } } },
    async (request) => {
      const mask = compileReadMask<Schedule>((request.query as Static<typeof GetQuery>).readMask, Schedule);
      return mask(await view(await requireSchedule(dependencies, request.params)));
    },
  );

  server.patch(
    one,
    { config: write, schema: { params: SchedulePath, querystring: UpdateQuery, body: Schedule, response: { 200: Schedule } } },
    async (request) => view(await changeSchedule(dependencies, request)),
  );

  server.delete(one, { config: write, schema: { params: SchedulePath, response: { 200: Empty } } }, async (request) => {
    const schedule = await requireSchedule(dependencies, request.params);
    for (const run of await openRuns(database, schedule.uid)) {
      if (await isRunning(temporal, database, run))
        throw new TemperError('RESOURCE_IN_USE', `${runName(run)} is ${run.state}: wait for its end, or cancel it.`);
    }
    await markScheduleDeleting(database, schedule.uid);
    await deleteSecret(database, schedule.account_id, `wandb-${schedule.uid}`);
    await removeSchedule(temporal, database, schedule);
    return {};
  });

  const verb = <Body>(
    path: string,
    body: typeof ScheduleNote | typeof BackfillRequest | typeof Empty,
    act: (schedule: ScheduleRecord, body: Body, by: string) => Promise<void>,
  ) =>
    server.post(
      `${one}::${path}`,
      { config: write, schema: { params: SchedulePath, body, response: { 200: Schedule } } },
      async (request) => {
        const schedule = await requireSchedule(dependencies, request.params);
        await onSchedule(temporal, database, schedule, () => act(schedule, request.body as Body, request.caller.email));
        return view(schedule);
      },
    );
  verb<Static<typeof ScheduleNote>>('pause', ScheduleNote, (schedule, { note }, by) =>
    pauseSchedule(temporal, schedule, note ?? `Paused by ${by}`),
  );
  verb<Static<typeof ScheduleNote>>('unpause', ScheduleNote, (schedule, { note }, by) =>
    unpauseSchedule(temporal, schedule, note ?? `Unpaused by ${by}`),
  );
  verb('trigger', Empty, (schedule) => triggerSchedule(temporal, schedule));
  verb<Static<typeof BackfillRequest>>('backfill', BackfillRequest, (schedule, { startTime, endTime }) => {
    const [start, end] = [new Date(startTime), new Date(endTime)];
    if (!(start < end)) throw fieldError('INVALID_FIELD', 'endTime', 'endTime must be after startTime.');
    if (end.getTime() - start.getTime() > MAX_BACKFILL_DAYS * 86_400_000)
      throw fieldError('INVALID_FIELD', 'startTime', `A backfill is of at most ${MAX_BACKFILL_DAYS} days.`);
    return backfillSchedule(temporal, schedule, start, end);
  });
}

async function createSchedule(dependencies: ApiDependencies, request: FastifyRequest): Promise<ScheduleRecord> {
  const { database, temporal, config } = dependencies;
  const { accountId, email } = request.caller;
  const body = request.body as Schedule;
  const { scheduleId, displayName, paused, note, retraining: given } = body;
  if (scheduleId === undefined)
    throw fieldError('MISSING_FIELD', 'scheduleId', 'scheduleId is missing: 1 to 40 characters of a-z, 0-9 and hyphen.');
  const hash = requestHash(config.secretKey, 'schedules', body);
  await readIdempotencyKey(request, database, hash);
  let schedule = await findSchedule(database, accountId, scheduleId);
  if (!schedule) {
    const timing = timingOf(body);
    checkTiming(timing);
    if (!given) throw fieldError('MISSING_FIELD', 'retraining', 'retraining is missing: what each run is to train on what.');
    const { retraining, wandbApiKey } = await checkRetraining(dependencies, accountId, given, null);
    const uid = randomUUID();
    if (wandbApiKey)
      await putSecret(database, config.secretKeys, { accountId, id: `wandb-${uid}`, keyName: 'WANDB_API_KEY', value: wandbApiKey });
    const inserted = await insertSchedule(database, {
      uid,
      accountId,
      id: scheduleId,
      displayName: displayName ?? '',
      timing: { ...timing, ...(paused ? { startPaused: true } : {}), ...(note !== undefined ? { note } : {}) },
      retraining,
      requestHash: hash,
      createdBy: email,
    });
    if (!inserted && wandbApiKey) await deleteSecret(database, accountId, `wandb-${uid}`);
    schedule = inserted ?? (await findSchedule(database, accountId, scheduleId));
    if (!schedule)
      throw new TemperError(
        'RESOURCE_ALREADY_EXISTS',
        `accounts/${accountId}/schedules/${scheduleId} is being deleted. Try again shortly.`,
      );
  }
  requireSameRequest(schedule.request_hash, hash, scheduleName(schedule));
  if (schedule.applied_version < schedule.version) {
    // It stands from here on. If Temporal cannot be told now, it will be within seconds of its return.
    await applySchedule(temporal, database, schedule).catch((error: Error) =>
      request.log.warn({ schedule: scheduleId, cause: error.message }, 'schedule not applied yet'),
    );
  }
  return (await findScheduleByUid(database, schedule.uid)) ?? schedule;
}

async function changeSchedule(dependencies: ApiDependencies, request: FastifyRequest): Promise<ScheduleRecord> {
  const { database, temporal, config } = dependencies;
  const schedule = await requireSchedule(dependencies, request.params);
  const { account_id: accountId, uid } = schedule;
  const changes = readChanges<Schedule, 'displayName' | 'retraining' | 'paused' | keyof Timing>(request, Schedule, {
    displayName: '',
    paused: false,
    retraining: NOT_CLEARABLE,
    cron: undefined,
    timeZone: undefined,
    interval: undefined,
    overlapPolicy: undefined,
    catchupWindow: undefined,
    jitter: undefined,
  });
  const { displayName, retraining: given, paused, ...times } = changes;
  let timing: Timing | undefined;
  if (Object.keys(times).length > 0) {
    // A cron takes the place of an interval, and the other way round.
    const { cron, timeZone, interval, ...rest } = schedule.timing;
    const kept = times.cron !== undefined ? { timeZone } : times.interval !== undefined ? {} : { cron, timeZone, interval };
    timing = { ...rest, ...kept, ...times };
    checkTiming(timing);
  }
  let retraining: Retraining | undefined;
  if (given) {
    const secretId = `wandb-${uid}`;
    const checked = await checkRetraining(
      dependencies,
      accountId,
      given,
      await readSecret(database, config.secretKeys, accountId, secretId),
    );
    retraining = checked.retraining;
    if (checked.wandbApiKey)
      await putSecret(database, config.secretKeys, { accountId, id: secretId, keyName: 'WANDB_API_KEY', value: checked.wandbApiKey });
  }
  const changed = await updateSchedule(database, uid, { displayName, timing, retraining });
  if (changed.applied_version < changed.version) {
    await applySchedule(temporal, database, changed).catch((error: Error) =>
      request.log.warn({ schedule: changed.id, cause: error.message }, 'schedule not applied yet'),
    );
  }
  if (paused !== undefined) {
    const set = paused ? pauseSchedule : unpauseSchedule;
    const note = (request.body as Schedule).note ?? `${paused ? 'Paused' : 'Unpaused'} by ${request.caller.email}`;
    await onSchedule(temporal, database, changed, () => set(temporal, changed, note));
  }
  return changed;
}

function timingOf({ cron, timeZone, interval, overlapPolicy, catchupWindow, jitter }: Schedule): Timing {
  return Object.fromEntries(
    Object.entries({ cron, timeZone, interval, overlapPolicy, catchupWindow, jitter }).filter(([, value]) => value !== undefined),
  );
}

/** @throws TemperError RESOURCE_NOT_FOUND */
async function requireSchedule({ database }: ApiDependencies, params: unknown): Promise<ScheduleRecord> {
  const { account, id } = params as Static<typeof SchedulePath>;
  const schedule = await findSchedule(database, account, id);
  if (!schedule) throw notFound(account, 'schedules', id);
  return schedule;
}

async function viewWithFacts({ database, temporal }: ApiDependencies, schedule: ScheduleRecord): Promise<Schedule> {
  const [facts, running] = await Promise.all([describeSchedule(temporal, schedule), openRuns(database, schedule.uid)]);
  return viewSchedule(schedule, facts, running.map(runName));
}

/** Without facts, because Temporal does not answer, it shows what it was told, and no times. */
function viewSchedule(schedule: ScheduleRecord, facts: ScheduleFacts | null, runningRuns: string[]): Schedule {
  const { startPaused, note, ...timing } = schedule.timing;
  return {
    name: scheduleName(schedule),
    scheduleId: schedule.id,
    displayName: schedule.display_name,
    ...timing,
    paused: facts?.paused ?? startPaused ?? false,
    note: facts?.note ?? note ?? '',
    retraining: schedule.retraining,
    nextRunTimes: facts?.nextRunTimes.map((at) => at.toISOString()) ?? [],
    runningRuns,
    createTime: schedule.create_time.toISOString(),
    updateTime: schedule.update_time.toISOString(),
    createdBy: schedule.created_by,
  };
}
