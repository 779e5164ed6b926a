/** Webhooks of an account: who is told of what, how each telling went, and a trial. Users see them; admins change them. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { Type, type Static } from 'typebox';
import { notFound, TemperError } from '../schemas/errors.js';
import { resourceName } from '../schemas/names.js';
import {
  CreateWebhookRequest,
  RotateSecretRequest,
  TestWebhookReply,
  TestWebhookRequest,
  Webhook,
  WEBHOOK_STATES,
  WebhookDelivery,
  type WebhookEventType,
  type WebhookState,
} from '../schemas/webhook.js';
import { Empty, GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import { deleteSecret, putSecret, readSecret } from '../stores/secrets.js';
import {
  appendTrial,
  countDeliveries,
  createWebhook,
  deleteWebhook,
  findDelivery,
  findWebhook,
  listDeliveries,
  previousSecretId,
  redeliver,
  updateWebhook,
  webhookSecretId,
  type ListedDelivery,
  type WebhookRecord,
} from '../stores/webhooks.js';
import { requireWebhookUrl } from '../webhooks/address.js';
import { makeId, readIdempotencyKey, requestHash, requireSameRequest } from './idempotency.js';
import { name, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { openPageToken, parsePageSize, sealPageToken } from './paging.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';
import { NOT_CLEARABLE, readChanges, UpdateQuery } from './updateMask.js';
import { runTrialDelivery } from './temporal.js';

const WebhookPath = Type.Object({ account: Id(), id: Id() });
const DeliveryPath = Type.Object({ account: Id(), id: Id(), delivery: Id() });
/** How long a secret that was replaced keeps signing, when asked for. */
const PREVIOUS_SECRET_MS = 24 * 3600 * 1000;
const SECRET_BYTES = 32;
const HINT_LENGTH = 4;

const FIELDS: ListFields = {
  name: name('webhooks'),
  displayName: text('display_name'),
  url: text('url'),
  state: text('state', WEBHOOK_STATES),
  eventTypes: { type: 'text', expression: sql`event_types::text`, orderable: false },
  createTime: time('create_time'),
  updateTime: time('update_time'),
};

