/** What a job has left on record: attempts, checkpoints, and its metrics as rows and as a file. */
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { JobAttempt, JobCheckpoint, JobMetric } from '../schemas/job.js';
import { DOWNLOAD_URL_SECONDS } from '../schemas/limits.js';
import { listReply, WholeListQuery } from '../schemas/wire.js';
import { listAttempts, listCheckpoints, listMetrics } from '../stores/jobs.js';
import { JOB_FAMILIES } from './jobFamilies.js';
import { JobPath, requireJob } from './jobs.js';
import { viewAttempt, viewCheckpoint, viewMetric } from './jobViews.js';
import type { ApiDependencies } from './server.js';

export function jobRecordRoutes(server: FastifyInstance, { database, objects }: ApiDependencies): void {
  const access = { access: 'user' as const };
  for (const family of JOB_FAMILIES) {
    const one = `/v1/accounts/:account/${family.collection}/:id(^[^:/]+$)`;

    server.get(
      `${one}::listAttempts`,
      { config: access, schema: { params: JobPath, querystring: WholeListQuery, response: { 200: listReply('attempts', JobAttempt) } } },
      async (request) => {
        const { uid } = await requireJob(database, family, request.params);
        return whole('attempts', (await listAttempts(database, uid)).map(viewAttempt));
      },
    );

    server.get(
      `${one}/checkpoints`,
      {
        config: access,
        schema: { params: JobPath, querystring: WholeListQuery, response: { 200: listReply('checkpoints', JobCheckpoint) } },
      },
      async (request) => {
        const { uid } = await requireJob(database, family, request.params);
        return whole('checkpoints', (await listCheckpoints(database, uid)).map(viewCheckpoint));
      },
    );

    server.get(
      `${one}/metrics`,
      { config: access, schema: { params: JobPath, querystring: WholeListQuery, response: { 200: listReply('metrics', JobMetric) } } },
      async (request) => {
        const { uid } = await requireJob(database, family, request.params);
        return whole('metrics', (await listMetrics(database, uid)).map(viewMetric));
      },
    );

    const SignedUrl = Type.Object({ signedUrl: Type.String({ description: 'One JSON object a line, a line a step' }) });
    server.get(
      `${one}::getMetricsFileEndpoint`,
      { config: access, schema: { params: JobPath, response: { 200: SignedUrl } } },
      async (request) => {
        const job = await requireJob(database, family, request.params);
        const rows = await listMetrics(database, job.uid);
        const key = `jobs/${job.uid}/metrics.jsonl`;
        await objects.putBytes(key, rows.map((row) => `${JSON.stringify(viewMetric(row))}\n`).join(''));
        return { signedUrl: await objects.signDownload(key, `${job.id}-metrics.jsonl`, DOWNLOAD_URL_SECONDS) };
      },
    );
  }
}

/** These lists are short, or wanted whole: one page. */
function whole(collection: string, items: object[]): Record<string, unknown> {
  return { [collection]: items, nextPageToken: '', totalSize: items.length };
}
