/** One attempt at telling a webhook: signed anew each time, because receivers refuse an old signature; the event and its ID stay the same. */
import { Context } from '@temporalio/activity';
import { Webhook as Signer } from 'standardwebhooks';
import type { ControlActivities, DeliveryResult } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import type { Database } from '../stores/database.js';
import type { SecretKeys } from '../stores/secretKeys.js';
import { readSecret } from '../stores/secrets.js';
import {
  endDelivery,
  findDelivery,
  previousSecretId,
  recordAttempt,
  updateWebhook,
  webhookSecretId,
  type DeliveryPlan,
} from '../stores/webhooks.js';
import { webhookCalls } from '../telemetry/metrics.js';
import { readNetworks } from '../webhooks/networks.js';
import { postToWebhook } from '../webhooks/post.js';

/** "The resource is gone": a receiver's way to say that it wants nothing more. */
const GONE = 410;

export function makeDeliverWebhook({
  database,
  secretKeys,
}: {
  database: Database;
  secretKeys: SecretKeys;
}): Pick<ControlActivities, 'deliverWebhook' | 'recordDeliveryEnd'> {
  const networks = readNetworks(process.env['TEMPER_WEBHOOK_NETWORKS'] ?? '');
  return {
    async deliverWebhook({ id }) {
      const plan = await findDelivery(database, id);
      if (!plan) return { state: 'CANCELLED', status: null, message: 'The webhook was deleted.' };
      const { delivery, webhook } = plan;
      if (delivery.state === 'DELIVERED') return { state: 'DELIVERED', status: delivery.status, message: 'It was delivered before.' };
      if (webhook.state === 'DISABLED') {
        await endDelivery(database, id, 'CANCELLED', 'The webhook is disabled.');
        return { state: 'CANCELLED', status: null, message: 'The webhook is disabled.' };
      }
      const message = { headers: await signedHeaders(database, secretKeys, plan), body: plan.event.body };
      let status: number;
      try {
        status = await postToWebhook(webhook.url, networks, message, Context.current().cancellationSignal);
      } catch (error) {
        webhookCalls.inc({ outcome: 'unreachable' });
        if (error instanceof TemperError) await recordAttempt(database, id, { status: null, error: error.message });
        throw error;
      }
      webhookCalls.inc({ outcome: status >= 200 && status < 300 ? 'delivered' : 'refused' });
      return conclude(database, plan, status);
    },
    async recordDeliveryEnd({ id, message }) {
      const delivery = await endDelivery(database, id, 'FAILED', message);
      return { state: 'FAILED', status: delivery?.status ?? null, message };
    },
  };
}

async function conclude(database: Database, { delivery: { id }, webhook }: DeliveryPlan, status: number): Promise<DeliveryResult> {
  if (status >= 200 && status < 300) {
    await recordAttempt(database, id, { status, error: '', state: 'DELIVERED' });
    return { state: 'DELIVERED', status, message: `The endpoint answered ${status}.` };
  }
  if (status === GONE) {
    const reason = `The endpoint answered ${GONE}: it wants nothing more. The webhook is disabled.`;
    await recordAttempt(database, id, { status, error: reason, state: 'FAILED' });
    await updateWebhook(database, webhook.uid, { state: 'DISABLED', disabledReason: reason });
    return { state: 'FAILED', status, message: reason };
  }
  const problem = `The endpoint answered ${status}${status >= 300 && status < 400 ? ', and redirects are not followed' : ''}.`;
  await recordAttempt(database, id, { status, error: problem });
  throw new TemperError('WEBHOOK_FAILED', problem);
}

/** Standard Webhooks; for a while after a rotation, one signature by each of both secrets. */
async function signedHeaders(
  database: Database,
  secretKeys: SecretKeys,
  { event, webhook, delivery }: DeliveryPlan,
): Promise<Record<string, string>> {
  const now = new Date();
  const isRotating = webhook.previous_secret_until !== null && webhook.previous_secret_until > now;
  const ids = [webhookSecretId(webhook.uid), ...(isRotating ? [previousSecretId(webhook.uid)] : [])];
  const secrets = await Promise.all(ids.map((id) => readSecret(database, secretKeys, webhook.account_id, id)));
  const signatures = secrets.flatMap((secret) => (secret ? [new Signer(secret).sign(delivery.event_id, now, event.body)] : []));
  if (signatures.length === 0)
    throw new TemperError('WEBHOOK_FAILED', 'The webhook has no signing secret any more: rotate it, and deliver again.');
  return {
    'content-type': 'application/json',
    'user-agent': 'Temper-Webhooks/1.0',
    'webhook-id': delivery.event_id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': signatures.join(' '),
  };
}
