/** A preview as people read it: rows with what is trained on marked, tokens, warnings, the estimate. */
import type { JobEstimate } from '../estimates/jobEstimate.js';
import type { JobPreview, PreviewRow } from '../preview/previewJob.js';
import { formatCount, formatDuration, formatFields, formatSize, plainText } from './format.js';

const TRAINED = '\u001b[32m';
const WARNING = '\u001b[33m';
const FAILED = '\u001b[31m';
const FAINT = '\u001b[2m';
const RESET = '\u001b[0m';

export type ShownPreview = Pick<JobPreview, 'template' | 'rows' | 'tokenCounts' | 'tokenCountsReason' | 'sample' | 'estimate'> & {
  warnings: { code: string; message: string }[];
};

/** `colour`: trained text is green; it stands between ⟦ and ⟧ in any case. */
export function describePreview(preview: ShownPreview, { colour }: { colour: boolean }): string {
  const paint = (code: string, text: string): string => (colour ? `${code}${text}${RESET}` : text);
  const rows = preview.rows.flatMap((row) => [...describeRow(row, paint), '']);
  const { problems, rows: sampleRows } = preview.sample;
  return [
    paint(FAINT, `Trained on: the text between ⟦ and ⟧. Template: ${TEMPLATES[preview.template] ?? preview.template}.`),
    '',
    ...rows,
    ...preview.warnings.map(({ code, message }) => paint(WARNING, `${code}: ${plainText(message)}`)),
    ...problems.map(({ code, message, count, lines }) => {
      const where = lines.length > 0 ? `, first at line ${lines.slice(0, 3).join(', ')}` : '';
      return paint(FAILED, `${code}: ${count} of ${sampleRows} rows tried do not render${where}. ${message}`);
    }),
    ...(preview.tokenCountsReason === undefined ? [] : [paint(WARNING, `Tokens are not counted. ${plainText(preview.tokenCountsReason)}`)]),
    describeEstimate(preview.estimate),
  ].join('\n');
}

const TEMPLATES: Record<string, string> = {
  job: "the job's own",
  baseModel: "the base model's",
  family: "Temper's for the model's family",
  generic: "Temper's generic one",
};

function describeRow(row: PreviewRow, paint: (code: string, text: string) => string): string[] {
  if ('error' in row) {
    const { code, message, found, field } = row.error;
    const place = field === undefined ? '' : `, field ${plainText(field)}`;
    return [paint(FAILED, `── line ${row.line}${place}: ${code}: ${message} Found ${plainText(found)}.`)];
  }
  const counts = row.tokens === undefined ? '' : ` · ${formatCount(row.tokens)} tokens, ${formatCount(row.trainedTokens ?? 0)} trained`;
  const text = row.segments.map(([part, trained]) => (trained ? paint(TRAINED, `⟦${visible(part)}⟧`) : visible(part))).join('');
  const warnings = row.warnings.map(({ code, message, found }) =>
    paint(WARNING, `   ! ${code}: ${message}${found ? ` Found ${plainText(found)}.` : ''}`),
  );
  return [paint(FAINT, `── line ${row.line}${counts}${row.truncated ? ', cut' : ''}`), text, ...warnings];
}

/** Line breaks and tabs as they are; what could steer a terminal as its code. */
function visible(text: string): string {
  return text.replace(/[^\P{C}\n\t]/gu, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);
}

function describeEstimate(estimate: JobEstimate): string {
  const { tokens, memory, memoryUnknown, time, timeByFormula = [] } = estimate; // an older server sends none
  const held = estimate.evalExamples > 0 ? `, ${formatCount(estimate.evalExamples)} held out` : '';
  const about = tokens?.basis === 'SAMPLED' ? 'about ' : '';
  return formatFields([
    ['Examples', `${formatCount(estimate.trainExamples)} to train on${held}`],
    ['Steps', `${formatCount(estimate.totalSteps)} (${formatCount(estimate.stepsPerEpoch)} an epoch)`],
    [
      'Tokens',
      tokens
        ? `${about}${formatCount(tokens.total)} over all epochs, ${about}${formatCount(tokens.trained)} trained; ` +
          `${tokens.tokensPerExample} an example, at most ${formatCount(tokens.longestExample)} (${formatCount(tokens.rows)} rows counted)`
        : 'not known',
    ],
    ...(tokens && tokens.truncatedShare > 0 ? [['Cut', `${percent(tokens.truncatedShare)} of the examples`] as [string, string]] : []),
    ...(tokens && tokens.droppedShare > 0
      ? [['Left out', `${percent(tokens.droppedShare)} of the examples keep nothing to train on`] as [string, string]]
      : []),
    ['Adapter', memory ? `${formatCount(memory.trainableParameters)} parameters, ${formatSize(memory.adapterBytes)}` : undefined],
    [
      'GPU memory',
      memory
        ? `LoRA ${memory.lora.leastGib} to ${memory.lora.usualGib} GiB, QLoRA ${memory.qlora.leastGib} to ${memory.qlora.usualGib} GiB; ` +
          `this job: ${memory.method === 'LORA' ? 'LoRA' : 'QLoRA'}`
        : `not known: ${memoryUnknown}`,
    ],
    [
      'Fits on',
      memory
        ? memory.cards.map(({ gib, fits }) => `${gib} GiB: ${{ LORA: 'LoRA', QLORA: 'QLoRA only', NEITHER: 'no' }[fits]}`).join(', ')
        : undefined,
    ],
    [
      'Training time',
      time.length > 0
        ? undefined
        : timeByFormula.length === 0
          ? 'unknown: no finished job of this base model to measure'
          : `${timeByFormula.map(({ card, seconds }) => `${formatDuration(seconds)} on one ${card}`).join(', ')} (by the model's size; nothing measured yet)`,
    ],
    ...time.map(({ device, seconds, cost, jobs }): [string, string] => [
      'Training time',
      `${formatDuration(seconds)} on ${plainText(device)}${cost ? `, ${cost.units}.${String(cost.nanos / 10_000_000).padStart(2, '0')} ${cost.currencyCode}` : ''} (as measured on ${jobs} ${jobs === 1 ? 'job' : 'jobs'})`,
    ]),
  ]);
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(1))} %`;
}
