/** Webhooks, the events they are told of, and how each telling went. An event is written in the transaction of what it tells. */
import { randomBytes } from 'node:crypto';
import { sql, type Selectable, type Transaction } from 'kysely';
import type { JobState } from '../schemas/states.js';
import type { DeliveryState, WebhookEventType, WebhookState } from '../schemas/webhook.js';
import type { Database, Tables, WebhookDeliveriesTable, WebhooksTable } from './database.js';

export type WebhookRecord = Selectable<WebhooksTable>;
export type DeliveryRecord = Selectable<WebhookDeliveriesTable>;

export function findWebhook(database: Database, accountId: string, id: string): Promise<WebhookRecord | undefined> {
  return database.selectFrom('webhooks').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}

export function listNewestWebhooks(database: Database, accountId: string): Promise<WebhookRecord[]> {
  return database
    .selectFrom('webhooks')
    .selectAll()
    .where('account_id', '=', accountId)
    .orderBy('create_time', 'desc')
    .orderBy('id')
    .execute();
}

export interface NewWebhook {
  uid: string;
  accountId: string;
  id: string;
  displayName: string;
  url: string;
  eventTypes: string[];
  state: WebhookState;
  secretHint: string;
  requestHash: string;
  createdBy: string;
}

/** Null when the account has a webhook with the ID. */
export async function createWebhook(database: Database, webhook: NewWebhook): Promise<WebhookRecord | null> {
  const inserted = await database
    .insertInto('webhooks')
    .values({
      uid: webhook.uid,
      account_id: webhook.accountId,
      id: webhook.id,
      display_name: webhook.displayName,
      url: webhook.url,
      event_types: JSON.stringify(webhook.eventTypes),
      state: webhook.state,
      secret_hint: webhook.secretHint,
      request_hash: webhook.requestHash,
      created_by: webhook.createdBy,
    })
    .onConflict((conflict) => conflict.columns(['account_id', 'id']).doNothing())
    .returningAll()
    .executeTakeFirst();
  return inserted ?? null;
}

export interface WebhookChanges {
  displayName?: string;
  url?: string;
  eventTypes?: string[];
  state?: WebhookState;
  disabledReason?: string;
  secretHint?: string;
  previousSecretUntil?: Date | null;
}

