/** What a job will train on, row by row, and what it will take: rendered and counted as the worker and the trainer will do it. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { estimateJob, type EstimatedSettings, type JobEstimate, type TokenSample } from '../estimates/jobEstimate.js';
import { TemperError } from '../schemas/errors.js';
import type { Prices, Throughput } from '../schemas/prices.js';
import type { Segment } from '../schemas/trainerProtocol.js';
import { PROBLEMS, WARNINGS } from '../templates/problems.js';
import { previewRows, type Preview, type PreviewedRow } from '../templates/renderSet.js';
import type { TaskTemplates } from '../templates/taskTemplates.js';
import { countExamples, type ExampleTokens } from '../tokens/countTokens.js';
import type { TokenizerSources } from '../tokens/tokenizer.js';
import { TokenizerUnsupported } from '../tokens/tokenizerRules.js';
import { chooseRows, type ChosenRow, type ChosenRows, type RowReader } from './chooseRows.js';

/** Both are fit for a request. */
const RENDER_DEADLINE_MS = 20_000;
const TOKENS_DEADLINE_MS = 30_000;

export interface PreviewInput {
  settings: EstimatedSettings;
  templates: TaskTemplates;
  reader: RowReader;
  /** Rows of the dataset. */
  examples: number;
  rows: number;
  /** Lines to show instead of the first rows; empty: none given. */
  lines: number[];
  /** Of the base model, or why they could not be had. */
  sources: TokenizerSources | { unavailable: string };
  throughput: Throughput[];
  prices: Prices | null;
  /** Made, and removed again. */
  folder: string;
  signal?: AbortSignal;
}

export interface RowWarning {
  code: string;
  message: string;
  found?: string;
}
export interface RenderedPreviewRow {
  line: number;
  /** `[text, trained]`, in order; together the text that the model sees. */
  segments: [text: string, trained: boolean][];
  label?: string;
  /** After the cut-off; absent where tokens are not counted. */
  tokens?: number;
  trainedTokens?: number;
  /** The cut-off takes some of its tokens away. */
  truncated?: boolean;
  warnings: RowWarning[];
}
export interface FailedPreviewRow {
  line: number;
  error: { code: string; message: string; found: string; field?: string };
}
export type PreviewRow = RenderedPreviewRow | FailedPreviewRow;

export interface JobPreview {
  /** Whose template renders the rows: job, baseModel, family or generic. */
  template: string;
  rows: PreviewRow[];
  tokenCounts: 'EXACT' | 'UNAVAILABLE';
  /** Why tokens are not counted. */
  tokenCountsReason?: string;
  /** Rows looked at beside those shown, and how many of them do not render, by kind. */
  sample: { rows: number; problems: { code: string; message: string; count: number; lines: number[] }[] };
  estimate: JobEstimate;
}

/** @throws TemperError for a template that works on no row, and for lines that are not there */
export async function previewJob(input: PreviewInput): Promise<JobPreview> {
  const { settings, templates, reader, sources, signal } = input;
  const { kind } = templates.template;
  const chosen = await chooseRows(reader, input);
  const places = arrange(chosen);
  const preview = await renderRows(input, places);
  const rendered = preview.rows.map((row) => ('segments' in row ? row.segments : null));
  const examples = rendered.filter((segments) => segments !== null);
  let counts: (ExampleTokens | undefined)[] = [];
  let reason = 'unavailable' in sources ? sources.unavailable : undefined;
  if (!('unavailable' in sources)) {
    try {
      const work = { kind, cutoffLength: settings.cutoffLength, examples };
      const counted = (await countExamples(sources, work, { deadlineMs: TOKENS_DEADLINE_MS, signal }))[Symbol.iterator]();
      counts = rendered.map((segments) => (segments === null ? undefined : (counted.next().value as ExampleTokens)));
    } catch (error) {
      if (!(error instanceof TokenizerUnsupported)) throw error;
      reason = `The base model's tokenizer cannot be used for counting: ${error.message}.`;
    }
  }
  const sampled = places.map(({ row }, index) => ({ row, counts: counts[index] })).slice(0, chosen.sample.length);
  const modelConfig = 'unavailable' in sources ? null : parseConfig(sources['config.json']);
  const { throughput, prices, examples: datasetExamples } = input;
  const sample = reason === undefined ? summarise(sampled, chosen.sampled, reader.sizeBytes, datasetExamples) : null;
  return {
    template: templates.origin,
    rows: chosen.shown.map((row) => {
      const index = places.findIndex((place) => place.row === row || (row.line !== null && place.row.line === row.line));
      return viewRow(row.line ?? 0, preview.rows[index]!, counts[index], settings.cutoffLength, kind === 'conversation');
    }),
    tokenCounts: reason === undefined ? 'EXACT' : 'UNAVAILABLE',
    ...(reason === undefined ? {} : { tokenCountsReason: reason }),
    sample: { rows: chosen.sample.length, problems: sampleProblems(places.slice(0, chosen.sample.length), preview.rows) },
    estimate: estimateJob({ settings, examples: datasetExamples, sample, modelConfig, throughput, prices }),
  };
}

/** Rows by their line in the rendered file: the sample, which begins with the dataset's first row, then what is shown beside it. */
function arrange({ shown, sample }: ChosenRows): { row: ChosenRow }[] {
  const known = new Set(sample.map(({ line }) => line).filter((line) => line !== null));
  const more = shown.filter(({ line }) => line === null || !known.has(line));
  return [...sample, ...more].map((row) => ({ row }));
}

