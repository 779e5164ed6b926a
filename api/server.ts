/** The API as a Fastify server that does not listen yet: hooks, error mapping, OpenAPI, and one module of routes a resource. */
import { randomUUID } from 'node:crypto';
import multipart from '@fastify/multipart';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { Client } from '@temporalio/client';
import Fastify, { LogController, type FastifyInstance, type FastifyReply, type FastifyRequest, type RouteOptions } from 'fastify';
import { Type, type TSchema } from 'typebox';
import { TemperError } from '../schemas/errors.js';
import { LINEAGE_SCHEMA, LINEAGE_SCHEMA_PATH } from '../schemas/lineage.js';
import { MAX_JSON_BODY_BYTES } from '../schemas/limits.js';
import type { Prices } from '../schemas/prices.js';
import { ErrorBody } from '../schemas/wire.js';
import type { Database } from '../stores/database.js';
import type { EventFeed } from '../stores/eventFeed.js';
import type { ObjectStore } from '../stores/objects.js';
import type { SecretKeys } from '../stores/secretKeys.js';
import type { Networks } from '../webhooks/networks.js';
import { accountRoutes } from './accounts.js';
import { aliasRoutes } from './aliases.js';
import { apiKeyRoutes } from './apiKeys.js';
import { auditRoutes, recordRequests } from './audit.js';
import { describeAccess, REFERENCE_PATH, requireKeys } from './auth.js';
import { compileReader, parseJsonBody } from './body.js';
import { answerBrokenRequest, httpOptions, limitBodyTime, REQUEST_TIMEOUT_MS, type Patience } from './connections.js';
import { datasetRoutes } from './datasets.js';
import { datasetUploadRoutes } from './datasetUploads.js';
import { doctorRoutes } from './doctor/route.js';
import { healthRoutes } from './health.js';
import { janitorRoutes } from './janitorReports.js';
import { jobEventRoutes } from './jobEvents.js';
import { jobRecordRoutes } from './jobRecords.js';
import { jobRoutes } from './jobs.js';
import { modelRoutes } from './models.js';
import { modelUploadRoutes } from './modelUploads.js';
import { answerOpenaiError } from './openai/errors.js';
import { observeRequests } from './observe.js';
import { openaiRoutes } from './openai/routes.js';
import { nameOperation } from './operationNames.js';
import { previewRoutes } from './previews.js';
import { describeError } from './problems.js';
import { quotaRoutes } from './quotas.js';
import { openRates } from './rates.js';
import { compareRoutes } from './compare.js';
import { usageRoutes } from './usage.js';
import { lineageRoutes } from './lineage.js';
import { exportRoutes } from './exports.js';
import { reproduceRoutes } from './reproduce.js';
import { runRoutes } from './runs.js';
import { scheduleRoutes } from './schedules.js';
import { secretRoutes } from './secrets.js';
import { describeSignIn, type SignInSettings } from './signIn.js';
import { answerUnknownRoutes } from './unknownRoutes.js';
import { openFormSpool } from './uploadForm.js';
import { userRoutes } from './users.js';
import { webhookRoutes } from './webhooks.js';

export interface ApiConfig {
  /** 32 bytes, base64: signs page tokens, keys the hashes of requests. */
  secretKey: string;
  /** Encrypt secrets, key the hashes of API keys. */
  secretKeys: SecretKeys;
  /** The deployment's own account, whose admins manage the others. */
  operatorAccountId: string;
  temporalNamespace: string;
  /** Uploads are spooled here before they are published. */
  tmpFolder: string;
  /** Of GPU hours; null: no costs are shown. */
  prices: Prices | null;
  /** Log lines of this level and above, as JSON on stdout; `silent` for none. */
  logLevel: string;
  /** Addresses of proxies before the API, whose word on the client's address is taken, as in `loopback,10.0.0.0/8`. */
  trustedProxies?: string;
  /** The identity provider that people sign in with; absent: API keys only. */
  signIn?: SignInSettings;
  /** For how long slow clients are waited for. */
  patience: Patience;
  /** Names that OpenAI's clients may use for a base model, each with the model it stands for here. */
  modelAliases: Record<string, string>;
  /** Where webhooks may lie beside the public internet. */
  webhookNetworks: Networks;
  /** Requests are part of traces. */
  isTraced?: boolean;
}