export function updateWebhook(database: Database, uid: string, changes: WebhookChanges): Promise<WebhookRecord> {
  return database
    .updateTable('webhooks')
    .set({
      update_time: sql`now()`,
      ...(changes.displayName !== undefined ? { display_name: changes.displayName } : {}),
      ...(changes.url !== undefined ? { url: changes.url } : {}),
      ...(changes.eventTypes !== undefined ? { event_types: JSON.stringify(changes.eventTypes) } : {}),
      ...(changes.state !== undefined ? { state: changes.state, disabled_reason: changes.disabledReason ?? '' } : {}),
      ...(changes.secretHint !== undefined ? { secret_hint: changes.secretHint } : {}),
      ...(changes.previousSecretUntil !== undefined ? { previous_secret_until: changes.previousSecretUntil } : {}),
    })
    .where('uid', '=', uid)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function deleteWebhook(database: Database, uid: string): Promise<void> {
  await database.deleteFrom('webhooks').where('uid', '=', uid).execute();
}

/** Where a webhook's signing secrets lie among the account's secrets. */
export const webhookSecretId = (uid: string): string => `webhook-${uid}`;
export const previousSecretId = (uid: string): string => `webhook-previous-${uid}`;

// ---- Events

export interface NewWebhookEvent {
  accountId: string;
  /** Names what happened for ever: written again, it is the same event. */
  key: string;
  type: WebhookEventType;
  data: { id: string; [field: string]: unknown };
}

/** Which states of a job are told. */
const JOB_EVENTS: Partial<Record<JobState, WebhookEventType>> = {
  COMPLETED: 'fine_tuning.job.succeeded',
  EARLY_STOPPED: 'fine_tuning.job.succeeded',
  FAILED: 'fine_tuning.job.failed',
  CANCELLED: 'fine_tuning.job.cancelled',
};

export async function tellJobState(
  transaction: Transaction<Tables>,
  job: { uid: string; account_id: string; id: string },
  state: JobState,
): Promise<void> {
  const type = JOB_EVENTS[state];
  if (type)
    await appendWebhookEvent(transaction, { accountId: job.account_id, key: `job/${job.uid}/${state}`, type, data: { id: job.id } });
}

/** Writes the event with a delivery for each webhook that wants it; nothing when none does. */
export async function appendWebhookEvent(transaction: Transaction<Tables>, event: NewWebhookEvent): Promise<void> {
  const wanting = await transaction
    .selectFrom('webhooks')
    .select('uid')
    .where('account_id', '=', event.accountId)
    .where('state', '=', 'ENABLED')
    .where(sql<boolean>`event_types ? ${event.type}`)
    .execute();
  if (wanting.length > 0) await insertEvent(transaction, event, wanting.map(({ uid }) => uid)); // prettier-ignore
}

/** An event for one webhook alone, whatever it wants to be told: a trial. */
export function appendTrial(
  database: Database,
  webhook: WebhookRecord,
  type: WebhookEventType,
  data: { id: string },
): Promise<DeliveryRecord> {
  return database.transaction().execute(async (transaction) => {
    const key = `trial/${webhook.uid}/${randomBytes(8).toString('hex')}`;
    const [delivery] = await insertEvent(transaction, { accountId: webhook.account_id, key, type, data }, [webhook.uid], true);
    return delivery!;
  });
}

async function insertEvent(
  transaction: Transaction<Tables>,
  { accountId, key, type, data }: NewWebhookEvent,
  webhookUids: string[],
  workflowStarted = false,
): Promise<DeliveryRecord[]> {
  const id = `evt_${randomBytes(16).toString('hex')}`;
  const body = JSON.stringify({ id, object: 'event', type, created_at: Math.floor(Date.now() / 1000), data });
  const inserted = await transaction
    .insertInto('webhook_events')
    .values({ id, account_id: accountId, key, type, body })
    .onConflict((conflict) => conflict.columns(['account_id', 'key']).doNothing())
    .executeTakeFirst();
  if (inserted.numInsertedOrUpdatedRows === 0n) return [];
  return insertDeliveries(transaction, accountId, id, webhookUids, workflowStarted);
}

function insertDeliveries(
  database: Database,
  accountId: string,
  eventId: string,
  webhookUids: string[],
  workflowStarted: boolean,
): Promise<DeliveryRecord[]> {
  return database
    .insertInto('webhook_deliveries')
    .values(
      webhookUids.map((uid) => ({
        id: `whd-${randomBytes(12).toString('hex')}`,
        account_id: accountId,
        webhook_uid: uid,
        event_id: eventId,
        workflow_started: workflowStarted,
      })),
    )
    .returningAll()
    .execute();
}

/** The same event once more, under its own ID. */
export async function redeliver(database: Database, delivery: DeliveryRecord): Promise<DeliveryRecord> {
  const [again] = await insertDeliveries(database, delivery.account_id, delivery.event_id, [delivery.webhook_uid], false);
  return again!;
}

// ---- Deliveries

/** What is needed to make one delivery. */
export interface DeliveryPlan {
  delivery: DeliveryRecord;
  event: { type: string; body: string };
  webhook: WebhookRecord;
}

/** Undefined once the webhook or the event is gone. */
export async function findDelivery(database: Database, id: string): Promise<DeliveryPlan | undefined> {
  const delivery = await database.selectFrom('webhook_deliveries').selectAll().where('id', '=', id).executeTakeFirst();
  if (!delivery) return undefined;
  const event = await database.selectFrom('webhook_events').select(['type', 'body']).where('id', '=', delivery.event_id).executeTakeFirst();
  const webhook = await database.selectFrom('webhooks').selectAll().where('uid', '=', delivery.webhook_uid).executeTakeFirst();
  return event && webhook ? { delivery, event, webhook } : undefined;
}

export type ListedDelivery = DeliveryRecord & { type: string };

/** Newest first. */
export function listDeliveries(database: Database, webhookUid: string, page: { offset: number; limit: number }): Promise<ListedDelivery[]> {
  return database
    .selectFrom('webhook_deliveries')
    .innerJoin('webhook_events', 'webhook_events.id', 'webhook_deliveries.event_id')
    .selectAll('webhook_deliveries')
    .select('webhook_events.type')
    .where('webhook_uid', '=', webhookUid)
    .orderBy('webhook_deliveries.create_time', 'desc')
    .orderBy('webhook_deliveries.id')
    .offset(page.offset)
    .limit(page.limit)
    .execute();
}

export async function countDeliveries(database: Database, webhookUid: string): Promise<number> {
  const row = await database
    .selectFrom('webhook_deliveries')
    .select(sql<number>`count(*)`.as('count'))
    .where('webhook_uid', '=', webhookUid)
    .executeTakeFirstOrThrow();
  return row.count;
}

/** An attempt that was made. Without a state the delivery stays PENDING. */
export async function recordAttempt(
  database: Database,
  id: string,
  attempt: { status: number | null; error: string; state?: DeliveryState },
): Promise<void> {
  await database
    .updateTable('webhook_deliveries')
    .set({
      attempts: sql`attempts + 1`,
      status: attempt.status,
      error: attempt.error,
      update_time: sql`now()`,
      ...(attempt.state ? { state: attempt.state } : {}),
    })
    .where('id', '=', id)
    .execute();
}

/** Ends a delivery that no further attempt will be made of; one that has ended stays as it is. */
export async function endDelivery(
  database: Database,
  id: string,
  state: DeliveryState,
  error: string,
): Promise<DeliveryRecord | undefined> {
  await database
    .updateTable('webhook_deliveries')
    .set({ state, error, update_time: sql`now()` })
    .where('id', '=', id)
    .where('state', '=', 'PENDING')
    .execute();
  return database.selectFrom('webhook_deliveries').selectAll().where('id', '=', id).executeTakeFirst();
}

/** Deliveries whose workflow has not been started, with what it is started with. */
export async function deliveriesWithoutWorkflow(
  database: Database,
): Promise<{ id: string; accountId: string; webhookId: string; type: string }[]> {
  const rows = await database
    .selectFrom('webhook_deliveries')
    .innerJoin('webhooks', 'webhooks.uid', 'webhook_deliveries.webhook_uid')
    .innerJoin('webhook_events', 'webhook_events.id', 'webhook_deliveries.event_id')
    .select(['webhook_deliveries.id', 'webhook_deliveries.account_id', 'webhooks.id as webhook_id', 'webhook_events.type'])
    .where('workflow_started', '=', false)
    .orderBy('webhook_deliveries.create_time')
    .limit(100)
    .execute();
  return rows.map((row) => ({ id: row.id, accountId: row.account_id, webhookId: row.webhook_id, type: row.type }));
}

export async function markDeliveryStarted(database: Database, id: string): Promise<void> {
  await database.updateTable('webhook_deliveries').set({ workflow_started: true }).where('id', '=', id).execute();
}

/** Events, and with them their deliveries, that nobody will ask about any more. */
export async function deleteOldEvents(database: Database, olderThanDays: number): Promise<void> {
  await database
    .deleteFrom('webhook_events')
    .where(sql<boolean>`create_time < now() - make_interval(days => ${olderThanDays})`)
    .execute();
}
