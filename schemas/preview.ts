/** The preview of a job on the wire: what it would train on and take. Shapes: preview/previewJob.ts and estimates/jobEstimate.ts. */
import { Type, type Static } from 'typebox';

export const MAX_PREVIEW_ROWS = 50;
export const DEFAULT_PREVIEW_ROWS = 5;

const OpenObject = (description: string) => Type.Object({}, { additionalProperties: true, description });

/** Beside the body that would create the job. */
export const previewFields = {
  rows: Type.Optional(
    Type.Integer({ minimum: 1, maximum: MAX_PREVIEW_ROWS, description: `The first this many rows; ${DEFAULT_PREVIEW_ROWS} when absent` }),
  ),
  lines: Type.Optional(
    Type.Array(Type.Integer({ minimum: 1 }), {
      minItems: 1,
      maxItems: MAX_PREVIEW_ROWS,
      description: 'Lines of the dataset, from 1, to show instead of its first rows',
    }),
  ),
};
export type PreviewFields = { rows?: number; lines?: number[] };

export const JobPreviewReply = Type.Object({
  settings: OpenObject('Every setting, as it would be resolved'),
  settingOrigins: OpenObject('Where each setting came from: given, baseModel, default or derived'),
  warnings: Type.Array(Type.Object({ code: Type.String(), message: Type.String() }), {
    description: 'What the job would show as warnings',
  }),
  template: Type.String({
    description: "Whose template renders the rows: job, baseModel, family (Temper's own for the model's family) or generic",
  }),
  rows: Type.Array(
    Type.Object(
      {},
      {
        additionalProperties: true,
        description:
          'By row: line, segments ([text, trained], together what the model sees), tokens, trainedTokens, truncated, warnings; or line and error (code, message, found, field)',
      },
    ),
  ),
  tokenCounts: Type.String({ enum: ['EXACT', 'UNAVAILABLE'] }),
  tokenCountsReason: Type.Optional(Type.String({ description: 'Why tokens are not counted' })),
  sample: OpenObject('Rows that were tried for the estimate (rows), and those of them that do not render (problems)'),
  estimate: OpenObject('Examples, steps, tokens, GPU memory, and time and cost by device'),
});
export type JobPreviewReply = Static<typeof JobPreviewReply>;
