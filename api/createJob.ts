/** Creating a job: all or nothing in the database first, then its workflow. Asked twice, it is the same job. */
import { randomUUID } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { findBaseModel } from '../schemas/baseModels.js';
import { TemperError } from '../schemas/errors.js';
import { resourceName } from '../schemas/names.js';
import type { WandbSettings } from '../stores/database.js';
import { appendEventIn } from '../stores/events.js';
import { createJob, findJob, type JobRecord } from '../stores/jobs.js';
import { putSecret } from '../stores/secrets.js';
import { makeId, readIdempotencyKey, requestHash, requireSameRequest } from './idempotency.js';
import type { JobFamily } from './jobFamilies.js';
import { withoutSecrets, type JobRequest } from './jobRequest.js';
import { resolveSettings, type ResolvedJob } from './resolveSettings.js';
import type { ApiDependencies } from './server.js';
import { startJob } from './temporal.js';

export async function answerCreateJob(dependencies: ApiDependencies, family: JobFamily, request: FastifyRequest): Promise<JobRecord> {
  const { database, temporal, config } = dependencies;
  const { accountId } = request.caller;
  const body = request.body as { jobId?: string };
  const givenId = (request.query as Record<string, string | undefined>)[family.idParameter] ?? body.jobId;
  const hash = requestHash(config.secretKey, family.collection, { ...body, jobId: givenId });
  const id = givenId ?? makeId('ft', await readIdempotencyKey(request, database, hash), accountId, config.secretKey);
  if (givenId !== undefined) await readIdempotencyKey(request, database, hash);
  const job = (await findJob(database, accountId, id)) ?? (await insertJob(dependencies, family, request, { id, hash, body }));
  requireSameRequest(job.request_hash, hash, resourceName(accountId, family.collection, id));
  if (!job.workflow_started) {
    // The job stands from here on. If its workflow cannot be started now, it will be within seconds of Temporal's return.
    await startJob(temporal, database, job).catch((error: Error) =>
      request.log.warn({ job: job.id, cause: error.message }, 'workflow not started yet'),
    );
  }
  return job;
}

interface NewRequest {
  id: string;
  hash: string;
  body: object;
}

async function insertJob(
  dependencies: ApiDependencies,
  family: JobFamily,
  request: FastifyRequest,
  { id, hash, body }: NewRequest,
): Promise<JobRecord> {
  const { database, objects, config } = dependencies;
  const { accountId, email } = request.caller;
  const wanted = family.read(body, accountId);
  const resolved = await resolveSettings({ database, objects, tmpFolder: config.tmpFolder }, accountId, wanted);
  const modelId = wanted.modelId ?? id;
  if (findBaseModel(resourceName(accountId, 'models', modelId)))
    throw new TemperError('RESOURCE_ALREADY_EXISTS', `${modelId} is the ID of a base model. Choose another model ID.`);
  const uid = randomUUID();
  const wandb = wandbSettings(wanted, uid);
  const inserted = await database.transaction().execute(async (transaction) => {
    const job = await createJob(transaction, {
      uid,
      accountId,
      id,
      collection: family.collection,
      displayName: wanted.displayName,
      request: withoutSecrets(body),
      requestHash: hash,
      settings: resolved.settings,
      settingOrigins: resolved.origins,
      datasetName: resourceName(accountId, 'datasets', resolved.dataset.id),
      datasetUid: resolved.dataset.uid,
      modelId,
      priority: wanted.priority ?? DEFAULT_PRIORITY,
      wandb,
      createdBy: email,
    });
    if (job && wandb && wanted.wandb)
      await putSecret(transaction, config.secretKey, {
        accountId,
        id: wandb.secretId,
        keyName: 'WANDB_API_KEY',
        value: wanted.wandb.apiKey,
      });
    if (job) for (const event of warningEvents(resolved)) await appendEventIn(transaction, uid, event);
    return job;
  });
  return inserted ?? (await findJob(database, accountId, id))!;
}

const DEFAULT_PRIORITY = 3;

function wandbSettings({ wandb }: JobRequest, uid: string): WandbSettings | null {
  if (!wandb) return null;
  const { project, entity, runId } = wandb;
  return { project, ...(entity ? { entity } : {}), runId: runId ?? uid, secretId: `wandb-${uid}`, state: 'PENDING' };
}

function warningEvents({ warnings }: ResolvedJob) {
  return warnings.map(({ code, message }, index) => ({ key: `settings/${index}`, type: 'warning', message, data: { code } }));
}
