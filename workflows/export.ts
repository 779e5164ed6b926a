/** A model in another form: merged on a GPU worker where that is needed, then converted, checked and stored by a data worker. */
import { ActivityFailure, CancellationScope, isCancellation, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { ExportInput, ExportState } from '../schemas/export.js';
import { TEMPER_STAGE, TEMPER_STATE } from '../schemas/searchAttributes.js';
import { abandonExportActivity, exportData, mergeActivity } from './activityOptions.js';
import { failureOf } from './failures.js';

export async function ExportWorkflow(input: ExportInput): Promise<{ state: ExportState | 'GONE'; message: string }> {
  try {
    const { goesOn, format, merges } = await exportData('read what is asked for').beginExport(input);
    if (!goesOn) return { state: 'GONE', message: 'It has ended already, or its model is gone.' };
    show('RUNNING', merges ? 'merging' : 'converting', `**Exporting** \`${input.name}\` as ${format}.`);
    if (merges) await mergeActivity({ accountId: input.accountId, priority: 3 }, 'merge base model and adapter').mergeModel(input);
    if (format !== 'MERGED') await exportData(`store ${format}`).finishExport(input);
    show('COMPLETED', 'done', `**Exported** \`${input.name}\` as ${format}.`);
    return { state: 'COMPLETED', message: format };
  } catch (error) {
    const state = isCancellation(error) ? 'CANCELLED' : 'FAILED';
    if (state === 'FAILED' && !(error instanceof ActivityFailure)) throw error; // a bug of ours is no verdict on the export
    const failure = state === 'FAILED' ? failureOf(error) : undefined;
    await CancellationScope.nonCancellable(() => abandonExportActivity(state.toLowerCase()).abandonExport(input, { state, failure }));
    show(state, 'done', `**${state}**${failure ? `: ${failure.message}` : ''}`);
    return { state, message: failure?.message ?? 'Somebody cancelled it.' };
  }
}

function show(state: string, stage: string, details: string): void {
  upsertSearchAttributes([
    { key: TEMPER_STATE, value: state },
    { key: TEMPER_STAGE, value: stage },
  ]);
  setCurrentDetails(details);
}
