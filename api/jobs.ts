/** Jobs: create, get, list, change, steer and delete, under both route families. */
import { randomUUID } from 'node:crypto';
import type { UpdateDefinition } from '@temporalio/common';
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { extendJob } from '../jobs/extendJob.js';
import { requireWandbKey } from '../jobs/jobRequest.js';
import { resumeFailedJob } from '../jobs/resumeJob.js';
import type { ExtendInput } from '../schemas/activities.js';
import { fieldError, notFound, TemperError } from '../schemas/errors.js';
import { FineTuningJob } from '../schemas/job.js';
import { isTerminal, type JobState } from '../schemas/states.js';
import { Decision } from '../schemas/schedule.js';
import { TRACKERS } from '../schemas/tracker.js';
import { DisplayName, Empty, GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import type { Database } from '../stores/database.js';
import { deleteJob, findJob, findJobByUid, findJobs, updateJobFields, type JobRecord } from '../stores/jobs.js';
import { deleteModel, findModel } from '../stores/models.js';
import { deleteSecret, putSecret } from '../stores/secrets.js';
import {
  approveUpdate,
  cancelUpdate,
  deleteUpdate,
  extendUpdate,
  pauseUpdate,
  rejectUpdate,
  resumeUpdate,
  setPriorityUpdate,
} from '../workflows/messages.js';
import { batchLookups } from './batchedLookup.js';
import { answerCreateJob } from './createJob.js';
import { JOB_FAMILIES, type JobFamily } from './jobFamilies.js';
import { openJobTexts } from './jobTexts.js';
import { answerJobList, answerList, type ListOf } from './listRequest.js';
import { viewQueuePlace } from './queuePlace.js';
import { compileReadMask } from './readMask.js';
import { viewJobRetry } from './retry.js';
import type { ApiDependencies } from './server.js';
import { shareLookups } from './sharedLookup.js';
import { startJob, startReport, updateJob } from './temporal.js';
import { NOT_CLEARABLE, readChanges, UpdateQuery } from './updateMask.js';

export const JobPath = Type.Object({ account: Id(), id: Id() });

export function jobRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  for (const family of JOB_FAMILIES) familyRoutes(server, dependencies, family);
}

