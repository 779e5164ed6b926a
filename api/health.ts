/** `/healthz`: the process is up. `/readyz`: what it needs answers, too. Both without a key, and without saying where those things are. */
import { sql } from 'kysely';
import { Type } from 'typebox';
import type { FastifyInstance } from 'fastify';
import { ErrorBody } from '../schemas/wire.js';
import type { ApiDependencies } from './server.js';

const CHECK_TIMEOUT_MS = 3_000;

export function healthRoutes(server: FastifyInstance, { database, objects, temporal, config }: ApiDependencies): void {
  const checks: Record<string, () => Promise<unknown>> = {
    database: () => sql`select 1`.execute(database),
    objectStore: () => objects.list('readiness/'),
    temporal: () =>
      temporal.withDeadline(Date.now() + CHECK_TIMEOUT_MS, () =>
        temporal.workflowService.describeNamespace({ namespace: config.temporalNamespace }),
      ),
  };
  const Health = Type.Object({ status: Type.Literal('ok') });
  server.get('/healthz', { config: { access: 'public' }, schema: { response: { 200: Health } } }, async () => ({ status: 'ok' }));
  server.get(
    '/readyz',
    { config: { access: 'public' }, schema: { response: { 200: Health, 503: ErrorBody } } },
    async (_request, reply) => {
      const failed = (
        await Promise.all(Object.entries(checks).map(async ([name, check]) => ((await answers(check)) ? null : name)))
      ).filter((name) => name !== null);
      if (failed.length === 0) return { status: 'ok' };
      void reply.status(503).header('retry-after', '2');
      return {
        code: 14,
        message: `Not ready: ${failed.join(', ')} does not answer.`,
        details: failed.map((name) => ({ reason: 'UNAVAILABLE', field: name })),
      };
    },
  );
}

async function answers(check: () => Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), CHECK_TIMEOUT_MS);
  });
  const answered = check().then(
    () => true,
    () => false,
  );
  try {
    return await Promise.race([answered, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
