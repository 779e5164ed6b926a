/** `POST …/models/{m}:reproduce`: makes a model once more, from its lineage, and in the end compares the two. */
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { insertJob } from '../jobs/createJob.js';
import { requestOf, requireLineage } from '../jobs/reproduce.js';
import { FineTuningJob } from '../schemas/job.js';
import { resourceName } from '../schemas/names.js';
import { Id } from '../schemas/wire.js';
import { findJob } from '../stores/jobs.js';
import { makeId, readIdempotencyKey, requestHash, requireSameRequest } from './idempotency.js';
import { viewFineTuningJob } from './jobViews.js';
import { ModelPath, requireModel } from './models.js';
import type { ApiDependencies } from './server.js';
import { startJob } from './temporal.js';

const ReproduceRequest = Type.Object({
  jobId: Type.Optional(Id()),
  modelId: Type.Optional(Id({ description: 'Of the model that comes out; the job ID when absent' })),
});

export function reproduceRoutes(server: FastifyInstance, { database, objects, temporal, config }: ApiDependencies): void {
  server.post(
    '/v1/accounts/:account/models/:id(^[^:/]+$)::reproduce',
    { config: { access: 'user' }, schema: { params: ModelPath, body: ReproduceRequest, response: { 200: FineTuningJob } } },
    async (request) => {
      const { accountId, email } = request.caller;
      const model = await requireModel(database, request.params, accountId);
      const lineage = requireLineage(model);
      const body = request.body as Static<typeof ReproduceRequest>;
      const hash = requestHash(config.secretKey, 'reproduce', { ...body, model: model.uid });
      const key = await readIdempotencyKey(request, database, hash);
      const id = body.jobId ?? makeId('ft', key, accountId, config.secretKey);
      const { secretKeys, tmpFolder, prices } = config;
      const insert = () =>
        insertJob(
          { database, objects, tmpFolder, secretKeys, prices },
          {
            accountId,
            id,
            collection: 'fineTuningJobs',
            body: { ...body, reproduces: lineage.model },
            requestHash: hash,
            request: { ...requestOf(lineage), modelId: body.modelId },
            createdBy: email,
            reproduces: lineage,
          },
        );
      const job = (await findJob(database, accountId, id)) ?? (await insert());
      requireSameRequest(job.request_hash, hash, resourceName(accountId, 'fineTuningJobs', id));
      if (!job.workflow_started) {
        // As for every job: the row stands, and the workflow is started within seconds of Temporal's return.
        await startJob(temporal, database, job).catch((error: Error) =>
          request.log.warn({ job: job.id, cause: error.message }, 'workflow not started yet'),
        );
      }
      return viewFineTuningJob(job);
    },
  );
}
