/** What activities tell the workflows of others. */
import { Context } from '@temporalio/activity';
import { WorkflowNotFoundError } from '@temporalio/client';
import { TURN_SIGNAL } from '../schemas/activities.js';
import { resourceName } from '../schemas/names.js';
import type { Database } from '../stores/database.js';
import { nextInLine } from '../stores/quotas.js';

/** One that is over already needs to be told nothing. */
export async function tell(workflowId: string, signal: string, ...message: unknown[]): Promise<void> {
  try {
    await Context.current()
      .client.workflow.getHandle(workflowId)
      .signal(signal, ...message);
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}

/** Calls the jobs of an account that there is room for: each asks for its turn at once, not when its next retry is due. */
export async function callNextInLine(database: Database, accountId: string, most?: number): Promise<void> {
  for (const id of await nextInLine(database, accountId, most)) await tell(resourceName(accountId, 'fineTuningJobs', id), TURN_SIGNAL);
}
