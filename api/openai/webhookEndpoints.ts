/** `/v1/webhook_endpoints`: the account's webhooks in OpenAI's shape, for `client.webhooks` of its clients. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type, type Static } from 'typebox';
import { TemperError } from '../../schemas/errors.js';
import { Deleted, listOf, PageQuery } from '../../schemas/openai.js';
import { EventType, EventTypes, WEBHOOK_EVENT_TYPES, WebhookUrl, type WebhookEventType } from '../../schemas/webhook.js';
import { PlainText } from '../../schemas/wire.js';
import { findWebhook, listNewestWebhooks, updateWebhook, type WebhookRecord } from '../../stores/webhooks.js';
import { requireWebhookUrl } from '../../webhooks/address.js';
import { makeId, readIdempotencyKey, requestHash } from '../idempotency.js';
import type { ApiDependencies } from '../server.js';
import { addWebhook, removeWebhook, rotateSecret, tryWebhook } from '../webhooks.js';
import { noSuchObject } from './errors.js';
import { listReply, noCursor, readLimit, seconds } from './pages.js';

const EndpointPath = Type.Object({ endpoint: Type.String({ maxLength: 200 }) });
const Endpoint = Type.Object({
  id: Type.String(),
  object: Type.Literal('webhook_endpoint'),
  created_at: Type.Integer(),
  updated_at: Type.Integer(),
  name: Type.String(),
  url: Type.String(),
  event_types: Type.Array(Type.String()),
  signing_secret_hint: Type.String(),
  signing_secret: Type.Optional(Type.String({ description: 'In the answer to its creation or rotation, and never again' })),
});
const Create = Type.Object({ name: PlainText(63), url: WebhookUrl(), event_types: EventTypes() });
const Update = Type.Object({
  name: Type.Optional(PlainText(63)),
  url: Type.Optional(WebhookUrl()),
  event_types: Type.Optional(EventTypes()),
});
const Rotate = Type.Object({ keep_old_secret_active_for_24_hours: Type.Optional(Type.Boolean()) });
const Trial = Type.Object({ event_type: EventType() });
const TrialResult = Type.Object({
  object: Type.Literal('webhook_endpoint.test'),
  webhook_endpoint_id: Type.String(),
  event_type: Type.String(),
  status_code: Type.Integer(),
  success: Type.Boolean(),
});

export function webhookEndpointRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  const { database, config } = dependencies;
  const collection = '/v1/webhook_endpoints';
  const one = `${collection}/:endpoint`;
  const read = { access: 'user' as const };
  const write = { access: 'admin' as const };

  server.post(collection, { config: write, schema: { body: Create, response: { 200: Endpoint } } }, async (request) => {
    const { name, url, event_types: eventTypes } = request.body as Static<typeof Create>;
    const { accountId, email } = request.caller;
    const hash = requestHash(config.secretKey, 'webhook_endpoints', request.body);
    const id = makeId('whe', await readIdempotencyKey(request, database, hash), accountId, config.secretKey);
    const wanted = { accountId, id, displayName: name, url, eventTypes, state: 'ENABLED' as const, requestHash: hash, createdBy: email };
    const { webhook, secret } = await addWebhook(dependencies, wanted);
    return { ...viewEndpoint(webhook), signing_secret: secret };
  });

  server.get(collection, { config: read, schema: { querystring: PageQuery, response: { 200: listOf(Endpoint) } } }, async (request) => {
    const { after, limit } = request.query as Static<typeof PageQuery>;
    const most = readLimit(limit, 20, 100);
    const webhooks = await listNewestWebhooks(database, request.caller.accountId);
    const index = after === undefined ? -1 : webhooks.findIndex(({ id }) => id === after);
    if (after !== undefined && index < 0) throw noCursor(after);
    return listReply(webhooks.slice(index + 1).map(viewEndpoint), most);
  });

  server.get('/v1/webhook_event_types', { config: read, schema: { hide: true } }, async () => ({
    object: 'list',
    data: WEBHOOK_EVENT_TYPES,
  }));

  server.get(one, { config: read, schema: { params: EndpointPath, response: { 200: Endpoint } } }, async (request) =>
    viewEndpoint(await requireEndpoint(dependencies, request)),
  );

  server.post(one, { config: write, schema: { params: EndpointPath, body: Update, response: { 200: Endpoint } } }, async (request) => {
    const webhook = await requireEndpoint(dependencies, request);
    const { name, url, event_types: eventTypes } = request.body as Static<typeof Update>;
    if (url !== undefined) requireWebhookUrl(url, config.webhookNetworks);
    return viewEndpoint(await updateWebhook(database, webhook.uid, { displayName: name, url, eventTypes }));
  });

  server.delete(one, { config: write, schema: { params: EndpointPath, response: { 200: Deleted } } }, async (request) => {
    const webhook = await requireEndpoint(dependencies, request);
    await removeWebhook(dependencies, webhook);
    return { id: webhook.id, object: 'webhook_endpoint.deleted', deleted: true };
  });

  server.post(
    `${one}/rotate_secret`,
    { config: write, schema: { params: EndpointPath, body: Rotate, response: { 200: Endpoint } } },
    async (request) => {
      const { keep_old_secret_active_for_24_hours: keep } = request.body as Static<typeof Rotate>;
      const { webhook, secret } = await rotateSecret(dependencies, await requireEndpoint(dependencies, request), keep === true);
      return { ...viewEndpoint(webhook), signing_secret: secret };
    },
  );

  server.post(
    `${one}/test`,
    { config: write, schema: { params: EndpointPath, body: Trial, response: { 200: TrialResult } } },
    async (request) => {
      const webhook = await requireEndpoint(dependencies, request);
      const { event_type: type } = request.body as Static<typeof Trial>;
      const { status, message } = await tryWebhook(dependencies, webhook, type as WebhookEventType);
      if (status === null) throw new TemperError('WEBHOOK_UNREACHABLE', message);
      return { object: 'webhook_endpoint.test', webhook_endpoint_id: webhook.id, event_type: type, status_code: status, success: true };
    },
  );
}

async function requireEndpoint({ database }: ApiDependencies, request: FastifyRequest): Promise<WebhookRecord> {
  const { endpoint: id } = request.params as Static<typeof EndpointPath>;
  const webhook = await findWebhook(database, request.caller.accountId, id);
  if (!webhook) throw noSuchObject('webhook_endpoint_id', 'webhook endpoint', id);
  return webhook;
}

function viewEndpoint(webhook: WebhookRecord): Static<typeof Endpoint> {
  return {
    id: webhook.id,
    object: 'webhook_endpoint',
    created_at: seconds(webhook.create_time),
    updated_at: seconds(webhook.update_time),
    name: webhook.display_name,
    url: webhook.url,
    event_types: webhook.event_types,
    signing_secret_hint: webhook.secret_hint,
  };
}