export function webhookRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  const { database, config } = dependencies;
  const collection = '/v1/accounts/:account/webhooks';
  const one = `${collection}/:id(^[^:/]+$)`;
  const account = Type.Object({ account: Id() });
  const CreateQuery = Type.Object({ webhookId: Type.Optional(Id()) });
  const read = { access: 'user' as const };
  const write = { access: 'admin' as const };

  server.post(
    collection,
    { config: write, schema: { params: account, querystring: CreateQuery, body: CreateWebhookRequest, response: { 200: Webhook } } },
    async (request) => {
      const body = request.body as CreateWebhookRequest;
      const { accountId, email } = request.caller;
      const hash = requestHash(config.secretKey, 'webhooks', body);
      const key = await readIdempotencyKey(request, database, hash);
      const id =
        (request.query as Static<typeof CreateQuery>).webhookId ?? body.webhookId ?? makeId('whe', key, accountId, config.secretKey);
      const existing = await findWebhook(database, accountId, id);
      if (existing) {
        requireSameRequest(existing.request_hash, hash, webhookName(existing));
        return viewWebhook(existing);
      }
      const { webhook, secret } = await addWebhook(dependencies, {
        accountId,
        id,
        displayName: body.displayName ?? '',
        url: body.url,
        eventTypes: body.eventTypes,
        state: (body.state as WebhookState | undefined) ?? 'ENABLED',
        requestHash: hash,
        createdBy: email,
      });
      return { ...viewWebhook(webhook), secret };
    },
  );

  server.get(
    collection,
    { config: read, schema: { params: account, querystring: ListQuery, response: { 200: listReply('webhooks', Webhook) } } },
    (request) =>
      answerList(database, config.secretKey, request.caller.accountId, request.query as Static<typeof ListQuery>, {
        table: 'webhooks',
        collection: 'webhooks',
        fields: FIELDS,
        schema: Webhook,
        view: viewWebhook,
      }),
  );

  server.get(one, { config: read, schema: { params: WebhookPath, querystring: GetQuery, response: { 200: Webhook } } }, async (request) => {
    const mask = compileReadMask<Webhook>((request.query as Static<typeof GetQuery>).readMask, Webhook);
    return mask(viewWebhook(await requireWebhook(dependencies, request.params)));
  });

  server.patch(
    one,
    { config: write, schema: { params: WebhookPath, querystring: UpdateQuery, body: Webhook, response: { 200: Webhook } } },
    async (request) => {
      const { displayName, url, eventTypes, state } = readChanges<Webhook, 'displayName' | 'url' | 'eventTypes' | 'state'>(
        request,
        Webhook,
        {
          displayName: '',
          url: NOT_CLEARABLE,
          eventTypes: NOT_CLEARABLE,
          state: NOT_CLEARABLE,
        },
      );
      const webhook = await requireWebhook(dependencies, request.params);
      if (url !== undefined) requireWebhookUrl(url, config.webhookNetworks);
      return viewWebhook(
        await updateWebhook(database, webhook.uid, { displayName, url, eventTypes, state: state as WebhookState | undefined }),
      );
    },
  );

  server.delete(one, { config: write, schema: { params: WebhookPath, response: { 200: Empty } } }, async (request) => {
    await removeWebhook(dependencies, await requireWebhook(dependencies, request.params));
    return {};
  });

  server.post(
    `${one}::rotateSecret`,
    { config: write, schema: { params: WebhookPath, body: RotateSecretRequest, response: { 200: Webhook } } },
    async (request) => {
      const { keepPreviousSecret } = request.body as Static<typeof RotateSecretRequest>;
      const webhook = await requireWebhook(dependencies, request.params);
      const { webhook: rotated, secret } = await rotateSecret(dependencies, webhook, keepPreviousSecret === true);
      return { ...viewWebhook(rotated), secret };
    },
  );

  server.post(
    `${one}::test`,
    { config: write, schema: { params: WebhookPath, body: TestWebhookRequest, response: { 200: TestWebhookReply } } },
    async (request) => {
      const webhook = await requireWebhook(dependencies, request.params);
      const type = (request.body as Static<typeof TestWebhookRequest>).eventType ?? webhook.event_types[0]!;
      const result = await tryWebhook(dependencies, webhook, type as WebhookEventType);
      const { state, status, message } = result;
      return { delivered: state === 'DELIVERED', ...(status !== null ? { status } : {}), message };
    },
  );

  const Page = Type.Pick(ListQuery, ['pageSize', 'pageToken']);
  server.get(
    `${one}/deliveries`,
    { config: read, schema: { params: WebhookPath, querystring: Page, response: { 200: listReply('deliveries', WebhookDelivery) } } },
    async (request) => {
      const webhook = await requireWebhook(dependencies, request.params);
      const { pageSize, pageToken } = request.query as Static<typeof Page>;
      const limit = parsePageSize(pageSize);
      const binding = [webhook.uid, 'deliveries'];
      const offset = pageToken ? Number(openPageToken(config.secretKey, binding, pageToken)[0]) : 0;
      const found = await listDeliveries(database, webhook.uid, { offset, limit: limit + 1 });
      return {
        deliveries: found.slice(0, limit).map((delivery) => viewDelivery(webhook, delivery)),
        nextPageToken: found.length > limit ? sealPageToken(config.secretKey, binding, [String(offset + limit)]) : '',
        totalSize: await countDeliveries(database, webhook.uid),
      };
    },
  );

  server.post(
    `${one}/deliveries/:delivery(^[^:/]+$)::redeliver`,
    { config: write, schema: { params: DeliveryPath, body: Empty, response: { 200: WebhookDelivery } } },
    async (request) => {
      const { account: accountId, delivery: id } = request.params as Static<typeof DeliveryPath>;
      const webhook = await requireWebhook(dependencies, request.params);
      const plan = await findDelivery(database, id);
      if (plan?.webhook.uid !== webhook.uid) throw notFound(accountId, `webhooks/${webhook.id}/deliveries`, id);
      if (webhook.state === 'DISABLED') throw new TemperError('ILLEGAL_STATE', `${webhookName(webhook)} is disabled: enable it first.`);
      return viewDelivery(webhook, { ...(await redeliver(database, plan.delivery)), type: plan.event.type });
    },
  );
}

interface WantedWebhook {
  accountId: string;
  id: string;
  displayName: string;
  url: string;
  eventTypes: string[];
  state: WebhookState;
  requestHash: string;
  createdBy: string;
}

