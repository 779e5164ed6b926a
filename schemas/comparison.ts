/** Two or more models side by side: what made them different, how good they are on the same rows, and what they answer. */
import { Type, type Static } from 'typebox';
import { ResourceName } from './wire.js';

/** Models of one comparison, and rows whose answers it shows. */
export const MAX_COMPARED_MODELS = 8;
export const COMPARED_SAMPLES = 20;

const Value = Type.Unknown({ description: 'null where a model has none' });

export const ModelComparison = Type.Object({
  models: Type.Array(
    Type.Object({
      name: ResourceName(),
      job: Type.Optional(ResourceName()),
      createTime: Type.String(),
      /** On the rows that were held back from its training. */
      metric: Type.Optional(Type.String()),
      value: Type.Optional(Type.Number()),
      low: Type.Optional(Type.Number({ description: '95 % confidence interval' })),
      high: Type.Optional(Type.Number()),
      base: Type.Optional(Type.Number({ description: 'Of its base model on the same rows' })),
      examples: Type.Optional(Type.Integer()),
    }),
  ),
  differences: Type.Array(Type.Object({ name: Type.String(), values: Type.Array(Value, { description: 'In the order of the models' }) }), {
    description: 'Settings and origins that are not the same for all',
  }),
  sameRows: Type.Boolean({ description: 'All were evaluated on the same rows: their values can be compared' }),
  rowsReason: Type.String({ description: 'Why not; empty when they were' }),
  best: Type.Optional(
    ResourceName({ description: 'With the best value, where the values can be compared and one is better than all others' }),
  ),
  samples: Type.Array(
    Type.Object({
      line: Type.Integer({ description: 'Of the row in the dataset, from 1' }),
      text: Type.String(),
      expected: Type.Optional(Type.String()),
      answers: Type.Array(Value, { description: 'Label or perplexity of each model; null where its report does not tell of the row' }),
      base: Type.Optional(Value),
    }),
    { description: 'Rows of which at least two models tell; those that they answer differently first. Empty when the rows differ' },
  ),
});
export type ModelComparison = Static<typeof ModelComparison>;
