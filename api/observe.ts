/** What every request leaves behind: a log line, its metrics, and a span where traces are wanted. */
import { SpanStatusCode, type Span } from '@opentelemetry/api';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { requestDuration, requests, uploadedBytes } from '../telemetry/metrics.js';
import { runInSpan, startRequestSpan } from '../telemetry/tracing.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Null where traces are not wanted. */
    span: Span | null;
  }
}

/** @param isTraced  false: no spans are made */
export function observeRequests(server: FastifyInstance, isTraced: boolean): void {
  server.decorateRequest('span', null);
  if (isTraced) {
    server.addHook('onRequest', (request, _reply, done) => {
      const route = nameOf(request.routeOptions.url);
      request.span = startRequestSpan(`${request.method} ${route}`, request.headers, {
        'http.request.method': request.method,
        'http.route': route,
        'url.path': request.url.split('?')[0]!,
      });
      done();
    });
    // After the body: what reads it would lose the context.
    server.addHook('preHandler', (request, _reply, done) => (request.span ? runInSpan(request.span, done) : done()));
  }
  server.addHook('onResponse', (request, reply, done) => {
    recordRequest(request, reply);
    done();
  });
}

function recordRequest(request: FastifyRequest, reply: FastifyReply): void {
  const { method, span } = request;
  const route = nameOf(request.routeOptions.url);
  const status = reply.statusCode;
  const { id } = (request.params ?? {}) as { id?: string };
  const account = request.caller?.accountId;
  request.log.info(
    {
      method,
      path: request.url.split('?')[0],
      status,
      ms: Math.round(reply.elapsedTime),
      key: request.caller?.keyId,
      ...(account ? { account } : {}),
      ...(id && /[fF]ineTuningJobs\//.test(route) ? { job: id } : {}),
    },
    'request',
  );
  requests.inc({ method, route, status });
  // A stream lasts for as long as its reader likes.
  if (!route.endsWith(':streamEvents')) requestDuration.observe({ method, route }, reply.elapsedTime / 1000);
  if (status < 300 && request.isMultipart()) uploadedBytes.inc(Number(request.headers['content-length'] ?? 0));
  if (!span) return;
  span.setAttribute('http.response.status_code', status);
  if (account) span.setAttribute('temper.account', account);
  if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
}

const names = new Map<string, string>();

/** `/v1/accounts/:account/datasets/:id:upload`: without the expressions that keep IDs and verbs apart. */
function nameOf(url: string | undefined): string {
  if (url === undefined) return 'unknown';
  let name = names.get(url);
  if (name === undefined) names.set(url, (name = url.replace(/\([^)]*\)/g, '').replace(/::/g, ':')));
  return name;
}
