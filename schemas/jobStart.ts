/** How a job's workflow shows itself in the Temporal UI from its first moment, whether the API starts it or a run of retraining does. */
import type { SearchAttributePair } from '@temporalio/common';
import type { JobInput } from './activities.js';
import {
  TEMPER_ACCOUNT,
  TEMPER_BASE_MODEL,
  TEMPER_DATASET,
  TEMPER_KIND,
  TEMPER_MODEL,
  TEMPER_STAGE,
  TEMPER_STATE,
} from './searchAttributes.js';

export function jobStartOptions(input: JobInput, createdBy: string) {
  return {
    staticSummary: `${input.kind} on ${input.baseModel.split('/').at(-1)}`,
    staticDetails: [
      `**Fine-tuning job** \`${input.name}\``,
      '',
      `- dataset \`${input.datasetName}\``,
      `- base model \`${input.baseModel}\``,
      `- model \`${input.modelName}\``,
      `- created by ${createdBy}`,
    ].join('\n'),
    typedSearchAttributes: [
      ...startAttributes({ account: input.accountId, dataset: input.datasetName, state: 'CREATING', stage: 'created' }),
      { key: TEMPER_BASE_MODEL, value: input.baseModel },
      { key: TEMPER_KIND, value: input.kind },
      { key: TEMPER_MODEL, value: input.modelName },
    ],
  };
}

export function startAttributes(of: { account: string; dataset?: string; state: string; stage: string }): SearchAttributePair[] {
  return [
    { key: TEMPER_ACCOUNT, value: of.account },
    ...(of.dataset ? [{ key: TEMPER_DATASET, value: of.dataset }] : []),
    { key: TEMPER_STATE, value: of.state },
    { key: TEMPER_STAGE, value: of.stage },
  ] as SearchAttributePair[];
}
