/** A model that someone brings, from its files (or the hub) to READY, or to a message that says what is wrong. One run an upload. */
import { isCancellation, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { ModelInput, ModelOutcome } from '../schemas/activities.js';
import { TEMPER_STAGE, TEMPER_STATE } from '../schemas/searchAttributes.js';
import { dataActivities, recordActivities } from './activityOptions.js';
import { failureOf } from './failures.js';

export async function ModelWorkflow(input: ModelInput): Promise<ModelOutcome> {
  try {
    if (input.importedFrom) {
      show('UPLOADING', 'importing', `**Importing** \`${input.importedFrom}\` as \`${input.name}\`.`);
      await dataActivities(`import ${input.importedFrom}`).importModel(input);
    }
    show('UPLOADING', 'validating', `**Validating** \`${input.name}\`: its files are checked against each other and its base model.`);
    const outcome = await dataActivities(`validate ${input.name}`).validateModel(input);
    show(
      outcome.valid ? 'READY' : 'UPLOADING',
      'done',
      outcome.valid ? `**Ready**: ${outcome.message}` : `**Refused**: ${outcome.message}`,
    );
    return outcome;
  } catch (error) {
    if (isCancellation(error)) throw error;
    const failure = failureOf(error);
    await recordActivities('failed').recordModelFailure(input, failure);
    show('UPLOADING', 'done', `**Failed**: ${failure.message}`);
    return { valid: false, message: failure.message };
  }
}

function show(state: string, stage: string, details: string): void {
  upsertSearchAttributes([
    { key: TEMPER_STATE, value: state },
    { key: TEMPER_STAGE, value: stage },
  ]);
  setCurrentDetails(details);
}
