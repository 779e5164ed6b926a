/** A run of the janitor, as its Temporal schedule starts it. */
import { setCurrentDetails, workflowInfo } from '@temporalio/workflow';
import type { JanitorInput, JanitorResult } from '../schemas/janitor.js';
import { janitorActivity } from './activityOptions.js';

export async function JanitorWorkflow(input: JanitorInput): Promise<JanitorResult> {
  const result = await janitorActivity('find and remove what no record needs').removeOrphans({ ...input, reportId: workflowInfo().runId });
  setCurrentDetails(`Removed **${result.removed}** orphans with ${result.sizeBytes} bytes; left **${result.kept}** alone.`);
  return result;
}
