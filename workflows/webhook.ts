/** One event told to one webhook: tried for days, until it is taken, refused for good, or given up. */
import { isCancellation, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { DeliveryInput, DeliveryResult } from '../schemas/activities.js';
import { TEMPER_STAGE, TEMPER_STATE } from '../schemas/searchAttributes.js';
import { deliveryActivity, recordActivities } from './activityOptions.js';
import { failureOf } from './failures.js';

export async function WebhookWorkflow(input: DeliveryInput): Promise<DeliveryResult> {
  show(
    'PENDING',
    'delivering',
    `**Delivering** ${input.eventType} to \`${input.webhookName}\`; an endpoint that fails is called again for days.`,
  );
  const result = await deliver(input);
  show(result.state, 'done', `**${result.state}**: ${result.message}`);
  return result;
}

async function deliver(input: DeliveryInput): Promise<DeliveryResult> {
  try {
    return await deliveryActivity(`deliver ${input.eventType}`, input.once).deliverWebhook({ id: input.id });
  } catch (error) {
    if (isCancellation(error)) throw error;
    return recordActivities('given up').recordDeliveryEnd({ id: input.id, message: failureOf(error).message });
  }
}

function show(state: string, stage: string, details: string): void {
  upsertSearchAttributes([
    { key: TEMPER_STATE, value: state },
    { key: TEMPER_STAGE, value: stage },
  ]);
  setCurrentDetails(details);
}
