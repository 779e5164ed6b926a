/** What a job has left on record: attempts, checkpoints, and its metrics as rows and as a file. */
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { TemperError } from '../schemas/errors.js';
import { JobAttempt, JobCheckpoint, JobMetric } from '../schemas/job.js';
import { DOWNLOAD_URL_SECONDS } from '../schemas/limits.js';
import { listReply, WholeListQuery } from '../schemas/wire.js';
import { listAttempts, listCheckpoints, listMetrics } from '../stores/jobs.js';
import { tensorboardKey } from '../stores/jobFiles.js';
import { sampleMetrics } from '../stores/metricSamples.js';
import { JOB_FAMILIES } from './jobFamilies.js';
import { JobPath, requireJob } from './jobs.js';
import { viewAttempt, viewCheckpoint, viewMetric } from './jobViews.js';
import type { ApiDependencies } from './server.js';

const MetricsQuery = Type.Object({
  points: Type.Optional(
    Type.String({
      pattern: '^[1-9][0-9]{1,3}$',
      'x-expected': 'a whole number from 10 to 9999',
      description: 'About so many steps at most: where the loss is lowest and highest in each stretch. All of them when absent',
    }),
  ),
});

const EvaluationReport = Type.Object(
  {},
  { additionalProperties: true, description: 'Scores of the base and of the tuned model, confusions, samples on which they differ most' },
);

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
      { config: access, schema: { params: JobPath, querystring: MetricsQuery, response: { 200: listReply('metrics', JobMetric) } } },
      async (request) => {
        const { uid } = await requireJob(database, family, request.params);
        const { points } = request.query as Static<typeof MetricsQuery>;
        const rows = points === undefined ? await listMetrics(database, uid) : await sampleMetrics(database, uid, Number(points));
        return whole('metrics', rows.map(viewMetric));
      },
    );

    server.get(
      `${one}::getTensorboardFileEndpoint`,
      { config: access, schema: { params: JobPath, response: { 200: Type.Object({ signedUrl: Type.String() }) } } },
      async (request) => {
        const job = await requireJob(database, family, request.params);
        const key = tensorboardKey(job.uid);
        if (!job.tensorboard || !(await objects.head(key)))
          throw new TemperError(
            'ILLEGAL_STATE',
            `The job ${job.id} has no TensorBoard file${job.tensorboard ? ' yet' : ': it asked for none'}.`,
          );
        return { signedUrl: await objects.signDownload(key, `events.out.tfevents.${job.id}`, DOWNLOAD_URL_SECONDS) };
      },
    );

    server.get(
      `${one}::getEvaluationReport`,
      {
        config: access,
        schema: { params: JobPath, response: { 200: EvaluationReport } },
      },
      async (request, reply) => {
        const { id, evaluation } = await requireJob(database, family, request.params);
        if (!evaluation?.reportKey) throw new TemperError('ILLEGAL_STATE', `The job ${id} has no evaluation, or none yet.`);
        const text = await objects.getText(evaluation.reportKey);
        return reply
          .type('application/json')
          .serializer((body: string) => body)
          .send(text);
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
