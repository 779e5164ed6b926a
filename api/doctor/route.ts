/** `GET /v1/doctor`: every component looked at, each with what to do. `/readyz` says whether this process can serve; this says what is wrong with the deployment. */
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { DoctorReport, worstState, type Check, type CheckState } from '../../schemas/doctor.js';
import { TEMPER_VERSION } from '../../schemas/version.js';
import type { ApiDependencies } from '../server.js';
import { checkDatabase, checkJobs, checkObjectStore, checkWebhooks } from './stores.js';
import { checkQueues, checkSearchAttributes, checkTemporal } from './temporal.js';
import { checkBaseModels, checkWorkers } from './workers.js';

export type Checks = (dependencies: ApiDependencies) => Promise<Check[]>;

/** Of one component's checks: a server that hangs must not hang the doctor. */
const CHECK_TIMEOUT_MS = 4_000;

const COMPONENTS: Record<string, Checks> = {
  database: checkDatabase,
  objectStore: checkObjectStore,
  temporal: checkTemporal,
  searchAttributes: checkSearchAttributes,
  queue: checkQueues,
  worker: checkWorkers,
  baseModel: checkBaseModels,
  job: checkJobs,
  webhook: checkWebhooks,
};

/** What helps where the check itself could not be made. */
const ADVICE: Record<string, string> = {
  database: 'Start Postgres, or correct DATABASE_URL of the API.',
  objectStore: 'Start the S3 service, or correct TEMPER_S3_ENDPOINT, TEMPER_S3_BUCKET and the AWS_ variables of the API.',
  temporal: 'Start the Temporal server, or correct TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE of the API.',
};

export function doctorRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  server.get(
    '/v1/doctor',
    {
      config: { access: 'operator' },
      schema: {
        summary: 'Check every component of the deployment',
        operationId: 'diagnose',
        querystring: Type.Object({}),
        response: { 200: DoctorReport },
      },
    },
    async () => {
      const checks = (await Promise.all(Object.keys(COMPONENTS).map((component) => runChecks(component, dependencies)))).flat();
      return {
        state: worstState(checks.map((check) => check.state as CheckState)),
        version: TEMPER_VERSION,
        time: new Date().toISOString(),
        checks: [
          { component: 'api', name: 'version', state: 'OK', message: `Temper ${TEMPER_VERSION}, Node ${process.version}.` },
          ...checks,
        ],
      };
    },
  );
}

async function runChecks(component: string, dependencies: ApiDependencies): Promise<Check[]> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_TIMEOUT_MS / 1000} s`)), CHECK_TIMEOUT_MS);
  });
  try {
    return await Promise.race([COMPONENTS[component]!(dependencies), timeout]);
  } catch (error) {
    const { code, name, message } = error as { code?: unknown; name: string; message: string };
    // Messages of drivers may carry addresses with credentials: the kind of the error is enough to act on.
    const reason = typeof code === 'string' ? code : name === 'Error' && /^no answer/.test(message) ? message : name;
    return [
      {
        component,
        name: 'reachable',
        state: 'FAILED',
        message: `The check could not be made: ${reason}.`,
        advice: ADVICE[component] ?? 'See to the servers above first.',
      },
    ];
  } finally {
    clearTimeout(timer);
  }
}