async function renderRows({ templates, folder, signal }: PreviewInput, places: { row: ChosenRow }[]): Promise<Preview> {
  await mkdir(folder, { recursive: true });
  try {
    const datasetPath = path.join(folder, 'rows.jsonl');
    await writeFile(datasetPath, places.map(({ row }) => `${row.text}\n`).join(''));
    const preview = await previewRows(
      { ...templates.template, datasetPath, rows: places.length },
      { deadlineMs: RENDER_DEADLINE_MS, signal },
    );
    if (preview.rows.length < places.length) throw templateFailure(preview, places);
    return preview;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The template cannot go on, whatever the row: it does not compile, or it takes too much. */
function templateFailure({ problems }: Preview, places: { row: ChosenRow }[]): TemperError {
  const [problem] = problems;
  const code = problem?.code === 'TEMPLATE_LIMIT' ? 'TEMPLATE_TOO_EXPENSIVE' : 'TEMPLATE_INVALID';
  const place = problem?.places[0];
  const line = place && places[place.line - 1]?.row.line;
  const where = place && line ? ` (line ${line} of the dataset: ${place.found})` : '';
  const message = `The template does not work on this dataset: ${problem?.message ?? 'it gives no rows.'}${where}`;
  return new TemperError(code, message, [{ reason: problem?.code ?? code, message: problem?.message, ...(line ? { line } : {}) }]);
}

function viewRow(
  line: number,
  row: PreviewedRow,
  counts: ExampleTokens | undefined,
  cutoffLength: number,
  isConversation: boolean,
): PreviewRow {
  if ('problem' in row) {
    const { code, found, field } = row.problem;
    return { line, error: { code, message: PROBLEMS[code], found, ...(field !== undefined ? { field } : {}) } };
  }
  const warnings: RowWarning[] = row.warnings.map(({ code, found }) => ({ code, message: WARNINGS[code], found }));
  if (counts && counts.cutTokens > 0) {
    const lost = isConversation ? 'its end is' : 'the beginning of the prompt, or the end of a very long answer, is';
    const message = `The example has ${counts.tokens + counts.cutTokens} tokens, more than the cut-off of ${cutoffLength}: ${lost} cut off.`;
    warnings.push({ code: 'EXAMPLE_TRUNCATED', message });
  }
  if (counts?.trainedTokens === 0)
    warnings.push({
      code: 'EXAMPLE_DROPPED',
      message: 'Within the cut-off no token is left to train on: training leaves the example out.',
    });
  return {
    line,
    segments: joinSegments(row.segments),
    ...(row.label !== undefined ? { label: row.label } : {}),
    ...(counts ? { tokens: counts.tokens, trainedTokens: counts.trainedTokens, truncated: counts.cutTokens > 0 } : {}),
    warnings,
  };
}

function joinSegments(segments: readonly Segment[]): [string, boolean][] {
  const joined: [string, boolean][] = [];
  for (const [text, trained] of segments) {
    const last = joined.at(-1);
    if (last?.[1] === trained) last[0] += text;
    else if (text !== '') joined.push([text, trained]);
  }
  return joined;
}

function sampleProblems(places: { row: ChosenRow }[], rows: PreviewedRow[]): JobPreview['sample']['problems'] {
  const problems = new Map<string, JobPreview['sample']['problems'][number]>();
  for (const [index, { row }] of places.entries()) {
    const previewed = rows[index]!;
    if (!('problem' in previewed)) continue;
    const { code } = previewed.problem;
    const problem = problems.get(code) ?? { code, message: PROBLEMS[code], count: 0, lines: [] };
    problem.count++;
    if (row.line !== null && problem.lines.length < 20) problem.lines.push(row.line);
    problems.set(code, problem);
  }
  return [...problems.values()];
}

/** Rows at places of the file: tokens a byte, times the file's bytes; else plain means. Rows that do not render are left out. */
function summarise(
  sampled: { row: ChosenRow; counts: ExampleTokens | undefined }[],
  mode: ChosenRows['sampled'],
  sizeBytes: number,
  examples: number,
): TokenSample {
  const counted = sampled.filter(({ counts }) => counts !== undefined) as { row: ChosenRow; counts: ExampleTokens }[];
  const kept = counted.filter(({ counts }) => counts.trainedTokens > 0);
  const sum = (rows: typeof counted, value: (row: (typeof counted)[number]) => number) =>
    rows.reduce((total, row) => total + value(row), 0);
  const bytes = sum(kept, ({ row }) => Buffer.byteLength(row.text) + 1);
  const perExample = (total: number): number => {
    if (kept.length === 0) return 0;
    const mean = mode === 'BYTES' && examples > 0 ? ((total / bytes) * sizeBytes) / examples : total / kept.length;
    return Math.round(mean * 10) / 10;
  };
  const share = (count: number): number => (counted.length === 0 ? 0 : Math.round((count / counted.length) * 1000) / 1000);
  return {
    exact: mode === 'ALL',
    rows: counted.length,
    tokensPerExample: perExample(sum(kept, ({ counts }) => counts.tokens)),
    trainedPerExample: perExample(sum(kept, ({ counts }) => counts.trainedTokens)),
    longestExample: Math.max(0, ...kept.map(({ counts }) => counts.tokens)),
    truncatedShare: share(counted.filter(({ counts }) => counts.cutTokens > 0).length),
    droppedShare: share(counted.length - kept.length),
  };
}

function parseConfig(text: string | null): Record<string, unknown> | null {
  try {
    const value: unknown = text === null ? null : JSON.parse(text);
    return typeof value === 'object' ? (value as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}
