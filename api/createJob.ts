/** Creating a job: all or nothing in the database first, then its workflow. Asked twice, it is the same job. */
import type { FastifyRequest } from 'fastify';
import { insertJob } from '../jobs/createJob.js';
import { findWandbKey } from '../jobs/wandbKey.js';
import { resourceName } from '../schemas/names.js';
import { findJob, type JobRecord } from '../stores/jobs.js';
import { makeId, readIdempotencyKey, requestHash, requireSameRequest } from './idempotency.js';
import type { JobFamily } from './jobFamilies.js';
import type { ApiDependencies } from './server.js';
import { startJob } from './temporal.js';

export async function answerCreateJob(dependencies: ApiDependencies, family: JobFamily, request: FastifyRequest): Promise<JobRecord> {
  const { database, temporal, objects, config } = dependencies;
  const { secretKey, secretKeys, tmpFolder, prices } = config;
  const { accountId, email } = request.caller;
  const { collection } = family;
  const body = request.body as { jobId?: string };
  const givenId = (request.query as Record<string, string | undefined>)[family.idParameter] ?? body.jobId;
  const hash = requestHash(secretKey, collection, { ...body, jobId: givenId });
  const id = givenId ?? makeId('ft', await readIdempotencyKey(request, database, hash), accountId, secretKey);
  if (givenId !== undefined) await readIdempotencyKey(request, database, hash);
  const insert = async () => {
    const wanted = family.read(body, accountId, await findWandbKey(database, secretKeys, accountId, body));
    return insertJob(
      { database, objects, tmpFolder, secretKeys, prices },
      { accountId, id, collection, body, requestHash: hash, request: wanted, createdBy: email },
    );
  };
  const job = (await findJob(database, accountId, id)) ?? (await insert());
  requireSameRequest(job.request_hash, hash, resourceName(accountId, collection, id));
  if (!job.workflow_started) {
    // The job stands from here on. If its workflow cannot be started now, it will be within seconds of Temporal's return.
    await startJob(temporal, database, job).catch((error: Error) =>
      request.log.warn({ job: job.id, cause: error.message }, 'workflow not started yet'),
    );
  }
  return job;
}
