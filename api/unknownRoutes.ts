/** Paths that no route has: 404, or 405 with `Allow` when only the method is wrong. */
import type { FastifyInstance } from 'fastify';
import { TemperError } from '../schemas/errors.js';

export function answerUnknownRoutes(server: FastifyInstance): void {
  const routes: { method: string; path: RegExp }[] = [];
  server.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat()) routes.push({ method: one, path: pathExpression(url) });
  });
  server.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? '';
    const allowed = [...new Set(routes.filter((route) => route.path.test(path)).map((route) => route.method))];
    if (allowed.length === 0)
      throw new TemperError('ROUTE_NOT_FOUND', `There is nothing at ${path.slice(0, 200)}. The API is described at /openapi.json.`);
    void reply.header('allow', allowed.join(', '));
    throw new TemperError('METHOD_NOT_ALLOWED', `${request.method} is not possible here; use ${allowed.join(' or ')}.`);
  });
}

/** `/v1/accounts/:account/jobs/:id(…)::cancel` to an expression: parameters end at a slash or colon, `::` is a colon. */
function pathExpression(url: string): RegExp {
  const pattern = url
    .replace(/::/g, '\0')
    .split(/(:[A-Za-z]+(?:\([^)]*\))?)/)
    .map((part) => (part.startsWith(':') ? '[^/:]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
    .join('')
    .replace(/\0/g, ':');
  return new RegExp(`^${pattern}$`);
}