function familyRoutes(server: FastifyInstance, dependencies: ApiDependencies, family: JobFamily): void {
  const { database, temporal, config } = dependencies;
  const collection = `/v1/accounts/:account/${family.collection}`;
  const one = `${collection}/:id(^[^:/]+$)`;
  const access = { access: 'user' as const };
  const account = Type.Object({ account: Id() });
  const { collection: name, fields, schema, view } = family;
  const list: ListOf<'jobs', object> = { table: 'jobs', collection: name, fields, schema, view };
  const textsOf = openJobTexts(database, family);
  const shareList = shareLookups<Buffer>();
  const findTogether = batchLookups(async (names) => {
    const jobs = await findJobs(
      database,
      names.map((jobName) => jobName.split('/') as [string, string]),
    );
    return new Map(jobs.map((job) => [`${job.account_id}/${job.id}`, job]));
  });
  const CreateQuery = Type.Object({ [family.idParameter]: Type.Optional(Id()) });
  const Update = Type.Object({
    displayName: DisplayName(),
    priority: Type.Optional(Type.Integer({ minimum: 1, maximum: 5, 'x-expected': 'a whole number from 1 (first) to 5' })),
    epochs: FineTuningJob.properties.epochs,
    deadline: FineTuningJob.properties.deadline,
    maxGpuSeconds: FineTuningJob.properties.maxGpuSeconds,
    wandbApiKey: Type.Optional(
      Type.String({ maxLength: 1000, writeOnly: true, description: 'Takes the place of the job’s key; the run fills in' }),
    ),
  });

  server.post(
    collection,
    { config: access, schema: { params: account, querystring: CreateQuery, body: family.schema, response: { 200: family.schema } } },
    async (request) => family.view(await answerCreateJob(dependencies, family, request)),
  );

  server.get(
    collection,
    { config: access, schema: { params: account, querystring: ListQuery, response: { 200: listReply(family.collection, family.schema) } } },
    async (request, reply) => {
      const query = request.query as Static<typeof ListQuery>;
      const { accountId } = request.caller;
      if (query.readMask !== undefined) return answerList(database, config.secretKey, accountId, query, list);
      const serialize = reply.compileSerializationSchema(schema as Record<string, unknown>) as (job: object) => string;
      void reply.type('application/json; charset=utf-8');
      return shareList(JSON.stringify([accountId, query]), () =>
        answerJobList(database, config.secretKey, accountId, query, list, textsOf, serialize),
      );
    },
  );

  server.get(
    one,
    { config: access, schema: { params: JobPath, querystring: GetQuery, response: { 200: family.schema } } },
    async (request) => {
      const mask = compileReadMask((request.query as Static<typeof GetQuery>).readMask, family.schema);
      const { account, id } = request.params as Static<typeof JobPath>;
      const job = await findTogether(`${account}/${id}`);
      if (!job) throw notFound(account, family.collection, id);
      const [place, retry] = await Promise.all([viewQueuePlace(database, job), viewJobRetry(temporal, database, job)]);
      return mask({ ...family.view(job), ...place, ...retry });
    },
  );

  server.patch(
    one,
    { config: access, schema: { params: JobPath, querystring: UpdateQuery, body: Update, response: { 200: family.schema } } },
    async (request) => {
      const job = await requireJob(database, family, request.params);
      const { displayName, priority, wandbApiKey, ...length } = readChanges<Static<typeof Update>, keyof Static<typeof Update>>(
        request,
        family.schema,
        {
          displayName: '',
          priority: NOT_CLEARABLE,
          epochs: NOT_CLEARABLE,
          deadline: null,
          maxGpuSeconds: null,
          wandbApiKey: NOT_CLEARABLE,
        },
      );
      if (wandbApiKey !== undefined) await replaceWandbKey(dependencies, job, wandbApiKey);
      if (Object.keys(length).length > 0) await extend(dependencies, job, { ...length, by: request.caller.email });
      if (priority !== undefined)
        await ask(dependencies, job, 'moved in the queue', setPriorityUpdate, { priority, by: request.caller.email });
      return family.view(await updateJobFields(database, job.account_id, job.id, { displayName, priority }));
    },
  );

  server.delete(one, { config: access, schema: { params: JobPath, response: { 200: Empty } } }, async (request) => {
    const job = await requireJob(database, family, request.params);
    const answered = await updateJob(dependencies.temporal, job, deleteUpdate, { by: request.caller.email });
    // Without a workflow to do it: the job ended long ago, or never began.
    if (answered === null) await removeJob(dependencies, job);
    return {};
  });

  for (const [verb, done, update] of [
    ['pause', 'paused', pauseUpdate],
    ['resume', 'resumed', resumeUpdate],
    ['cancel', 'cancelled', cancelUpdate],
  ] as const) {
    server.post(
      `${one}::${verb}`,
      { config: access, schema: { params: JobPath, body: Empty, response: { 200: family.schema } } },
      async (request) => {
        const job = await requireJob(database, family, request.params);
        const by = request.caller.email;
        if (verb === 'resume' && job.state === 'FAILED') await resumeFailed(dependencies, job, by);
        else await ask(dependencies, job, done, update, { by });
        return family.view((await findJobByUid(database, job.uid)) ?? job);
      },
    );
  }

  server.post(
    `${one}::report`,
    { config: access, schema: { params: JobPath, body: Empty, response: { 200: family.schema } } },
    async (request) => {
      const job = await requireJob(database, family, request.params);
      await reportAgain(dependencies, job);
      return family.view((await findJobByUid(database, job.uid)) ?? job);
    },
  );

  for (const [verb, done, update] of [
    ['approve', 'approved', approveUpdate],
    ['reject', 'rejected', rejectUpdate],
  ] as const) {
    server.post(
      `${one}::${verb}`,
      { config: access, schema: { params: JobPath, body: Decision, response: { 200: family.schema } } },
      async (request) => {
        const job = await requireJob(database, family, request.params);
        const { note = '' } = request.body as Static<typeof Decision>;
        await ask(dependencies, job, done, update, { by: request.caller.email, note });
        return family.view((await findJobByUid(database, job.uid)) ?? job);
      },
    );
  }
}

