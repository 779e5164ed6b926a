/** Runs of retraining: those of a schedule, and those that somebody started by hand (sweeps). Same shape, same verbs, two places. */
import { randomUUID } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { sql } from 'kysely';
import { Type, type Static } from 'typebox';
import { expandJobs, runJobId } from '../jobs/expandJobs.js';
import { runName } from '../jobs/retrainingRun.js';
import { fieldError, notFound, TemperError } from '../schemas/errors.js';
import { resourceName } from '../schemas/names.js';
import { Decision, Run, RUN_STATES } from '../schemas/schedule.js';
import { Empty, GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import { jobsOfRuns, type JobRecord } from '../stores/jobs.js';
import { findRun, insertRun, type RunRecord } from '../stores/retrainingRuns.js';
import { findSchedule } from '../stores/schedules.js';
import { deleteSecret, putSecret } from '../stores/secrets.js';
import { approveUpdate, rejectUpdate } from '../workflows/messages.js';
import { checkRetraining } from './checkRetraining.js';
import { makeId, readIdempotencyKey, requestHash, requireSameRequest } from './idempotency.js';
import { optionalTime, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import { cancelRun, decideRun, startSweep } from './temporalSchedules.js';

const FIELDS: ListFields = {
  name: {
    type: 'text',
    expression: sql`('accounts/' || account_id || case when schedule_id = '' then '/sweeps/' else '/schedules/' || schedule_id || '/runs/' end || id)`,
    orderExpression: sql.ref('id'),
  },
  displayName: text('display_name'),
  state: text('state', [...RUN_STATES]),
  reason: text('reason'),
  dataset: text('dataset_name'),
  createTime: time('create_time'),
  updateTime: time('update_time'),
  endTime: optionalTime('end_time'),
  createdBy: text('created_by'),
  'promotion.decision': { type: 'text', expression: sql`coalesce(promotion ->> 'decision', '')` },
};

const ScheduleRunsPath = Type.Object({ account: Id(), schedule: Id() });
const SweepsPath = Type.Object({ account: Id() });
type AnyPath = { account: string; schedule?: string; id: string };

export function runRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  const account = '/v1/accounts/:account';
  placeRoutes(server, dependencies, { collection: `${account}/schedules/:schedule(^[^:/]+$)/runs`, key: 'runs', path: ScheduleRunsPath });
  placeRoutes(server, dependencies, { collection: `${account}/sweeps`, key: 'sweeps', path: SweepsPath });

  server.post(
    `${account}/sweeps`,
    { config: { access: 'user' }, schema: { params: SweepsPath, body: Run, response: { 200: Run } } },
    (request) => createSweep(dependencies, request),
  );
}

interface Place {
  collection: string;
  /** Of a list's answer. */
  key: 'runs' | 'sweeps';
  path: typeof ScheduleRunsPath | typeof SweepsPath;
}

function placeRoutes(server: FastifyInstance, dependencies: ApiDependencies, { collection, key, path }: Place): void {
  const { database, temporal, config } = dependencies;
  const one = `${collection}/:id(^[^:/]+$)`;
  const OnePath = Type.Object({ ...path.properties, id: Id() });
  const read = { access: 'member' as const };
  const write = { access: 'user' as const };
  const view = async (run: RunRecord) => viewRun(run, await jobsOfRuns(database, run.account_id, [runName(run)]));

  server.get(
    collection,
    { config: read, schema: { params: path, querystring: ListQuery, response: { 200: listReply(key, Run) } } },
    async (request) => {
      const { account, schedule } = request.params as Omit<AnyPath, 'id'>;
      if (schedule !== undefined && !(await findSchedule(database, account, schedule))) throw notFound(account, 'schedules', schedule);
      const query = request.query as Static<typeof ListQuery>;
      // Views need the jobs as they are now: a page's, in one query.
      const rows: RunRecord[] = [];
      const mask = compileReadMask<Run>(query.readMask, Run);
      const reply = await answerList(
        database,
        config.secretKey,
        account,
        { ...query, readMask: undefined },
        {
          table: 'retraining_runs',
          collection: key,
          fields: FIELDS,
          schema: Run,
          view: (row) => (rows.push(row), {}),
          where: sql<boolean>`schedule_id = ${schedule ?? ''}`,
          binding: schedule ?? '',
        },
      );
      const jobs = await jobsOfRuns(database, account, rows.map(runName));
      return { ...reply, [key]: rows.map((row) => mask(viewRun(row, jobs))) };
    },
  );

  server.get(one, { config: read, schema: { params: OnePath, querystring: GetQuery, response: { 200: Run } } }, async (request) => {
    const mask = compileReadMask<Run>((request.query as Static<typeof GetQuery>).readMask, Run);
    return mask(await view(await requireRun(dependencies, request.params)));
  });

  server.post(`${one}::cancel`, { config: write, schema: { params: OnePath, body: Empty, response: { 200: Run } } }, async (request) => {
    const run = await requireRun(dependencies, request.params);
    if (run.end_time) throw new TemperError('ILLEGAL_STATE', `The run is ${run.state}: it cannot be cancelled any more.`);
    if (!run.workflow_started) await startSweep(temporal, database, run);
    await cancelRun(temporal, database, run);
    return view(await requireRun(dependencies, request.params));
  });

  for (const [verb, definition] of [
    ['approve', approveUpdate],
    ['reject', rejectUpdate],
  ] as const) {
    server.post(
      `${one}::${verb}`,
      { config: write, schema: { params: OnePath, body: Decision, response: { 200: Run } } },
      async (request) => {
        const run = await requireRun(dependencies, request.params);
        const { note = '' } = request.body as Static<typeof Decision>;
        if (run.end_time) throw new TemperError('ILLEGAL_STATE', `The run is ${run.state}: it waits for no approval.`);
        await decideRun(temporal, run, definition, { by: request.caller.email, note });
        return view(await requireRun(dependencies, request.params));
      },
    );
  }
}

async function createSweep(dependencies: ApiDependencies, request: FastifyRequest): Promise<Run> {
  const { database, temporal, config } = dependencies;
  const { accountId, email } = request.caller;
  const body = request.body as Run;
  const hash = requestHash(config.secretKey, 'sweeps', body);
  const key = await readIdempotencyKey(request, database, hash);
  const id = body.sweepId ?? makeId('sweep', key, accountId, config.secretKey);
  const name = resourceName(accountId, 'sweeps', id);
  let run = await findRun(database, accountId, '', id);
  if (!run) {
    if (!body.retraining) throw fieldError('MISSING_FIELD', 'retraining', 'retraining is missing: what the sweep is to train on what.');
    const { retraining, wandbApiKey } = await checkRetraining(dependencies, accountId, body.retraining, null);
    const uid = randomUUID();
    if (wandbApiKey)
      await putSecret(database, config.secretKeys, { accountId, id: `wandb-${uid}`, keyName: 'WANDB_API_KEY', value: wandbApiKey });
    run = await insertRun(database, {
      uid,
      accountId,
      id,
      scheduleUid: null,
      scheduleId: null,
      displayName: body.displayName ?? '',
      retraining,
      requestHash: hash,
      workflowId: name,
      workflowStarted: false,
      createdBy: email,
    });
    if (run.uid !== uid && wandbApiKey) await deleteSecret(database, accountId, `wandb-${uid}`);
  }
  requireSameRequest(run.request_hash, hash, name);
  if (!run.workflow_started) {
    await startSweep(temporal, database, run).catch((error: Error) =>
      request.log.warn({ sweep: id, cause: error.message }, 'workflow not started yet'),
    );
  }
  return viewRun(run, await jobsOfRuns(database, accountId, [name]));
}

/** @throws TemperError RESOURCE_NOT_FOUND */
async function requireRun({ database }: ApiDependencies, params: unknown): Promise<RunRecord> {
  const { account, schedule, id } = params as AnyPath;
  const run = await findRun(database, account, schedule ?? '', id);
  if (run) return run;
  if (schedule === undefined) throw notFound(account, 'sweeps', id);
  throw notFound(account, `schedules/${schedule}/runs`, id);
}

/** @param jobs  those of the run that still exist, as they are now; what else the run made stands in its own record */
export function viewRun(run: RunRecord, jobs: JobRecord[]): Run {
  const planned = expandJobs(run.retraining);
  const candidate = run.promotion?.candidate;
  return {
    name: runName(run),
    ...(run.schedule_id === '' ? { sweepId: run.id } : {}),
    displayName: run.display_name,
    retraining: run.retraining,
    state: run.state,
    reason: run.reason,
    ...(run.failure ? { failure: { ...run.failure } } : {}),
    ...(run.dataset_name ? { dataset: run.dataset_name } : {}),
    jobs: run.state === 'SKIPPED' ? [] : planned.map(({ settings }, index) => viewRunJob(run, jobs, settings, index, candidate)),
    ...(run.promotion ? { promotion: run.promotion } : {}),
    createTime: run.create_time.toISOString(),
    updateTime: run.update_time.toISOString(),
    ...(run.end_time ? { endTime: run.end_time.toISOString() } : {}),
    createdBy: run.created_by,
  };
}

function viewRunJob(run: RunRecord, jobs: JobRecord[], settings: object, index: number, candidate: string | undefined) {
  const id = runJobId(run.id, index, expandJobs(run.retraining).length);
  const job = jobs.find((one) => one.id === id && one.retraining_run === runName(run));
  const recorded = run.jobs.find((one) => one.index === index);
  const evaluation = job?.evaluation ?? recorded?.evaluation;
  const failure = job?.failure ?? recorded?.failure;
  const model = resourceName(run.account_id, 'models', job?.model_id ?? id);
  const gone = recorded ? (recorded.uid ? 'DELETED' : recorded.state) : 'NOT_STARTED';
  return {
    job: resourceName(run.account_id, 'fineTuningJobs', id),
    model,
    settings,
    state: job?.state ?? gone,
    ...(evaluation
      ? { metric: evaluation.metric, value: evaluation.tuned, baseValue: evaluation.base, examples: evaluation.examples }
      : {}),
    best: model === candidate,
    ...(failure ? { failure: { ...failure } } : {}),
  };
}
