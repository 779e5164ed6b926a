/** `/v1/fine_tuning/jobs`: create, list, retrieve, steer, events, checkpoints. All jobs of the account, whichever route made them. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type, type Static } from 'typebox';
import { fieldError, TemperError } from '../../schemas/errors.js';
import { CreateFineTuningJob, listOf, OpenaiCheckpoint, OpenaiJob, OpenaiJobEvent, PageQuery } from '../../schemas/openai.js';
import type { Database } from '../../stores/database.js';
import { listHistory, listNewestJobs } from '../../stores/jobHistory.js';
import { findJob, findJobByUid, listCheckpoints, type JobRecord } from '../../stores/jobs.js';
import { cancelUpdate, pauseUpdate, resumeUpdate } from '../../workflows/messages.js';
import { ask } from '../jobs.js';
import type { ApiDependencies } from '../server.js';
import { createOpenaiJob } from './createJob.js';
import { noSuchObject } from './errors.js';
import { parseEventId, viewHistoryEntry, viewOpenaiCheckpoint, viewOpenaiJob } from './jobViews.js';
import { listReply, noCursor, readLimit } from './pages.js';

const access = { access: 'user' as const };
const JobPath = Type.Object({ job: Type.String({ maxLength: 200 }) });
const DEFAULT_LISTED = 20;
const MAX_LISTED = 100;
const MAX_EVENTS_LISTED = 1000;

export function fineTuningRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  const { database } = dependencies;
  const collection = '/v1/fine_tuning/jobs';
  const one = `${collection}/:job`;
  const closing = new AbortController();
  server.addHook('preClose', async () => closing.abort());

  server.post(collection, { config: access, schema: { body: CreateFineTuningJob, response: { 200: OpenaiJob } } }, async (request) =>
    viewOpenaiJob(await createOpenaiJob(dependencies, request, closing.signal)),
  );

  // `metadata[k]=v` has names that no schema can list: they are read from the address itself.
  const ListQuery = Type.Object(PageQuery.properties, { additionalProperties: true });
  server.get(collection, { config: access, schema: { querystring: ListQuery, response: { 200: listOf(OpenaiJob) } } }, async (request) => {
    const { after, limit } = request.query as Static<typeof PageQuery>;
    const most = readLimit(limit, DEFAULT_LISTED, MAX_LISTED);
    const jobs = await listNewestJobs(database, request.caller.accountId, {
      after,
      limit: most + 1,
      metadata: readMetadataFilter(request.url),
    });
    if (!jobs) throw noCursor(after!);
    return listReply(jobs.map(viewOpenaiJob), most);
  });

  server.get(one, { config: access, schema: { params: JobPath, response: { 200: OpenaiJob } } }, async (request) =>
    viewOpenaiJob(await requireJob(database, request)),
  );

  for (const [verb, done, update] of [
    ['cancel', 'cancelled', cancelUpdate],
    ['pause', 'paused', pauseUpdate],
    ['resume', 'resumed', resumeUpdate],
  ] as const) {
    server.post(`${one}/${verb}`, { config: access, schema: { params: JobPath, response: { 200: OpenaiJob } } }, async (request) => {
      const job = await requireJob(database, request);
      await ask(dependencies, job, done, update, { by: request.caller.email });
      return viewOpenaiJob((await findJobByUid(database, job.uid)) ?? job);
    });
  }

  const page = { params: JobPath, querystring: PageQuery };
  server.get(`${one}/events`, { config: access, schema: { ...page, response: { 200: listOf(OpenaiJobEvent) } } }, async (request) => {
    const job = await requireJob(database, request);
    const { after, limit } = request.query as Static<typeof PageQuery>;
    const most = readLimit(limit, DEFAULT_LISTED, MAX_EVENTS_LISTED);
    const position = after === undefined ? undefined : parseEventId(job, after);
    const entries = position === null ? null : await listHistory(database, job.uid, { after: position, limit: most + 1 });
    if (!entries) throw noCursor(after!);
    return listReply(
      entries.map((entry) => viewHistoryEntry(job, entry)),
      most,
    );
  });

  server.get(
    `${one}/checkpoints`,
    { config: access, schema: { ...page, response: { 200: listOf(OpenaiCheckpoint) } } },
    async (request) => {
      const job = await requireJob(database, request);
      const { after, limit } = request.query as Static<typeof PageQuery>;
      const most = readLimit(limit, 10, MAX_LISTED);
      const checkpoints = (await listCheckpoints(database, job.uid)).map((checkpoint) => viewOpenaiCheckpoint(job, checkpoint));
      const index = after === undefined ? -1 : checkpoints.findIndex(({ id }) => id === after);
      if (after !== undefined && index < 0) throw noCursor(after);
      return listReply(checkpoints.slice(index + 1), most);
    },
  );

  // Known to the clients; they get an answer that says so rather than a 404 that looks like a wrong address.
  const permissions = '/v1/fine_tuning/checkpoints/:checkpoint/permissions';
  const unsupported = async () => {
    throw new TemperError(
      'UNIMPLEMENTED',
      'Checkpoints have no permissions of their own here: whoever has a key of the account can use them.',
    );
  };
  const schema = { hide: true, querystring: ListQuery };
  for (const method of ['GET', 'POST'] as const) server.route({ method, url: permissions, config: access, schema, handler: unsupported });
  server.delete(`${permissions}/:permission`, { config: access, schema }, unsupported);
}

async function requireJob(database: Database, request: FastifyRequest): Promise<JobRecord> {
  const { job: id } = request.params as Static<typeof JobPath>;
  const job = await findJob(database, request.caller.accountId, id);
  if (!job || job.state === 'DELETING') throw noSuchObject('fine_tuning_job_id', 'fine-tuning job', id);
  return job;
}

/** `metadata[k]=v` any number of times, or `metadata=null`. @throws TemperError UNKNOWN_FIELD for other parameters than the list's own */
function readMetadataFilter(url: string): Record<string, string> | null | undefined {
  const query = new URL(url, 'http://localhost').searchParams;
  const pairs: Record<string, string> = {};
  let isNull = false;
  for (const [name, value] of query) {
    const key = /^metadata\[(.{1,64})\]$/s.exec(name)?.[1];
    if (key !== undefined) pairs[key] = value;
    else if (name === 'metadata' && value === 'null') isNull = true;
    else if (name === 'metadata')
      throw fieldError('INVALID_FIELD', 'metadata', 'metadata must be given as metadata[KEY]=VALUE, or as metadata=null.');
    else if (name !== 'after' && name !== 'limit')
      throw fieldError('UNKNOWN_FIELD', name.slice(0, 100), `unknown parameter ${name.slice(0, 100)}`);
  }
  const hasPairs = Object.keys(pairs).length > 0;
  if (isNull && hasPairs) throw fieldError('INVALID_FIELD', 'metadata', 'metadata=null and metadata[KEY]=VALUE cannot be combined.');
  return isNull ? null : hasPairs ? pairs : undefined;
}
