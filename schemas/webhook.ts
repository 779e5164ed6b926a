/** Webhooks: where an account wants to be told of what, and how each telling went. Bodies and signatures are OpenAI's (Standard Webhooks). */
import { Type, type Static } from 'typebox';
import { DisplayName, Id, ReadOnly, ResourceName, Time } from './wire.js';

export const WEBHOOK_EVENT_TYPES = [
  'fine_tuning.job.succeeded',
  'fine_tuning.job.failed',
  'fine_tuning.job.cancelled',
  'dataset.ready',
  'dataset.invalid',
  'retraining.run.completed',
  'retraining.run.failed',
  'retraining.run.awaiting_approval',
] as const;
export type WebhookEventType = (typeof WEBHOOK_EVENT_TYPES)[number];

export const EventType = () => Type.String({ enum: [...WEBHOOK_EVENT_TYPES], 'x-expected': `one of ${WEBHOOK_EVENT_TYPES.join(', ')}` });
export const EventTypes = () =>
  Type.Array(EventType(), {
    minItems: 1,
    maxItems: WEBHOOK_EVENT_TYPES.length,
    uniqueItems: true,
    'x-expected': 'a list of event types, each once',
  });
export const WebhookUrl = () =>
  Type.String({ minLength: 1, maxLength: 2000, description: 'https; http only to networks of the deployment’s own' });

export const WEBHOOK_STATES = ['ENABLED', 'DISABLED'] as const;
export type WebhookState = (typeof WEBHOOK_STATES)[number];

export const Webhook = Type.Object({
  name: ReadOnly(ResourceName()),
  displayName: DisplayName(),
  url: Type.Optional(WebhookUrl()),
  eventTypes: Type.Optional(EventTypes()),
  state: Type.Optional(Type.String({ enum: [...WEBHOOK_STATES], description: 'A disabled webhook is told nothing' })),
  disabledReason: ReadOnly(Type.String()),
  secret: ReadOnly(Type.String({ description: 'whsec_…: in the answer to its creation or rotation, and never again' })),
  secretHint: ReadOnly(Type.String()),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
  createdBy: ReadOnly(Type.String()),
});
export type Webhook = Static<typeof Webhook>;

export const CreateWebhookRequest = Type.Object({
  ...Webhook.properties,
  url: WebhookUrl(),
  eventTypes: EventTypes(),
  webhookId: Type.Optional(Id()),
});
export type CreateWebhookRequest = Static<typeof CreateWebhookRequest>;

export const DELIVERY_STATES = ['PENDING', 'DELIVERED', 'FAILED', 'CANCELLED'] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

export const WebhookDelivery = Type.Object({
  name: Type.String(),
  eventId: Type.String({ description: 'The webhook-id header: the same each time the event is delivered' }),
  eventType: Type.String(),
  state: Type.String({ enum: [...DELIVERY_STATES], description: 'PENDING while it is still tried' }),
  attempts: Type.Integer(),
  status: Type.Optional(Type.Integer({ description: 'HTTP status of the last attempt' })),
  error: Type.String(),
  createTime: Time(),
  updateTime: Time(),
});
export type WebhookDelivery = Static<typeof WebhookDelivery>;

export const TestWebhookRequest = Type.Object({ eventType: Type.Optional(EventType()) });
export const TestWebhookReply = Type.Object({
  delivered: Type.Boolean(),
  status: Type.Optional(Type.Integer({ description: 'The HTTP status that the endpoint answered with' })),
  message: Type.String(),
});
export const RotateSecretRequest = Type.Object({
  keepPreviousSecret: Type.Optional(Type.Boolean({ description: 'Deliveries are signed with both for 24 hours' })),
});