/** Delivers to the job's trackers again, also long after its end. @throws TemperError ILLEGAL_STATE for a job that has none */
async function reportAgain({ temporal }: ApiDependencies, job: JobRecord): Promise<void> {
  const trackers = TRACKERS.filter((tracker) => job[tracker] !== null);
  if (trackers.length === 0) throw new TemperError('ILLEGAL_STATE', 'The job reports to no tracker: it was created without one.');
  for (const tracker of trackers) await startReport(temporal, job, tracker);
}

async function replaceWandbKey(dependencies: ApiDependencies, job: JobRecord, key: string): Promise<void> {
  const { database, config, temporal } = dependencies;
  if (!job.wandb) throw new TemperError('ILLEGAL_STATE', 'The job does not report to Weights & Biases: it was created without a project.');
  const value = requireWandbKey(key, 'wandbApiKey');
  await putSecret(database, config.secretKeys, { accountId: job.account_id, id: job.wandb.secretId, keyName: 'WANDB_API_KEY', value });
  await startReport(temporal, job, 'wandb');
}

/** @throws TemperError RESOURCE_NOT_FOUND */
export async function requireJob(database: Database, family: JobFamily, params: unknown): Promise<JobRecord> {
  const { account, id } = params as Static<typeof JobPath>;
  const job = await findJob(database, account, id);
  if (!job) throw notFound(account, family.collection, id);
  return job;
}

/** Asks the job's workflow, started first if that was missed. A job without a running workflow has nothing left to steer. */
export async function ask<Result, Request>(
  { temporal, database }: ApiDependencies,
  job: JobRecord,
  done: string,
  definition: UpdateDefinition<Result, [Request]>,
  request: Request,
): Promise<void> {
  if (!job.workflow_started) await startJob(temporal, database, job);
  if ((await updateJob(temporal, job, definition, request)) !== null) return;
  const state: JobState = (await findJobByUid(database, job.uid))?.state ?? 'DELETING';
  const advice = isTerminal(state) || state === 'DELETING' ? '' : ' Its workflow is gone: delete the job and create it again.';
  throw new TemperError('ILLEGAL_STATE', `The job is ${state}: it cannot be ${done} any more.${advice}`);
}

/** From the stage that failed. Its workflow has ended, or only reports to a tracker, which the next one does in its stead. */
async function resumeFailed({ database, temporal }: ApiDependencies, job: JobRecord, by: string): Promise<void> {
  const resumed = await resumeFailedJob(database, job.uid, by);
  await updateJob(temporal, job, resumeUpdate, { by }).catch((error: unknown) => {
    if (!(error instanceof TemperError)) throw error; // of an earlier release, which reports to its end
  });
  // The job stands from here on. If its workflow cannot be started now, it will be within seconds.
  await startJob(temporal, database, resumed).catch(() => undefined);
}

/** More epochs or other limits of time. A job that failed has no workflow to ask, and takes them up when it is resumed. */
async function extend(dependencies: ApiDependencies, job: JobRecord, wanted: Omit<ExtendInput, 'uid' | 'id'>): Promise<void> {
  const { deadline } = wanted;
  if (deadline && Date.parse(deadline) <= Date.now())
    throw fieldError('INVALID_FIELD', 'deadline', `deadline ${deadline} has passed: give a time to come.`);
  if (job.state === 'FAILED') await extendJob(dependencies.database, { ...wanted, uid: job.uid, id: randomUUID() });
  else await ask(dependencies, job, 'extended', extendUpdate, wanted);
}

/** Everything of the job but a model that is READY; the record last, so that a removal cut short can be asked for again. */
async function removeJob({ database, objects }: ApiDependencies, job: JobRecord): Promise<void> {
  await objects.removePrefix(`jobs/${job.uid}/`);
  const model = await findModel(database, job.account_id, job.model_id);
  if (model?.job_uid === job.uid && model.state !== 'READY') {
    await objects.removePrefix(`models/${model.uid}/`);
    await deleteModel(database, model.uid);
  }
  if (job.wandb) await deleteSecret(database, job.account_id, job.wandb.secretId);
  await deleteJob(database, job.uid);
}
