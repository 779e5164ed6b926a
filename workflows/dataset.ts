/** A dataset from upload to READY, or to a message that says what is wrong and where. One run an upload. */
import { setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { DatasetInput } from '../schemas/activities.js';
import { TEMPER_STAGE, TEMPER_STATE } from '../schemas/searchAttributes.js';
import { dataActivities, recordActivities } from './activityOptions.js';

export async function DatasetWorkflow(input: DatasetInput): Promise<{ valid: boolean; examples: number; message: string }> {
  show('UPLOADING', 'validating', `**Validating** \`${input.name}\`: every line is read and checked.`);
  const outcome = await dataActivities(`validate ${input.name}`).validateDataset(input);
  await recordActivities(outcome.valid ? 'READY' : 'refused').recordDatasetOutcome(input, outcome);
  const message = outcome.failure?.message ?? `${outcome.examples} examples`;
  show(outcome.valid ? 'READY' : 'UPLOADING', 'done', outcome.valid ? `**Ready**: ${message}.` : `**Refused**: ${message}`);
  return { valid: outcome.valid, examples: outcome.examples, message };
}

function show(state: string, stage: string, details: string): void {
  upsertSearchAttributes([
    { key: TEMPER_STATE, value: state },
    { key: TEMPER_STAGE, value: stage },
  ]);
  setCurrentDetails(details);
}
