/**
 * Renders a whole dataset into `train.jsonl` and `eval.jsonl`, in processes of its own (renderingProcess.ts).
 *
 * Each process renders one byte range of the dataset into a part of its own; then one of them deals the examples of all parts out. The
 * files are the same whatever the number of processes.
 */
import { rmSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import type { RenderedExample } from '../schemas/trainerProtocol.js';
import type { WrittenFile } from './dealExamples.js';
import { PROBLEMS, ProblemTally, WARNINGS, mergeProblems, type Problem } from './problems.js';
import { ProcessKilled, startRenderingProcess, type RenderingProcess } from './renderingProcess.js';
import { SAMPLE_EXAMPLES, type PartProgress, type PartRequest, type PartResult, type Preview, type PreviewRequest } from './renderPart.js';
import type { RowTemplates } from './renderRow.js';

export type RenderRequest = RowTemplates & {
  /** A validated JSONL file. */
  datasetPath: string;
  /** Share of the examples to hold back; 0: none. */
  evaluationSplit: number;
  seed: number;
  /** An existing folder for `train.jsonl` and `eval.jsonl` (empty when nothing is held back). */
  outputFolder: string;
};

export type RenderResult = {
  trainExamples: number;
  evalExamples: number;
  /** Absent where there are problems. */
  train?: WrittenFile;
  eval?: WrittenFile;
  /** textClassification: every label, sorted. */
  labels?: string[];
  /** Any of these, and there are no files. */
  problems: Problem[];
  warnings: Problem[];
  /** The first examples of the dataset. */
  sample: RenderedExample[];
};

export type RenderProgress = { rows: number; bytes: number; totalBytes: number };
export type { Preview, PreviewedRow, PreviewRequest } from './renderPart.js';

type Options = {
  signal?: AbortSignal;
  onProgress?: (progress: RenderProgress) => void;
  /** Most processes at once. Default: one a core, at most 8. */
  processes?: number;
};

const DEFAULT_MAX_PROCESSES = 8;
/** A process takes as long to start as it takes to render about this much. */
const MIN_PART_BYTES = 8 * 1024 * 1024;

/** Rejects on failures that are nobody's mistake (and may be retried), and when `signal` aborts; problems of rows are a result. */
export async function renderSet(request: RenderRequest, options: Options = {}): Promise<RenderResult> {
  const { signal } = options;
  const { size } = await stat(request.datasetPath);
  const wanted = options.processes ?? Math.min(availableParallelism(), DEFAULT_MAX_PROCESSES);
  const parts = planParts(request, size, Math.max(1, Math.min(wanted, Math.ceil(size / MIN_PART_BYTES))));
  const onProgress = addUp(parts, size, options.onProgress);
  try {
    return await withProcesses(parts.length, signal, async (processes) => {
      const results = await Promise.all(
        parts.map((part, index) =>
          processes[index]!.ask({ work: 'part', request: part }, (progress) => onProgress(index, progress)).catch((error: unknown) =>
            locateKill(part, error, signal),
          ),
        ),
      );
      const merged = mergeResults(request, results);
      return merged.problems.length > 0 ? merged : await deal(processes[0]!, request, parts, results, merged);
    });
  } catch (error) {
    return { trainExamples: 0, evalExamples: 0, problems: [explainKill(request, error)], warnings: [], sample: [] };
  } finally {
    for (const { partPath, indexPath } of parts) for (const file of [partPath, indexPath]) rmSync(file, { force: true });
  }
}

/** `deadlineMs`: longest time of the whole; a template that takes longer has the problem TEMPLATE_LIMIT. */
export async function previewRows(
  request: PreviewRequest,
  { signal, deadlineMs }: Pick<Options, 'signal'> & { deadlineMs?: number } = {},
): Promise<Preview> {
  const late = new AbortController();
  const deadline =
    deadlineMs === undefined
      ? undefined
      : setTimeout(() => late.abort(new ProcessKilled(`more than ${deadlineMs / 1000} s`, undefined)), deadlineMs);
  try {
    const either = signal ? AbortSignal.any([signal, late.signal]) : late.signal;
    return await withProcesses(1, either, ([only]) => only!.ask({ work: 'preview', request }));
  } catch (error) {
    return { examples: [], problems: [explainKill(request, error)], warnings: [], rows: [] };
  } finally {
    clearTimeout(deadline);
  }
}

/** Ends the processes when the work is done, has failed, or is aborted. */
async function withProcesses<T>(
  count: number,
  signal: AbortSignal | undefined,
  work: (processes: RenderingProcess[]) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const processes = Array.from({ length: count }, startRenderingProcess);
  const onAbort = (): void => processes.forEach((each) => void each.end(signal!.reason as Error));
  signal?.addEventListener('abort', onAbort);
  try {
    return await work(processes);
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await Promise.all(processes.map((each) => each.end(new Error('the work is done'))));
  }
}

function planParts(request: RenderRequest, size: number, count: number): PartRequest[] {
  const { evaluationSplit: _, outputFolder, ...rest } = request;
  return Array.from({ length: count }, (_part, index) => ({
    ...rest,
    start: Math.floor((size * index) / count),
    end: Math.floor((size * (index + 1)) / count),
    partPath: path.join(outputFolder, `part-${index}.tmp`),
    indexPath: path.join(outputFolder, `index-${index}.tmp`),
  }));
}

/** The progress of all parts as that of the whole. */
function addUp(
  parts: PartRequest[],
  totalBytes: number,
  onProgress: Options['onProgress'],
): (index: number, progress: PartProgress) => void {
  const rows = parts.map(() => 0);
  const bytes = parts.map(() => 0);
  const sum = (numbers: number[]): number => numbers.reduce((total, each) => total + each, 0);
  return (index, progress) => {
    rows[index] = progress.rows;
    bytes[index] = progress.byteOffset - parts[index]!.start;
    onProgress?.({ rows: sum(rows), bytes: sum(bytes), totalBytes });
  };
}

/** A killed process has last told of a line shortly before the one it was killed for; going on from there line by line finds it. */
async function locateKill(part: PartRequest, error: unknown, signal: AbortSignal | undefined): Promise<never> {
  if (!(error instanceof ProcessKilled) || !error.progress) throw error;
  const request = { ...part, start: error.progress.byteOffset, reportsEveryRow: true };
  await withProcesses(1, signal, ([only]) => only!.ask({ work: 'part', request }));
  throw error;
}

/** What a template did to its process is a problem of the template; anything else stays an error. */
function explainKill({ kind }: RowTemplates, error: unknown): Problem {
  if (!(error instanceof ProcessKilled) || kind !== 'conversation') throw error;
  const found = `the template took ${error.reason} here`;
  return { code: 'TEMPLATE_LIMIT', message: PROBLEMS.TEMPLATE_LIMIT, count: 1, places: [{ line: error.progress?.line ?? 1, found }] };
}

function mergeResults(request: RenderRequest, results: PartResult[]): RenderResult {
  const problems = mergeProblems(results.map((result) => result.problems));
  const examples = results.reduce((sum, result) => sum + result.examples, 0);
  const labels = [...new Set(results.flatMap((result) => result.labels))].sort();
  const more = new ProblemTally(PROBLEMS);
  if (problems.length === 0 && results.every(({ rows }) => rows === 0)) more.add('NO_ROWS', undefined, '');
  else if (problems.length === 0 && examples === 1 && request.evaluationSplit > 0) more.add('TOO_FEW_ROWS', undefined, '');
  const warnings = new ProblemTally(WARNINGS);
  if (labels.length === 1) warnings.add('ONE_LABEL', undefined, '');
  return {
    trainExamples: examples,
    evalExamples: 0,
    ...(request.kind === 'textClassification' && { labels }),
    problems: [...problems, ...more.list()],
    warnings: [...mergeProblems(results.map((result) => result.warnings)), ...warnings.list()],
    sample: results.flatMap((result) => result.sample).slice(0, SAMPLE_EXAMPLES),
  };
}

async function deal(
  dealer: RenderingProcess,
  { evaluationSplit, outputFolder }: RenderRequest,
  parts: PartRequest[],
  results: PartResult[],
  merged: RenderResult,
): Promise<RenderResult> {
  const { overlaps, ...dealt } = await dealer.ask({
    work: 'deal',
    request: {
      parts: parts.map(({ partPath, indexPath }, index) => ({ partPath, indexPath, examples: results[index]!.examples })),
      evaluationSplit,
      trainPath: path.join(outputFolder, 'train.jsonl'),
      evalPath: path.join(outputFolder, 'eval.jsonl'),
    },
  });
  const warnings = new ProblemTally(WARNINGS);
  if (overlaps) warnings.add('EVALUATION_OVERLAPS', undefined, '');
  return { ...merged, ...dealt, warnings: [...merged.warnings, ...warnings.list()] };
}