export interface ApiDependencies {
  database: Database;
  objects: ObjectStore;
  temporal: Client;
  events: EventFeed;
  config: ApiConfig;
}

/** What the routes that take files read, in the API's description. */
const FORM = {
  type: 'object',
  properties: { file: { type: 'string', format: 'binary', description: 'The file, with its name; in `data` for a part of an upload' } },
  additionalProperties: { type: 'string' },
};

export async function buildServer(dependencies: ApiDependencies): Promise<FastifyInstance> {
  const { config } = dependencies;
  const server = Fastify({
    bodyLimit: MAX_JSON_BODY_BYTES,
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    // The query may hold anything a client put there by mistake, a key for example.
    logger: {
      level: config.logLevel,
      serializers: { req: (request: FastifyRequest) => ({ method: request.method, path: request.url.split('?')[0] }) },
    },
    logController: new LogController({ disableRequestLogging: true }),
    routerOptions: { maxParamLength: 500 },
    return503OnClosing: true,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: httpOptions(config.patience),
    clientErrorHandler: answerBrokenRequest,
    // Of a path that cannot be read, before a route is found.
    frameworkErrors: (error, request, reply) =>
      request.url.startsWith('/v1/') && !request.url.startsWith('/v1/accounts')
        ? answerOpenaiError(error, request, reply)
        : answerError(error, request, reply),
    trustProxy: config.trustedProxies ?? false,
  });
  limitBodyTime(server, config.patience);
  readJsonStrictly(server);
  server.setErrorHandler((error, request, reply) => answerError(error, request, reply));
  server.addHook('onRequest', (request, reply, done) => {
    void reply.header('x-request-id', request.id);
    done();
  });
  observeRequests(server, config.isTraced ?? false);
  requireKeys(server, dependencies, await openRates(server, dependencies.database));
  recordRequests(server, dependencies);
  answerUnknownRoutes(server);
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Temper',
        version: '1',
        description: 'Fine-tuning: datasets, jobs, models. See `components` for shapes; errors are the same everywhere.',
      },
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer' },
          header: { type: 'apiKey', in: 'header', name: 'X-Api-Key' },
          ...(config.signIn ? { signIn: describeSignIn(config.signIn) } : {}),
        },
      },
      security: [{ bearer: [] }, { header: [] }, ...(config.signIn ? [{ signIn: [] }] : [])],
    },
    // Who may use a route, and what every route may answer instead.
    transform: ({ schema, url, route }) => ({
      url,
      schema: {
        ...nameOperation([route.method].flat()[0]!, url),
        ...schema,
        ...(schema?.consumes?.includes('multipart/form-data') ? { body: FORM } : {}),
        tags: [groupOf(url)],
        ...describeAccess(route.config?.access ?? 'public'),
        response: { '4xx': ErrorBody, '5xx': ErrorBody, ...(schema?.response as object) },
      },
    }),
  });
  await server.register(multipart, { throwFileSizeLimit: true });
  refuseForms(server);
  // The reference for people; without its own validation, which would send the document to another server.
  await server.register(swaggerUi, {
    routePrefix: REFERENCE_PATH,
    uiConfig: { docExpansion: 'none', validatorUrl: null, defaultModelsExpandDepth: 0 },
    theme: { title: 'Temper: the API', css: [{ filename: 'temper.css', content: '.swagger-ui .topbar { display: none }' }] },
    staticCSP: true,
  });
  server.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, async () => server.swagger());
  server.get(LINEAGE_SCHEMA_PATH, { config: { access: 'public' }, schema: { hide: true } }, async () => LINEAGE_SCHEMA);
  healthRoutes(server, dependencies);
  doctorRoutes(server, dependencies);
  accountRoutes(server, dependencies);
  userRoutes(server, dependencies);
  apiKeyRoutes(server, dependencies);
  secretRoutes(server, dependencies);
  quotaRoutes(server, dependencies);
  usageRoutes(server, dependencies);
  lineageRoutes(server, dependencies);
  auditRoutes(server, dependencies);
  datasetRoutes(server, dependencies);
  const forms = openFormSpool(dependencies.database, dependencies.config.tmpFolder);
  datasetUploadRoutes(server, dependencies, forms);
  jobRoutes(server, dependencies);
  previewRoutes(server, dependencies);
  jobEventRoutes(server, dependencies);
  jobRecordRoutes(server, dependencies);
  modelRoutes(server, dependencies);
  modelUploadRoutes(server, dependencies);
  reproduceRoutes(server, dependencies);
  exportRoutes(server, dependencies);
  compareRoutes(server, dependencies);
  aliasRoutes(server, dependencies);
  scheduleRoutes(server, dependencies);
  runRoutes(server, dependencies);
  webhookRoutes(server, dependencies);
  janitorRoutes(server, dependencies);
  await openaiRoutes(server, dependencies, forms);
  return server;
}