/** @throws TemperError INVALID_FIELD for an address that may not be called */
export async function addWebhook(
  { database, config }: ApiDependencies,
  wanted: WantedWebhook,
): Promise<{ webhook: WebhookRecord; secret: string }> {
  requireWebhookUrl(wanted.url, config.webhookNetworks);
  const uid = randomUUID();
  const { secret, hint } = generateSecret();
  return database.transaction().execute(async (transaction) => {
    const webhook = await createWebhook(transaction, { uid, ...wanted, secretHint: hint });
    if (!webhook) {
      const taken = resourceName(wanted.accountId, 'webhooks', wanted.id);
      throw new TemperError('RESOURCE_ALREADY_EXISTS', `${taken} already exists. Choose another ID.`);
    }
    await putSecret(transaction, config.secretKeys, {
      accountId: wanted.accountId,
      id: webhookSecretId(uid),
      keyName: 'WEBHOOK_SECRET',
      value: secret,
    });
    return { webhook, secret };
  });
}

export async function rotateSecret(
  { database, config }: ApiDependencies,
  webhook: WebhookRecord,
  keepPrevious: boolean,
): Promise<{ webhook: WebhookRecord; secret: string }> {
  const { account_id: accountId, uid } = webhook;
  const { secret, hint } = generateSecret();
  return database.transaction().execute(async (transaction) => {
    const previous = keepPrevious ? await readSecret(transaction, config.secretKeys, accountId, webhookSecretId(uid)) : null;
    if (previous)
      await putSecret(transaction, config.secretKeys, { accountId, id: previousSecretId(uid), keyName: 'WEBHOOK_SECRET', value: previous });
    else await deleteSecret(transaction, accountId, previousSecretId(uid));
    await putSecret(transaction, config.secretKeys, { accountId, id: webhookSecretId(uid), keyName: 'WEBHOOK_SECRET', value: secret });
    const previousSecretUntil = previous ? new Date(Date.now() + PREVIOUS_SECRET_MS) : null;
    return { webhook: await updateWebhook(transaction, uid, { secretHint: hint, previousSecretUntil }), secret };
  });
}

/** What is still on its way to it is cancelled by its own workflow. */
export async function removeWebhook({ database }: ApiDependencies, webhook: WebhookRecord): Promise<void> {
  await database.transaction().execute(async (transaction) => {
    await deleteWebhook(transaction, webhook.uid);
    for (const id of [webhookSecretId(webhook.uid), previousSecretId(webhook.uid)]) await deleteSecret(transaction, webhook.account_id, id);
  });
}

/** Sends a sample event, once, and waits for the endpoint's answer. */
export async function tryWebhook({ database, temporal }: ApiDependencies, webhook: WebhookRecord, type: WebhookEventType) {
  if (webhook.state === 'DISABLED') throw new TemperError('ILLEGAL_STATE', `${webhookName(webhook)} is disabled: enable it first.`);
  const sample = { id: type.startsWith('dataset') ? 'file-sample' : 'ftjob-sample' };
  const delivery = await appendTrial(database, webhook, type, sample);
  return runTrialDelivery(temporal, { id: delivery.id, accountId: webhook.account_id, webhookId: webhook.id, type });
}

/** @throws TemperError RESOURCE_NOT_FOUND */
async function requireWebhook({ database }: ApiDependencies, params: unknown): Promise<WebhookRecord> {
  const { account, id } = params as Static<typeof WebhookPath>;
  const webhook = await findWebhook(database, account, id);
  if (!webhook) throw notFound(account, 'webhooks', id);
  return webhook;
}

function generateSecret(): { secret: string; hint: string } {
  const secret = `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`;
  return { secret, hint: `whsec_…${secret.slice(-HINT_LENGTH)}` };
}

function webhookName(webhook: WebhookRecord): string {
  return resourceName(webhook.account_id, 'webhooks', webhook.id);
}

function viewWebhook(webhook: WebhookRecord): Webhook {
  return {
    name: webhookName(webhook),
    displayName: webhook.display_name,
    url: webhook.url,
    eventTypes: webhook.event_types,
    state: webhook.state,
    ...(webhook.disabled_reason ? { disabledReason: webhook.disabled_reason } : {}),
    secretHint: webhook.secret_hint,
    createTime: webhook.create_time.toISOString(),
    updateTime: webhook.update_time.toISOString(),
    createdBy: webhook.created_by,
  };
}

function viewDelivery(webhook: WebhookRecord, delivery: ListedDelivery): WebhookDelivery {
  return {
    name: `${webhookName(webhook)}/deliveries/${delivery.id}`,
    eventId: delivery.event_id,
    eventType: delivery.type,
    state: delivery.state,
    attempts: delivery.attempts,
    ...(delivery.status !== null ? { status: delivery.status } : {}),
    error: delivery.error,
    createTime: delivery.create_time.toISOString(),
    updateTime: delivery.update_time.toISOString(),
  };
}