/** The resource that a route is about: the groups of the reference. OpenAI's routes are one. */
function groupOf(url: string): string {
  const [, version, accounts, , collection, , nested] = url.replace(/\([^)]*\)/g, '').split('/');
  if (version !== 'v1' || accounts === 'doctor') return 'health';
  if (accounts !== 'accounts') return accounts === 'verifyApiKey' ? 'accounts' : 'OpenAI';
  const name = (nested === 'apiKeys' ? nested : (collection ?? 'accounts')).replace(/:.*$/, '');
  return name === 'supervisedFineTuningJobs' ? 'fineTuningJobs (supervised)' : name;
}

/** Bodies and parameters go through one reader; Fastify's own parser and validator would take, and mend, more than they should. */
function readJsonStrictly(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, parseJsonBody(body as Buffer));
    } catch (error) {
      done(error as TemperError);
    }
  });
  server.addHook('onRoute', refuseUnknownParameters);
  server.setValidatorCompiler(({ schema, httpPart }) => {
    const read = compileReader(schema as TSchema, httpPart === 'querystring' ? 'query parameter' : 'field');
    return (input: unknown) => {
      try {
        return { value: read(input) };
      } catch (error) {
        return { error: error as Error };
      }
    };
  });
}

/** A route that says nothing of a query has none: what a client puts there by mistake is not passed over. */
function refuseUnknownParameters(route: RouteOptions): void {
  if (route.url.startsWith('/v1/')) route.schema = { querystring: Type.Object({}), ...route.schema };
}

/** A route that reads JSON would see an empty body in a form. */
function refuseForms(server: FastifyInstance): void {
  server.addHook('preValidation', (request, _reply, done) => {
    const isRefused = request.isMultipart() && !request.routeOptions.schema?.consumes?.includes('multipart/form-data');
    done(
      isRefused
        ? new TemperError('UNSUPPORTED_MEDIA_TYPE', 'This takes no form: send JSON, with Content-Type: application/json.')
        : undefined,
    );
  });
}

function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = describeError(error, request.id);
  if (problem.unexpected) request.log.error({ err: error }, 'unexpected error');
  else if (problem.status >= 500)
    request.log.warn({ reason: problem.body.details[0]?.reason, cause: (error as Error).message }, 'unavailable');
  request.failureReason = problem.body.details[0]?.reason ?? '';
  if (problem.retryAfterSeconds !== undefined && !reply.hasHeader('retry-after'))
    void reply.header('retry-after', String(problem.retryAfterSeconds));
  return reply.status(problem.status).type('application/json').serializer(JSON.stringify).send(problem.body);
}
