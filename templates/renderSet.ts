/**
 * Renders a whole dataset into a set of examples (schemas/trainerProtocol.ts), in processes of its own (renderingProcess.ts).
 *
 * The dataset is cut into byte ranges by its size alone. Each process renders one range after the other into a file of its own, which
 * stays as it is; then one of them decides which examples are held back. So the files are the same whatever the number of processes, and
 * an example is written once, or twice where it is held back.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import type { ByteRange } from '../datasets/blocks.js';
import { withTimeLimit } from '../schemas/timeLimit.js';
import type { RenderedExample, RenderedSet } from '../schemas/trainerProtocol.js';
import type { WrittenFile } from './holdOut.js';
import { PROBLEMS, ProblemTally, WARNINGS, mergeProblems, type Problem } from './problems.js';
import { ProcessKilled, startRenderingProcess, type RenderingProcess } from './renderingProcess.js';
import { SAMPLE_EXAMPLES, type PartProgress, type PartRequest, type PartResult, type Preview, type PreviewRequest } from './renderPart.js';
import type { RowTemplates } from './renderRow.js';

export type RenderRequest = RowTemplates & {
  /** A validated JSONL file. */
  datasetPath: string;
  /** Share of the examples to hold back; 0: none; 1: all, in the order of the dataset. */
  evaluationSplit: number;
  seed: number;
  /** An existing folder for the files of the set, and `eval.jsonl` (empty when nothing is held back). */
  outputFolder: string;
};

export type RenderResult = {
  trainExamples: number;
  evalExamples: number;
  /** Absent where there are problems. */
  set?: RenderedSet;
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
/** Bytes of the dataset in a range: a sixteenth, but not less than a process can render while another starts. */
const MIN_RANGE_BYTES = 8 * 1024 * 1024;
const MAX_RANGE_BYTES = 64 * 1024 * 1024;
const RANGES = 16;

/** Rejects on failures that are nobody's mistake (and may be retried), and when `signal` aborts; problems of rows are a result. */
export async function renderSet(request: RenderRequest, options: Options = {}): Promise<RenderResult> {
  const { signal } = options;
  const { size } = await stat(request.datasetPath);
  const ranges = planRanges(size);
  const wanted = options.processes ?? Math.min(availableParallelism(), DEFAULT_MAX_PROCESSES);
  const parts = planParts(request, ranges);
  const onProgress = addUp(parts, size, options.onProgress);
  try {
    const result = await withProcesses(Math.max(1, Math.min(wanted, parts.length)), signal, async (processes) => {
      await countLinesBefore(processes, request.datasetPath, parts);
      const results = await renderParts(processes, parts, onProgress, signal);
      const merged = mergeResults(request, results);
      return merged.problems.length > 0 ? merged : await holdOutOf(processes[0]!, request, parts, results, merged);
    });
    if (!result.set) removeParts(parts);
    return result;
  } catch (error) {
    removeParts(parts);
    return { trainExamples: 0, evalExamples: 0, problems: [explainKill(request, error)], warnings: [], sample: [] };
  } finally {
    for (const { indexPath } of parts) rmSync(indexPath, { force: true });
  }
}

function removeParts(parts: PartRequest[]): void {
  for (const { partPath } of parts) rmSync(partPath, { force: true });
}

/** Each process takes the next part when it is done with one. */
async function renderParts(
  processes: RenderingProcess[],
  parts: PartRequest[],
  onProgress: (index: number, progress: PartProgress) => void,
  signal: AbortSignal | undefined,
): Promise<PartResult[]> {
  const results: PartResult[] = [];
  const waiting = parts.entries();
  await Promise.all(
    processes.map(async (process) => {
      for (const [index, part] of waiting) {
        results[index] = await process
          .ask({ work: 'part', request: part }, (progress) => onProgress(index, progress))
          .catch((error: unknown) => locateKill(part, error, signal));
      }
    }),
  );
  return results;
}

/** Fills in how many lines are before each part. */
async function countLinesBefore(processes: RenderingProcess[], datasetPath: string, parts: PartRequest[]): Promise<void> {
  if (parts.length === 1) return;
  const share = Math.ceil(parts.length / processes.length);
  const counted = await Promise.all(
    processes.map((process, index) =>
      process.ask({ work: 'countLines', request: { datasetPath, ranges: parts.slice(index * share, (index + 1) * share) } }),
    ),
  );
  let lines = 0;
  for (const [index, count] of counted.flat().entries()) {
    parts[index]!.linesBefore = lines;
    lines += count;
  }
}

/** `deadlineMs`: longest time of the whole; a template that takes longer has the problem TEMPLATE_LIMIT. */
export async function previewRows(
  request: PreviewRequest,
  { signal, deadlineMs }: Pick<Options, 'signal'> & { deadlineMs?: number } = {},
): Promise<Preview> {
  const preview = (signal?: AbortSignal) => withProcesses(1, signal, ([only]) => only!.ask({ work: 'preview', request }));
  try {
    if (deadlineMs === undefined) return await preview(signal);
    return await withTimeLimit(deadlineMs, signal, preview, new ProcessKilled(`more than ${deadlineMs / 1000} s`, undefined));
  } catch (error) {
    return { examples: [], problems: [explainKill(request, error)], warnings: [], rows: [] };
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

function planRanges(size: number): ByteRange[] {
  const rangeBytes = Math.min(Math.max(Math.ceil(size / RANGES), MIN_RANGE_BYTES), MAX_RANGE_BYTES);
  return Array.from({ length: Math.max(1, Math.ceil(size / rangeBytes)) }, (_, index) => ({
    start: index * rangeBytes,
    end: Math.min((index + 1) * rangeBytes, size),
  }));
}

function planParts(request: RenderRequest, ranges: ByteRange[]): PartRequest[] {
  const { evaluationSplit: _, outputFolder, ...rest } = request;
  return ranges.map(({ start, end }, index) => ({
    ...rest,
    start,
    end,
    linesBefore: 0,
    partPath: path.join(outputFolder, partName(index)),
    indexPath: path.join(outputFolder, `${partName(index)}.tmp`),
  }));
}

function partName(index: number): string {
  return `examples-${String(index).padStart(5, '0')}.jsonl`;
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
  const { byteOffset: start, line } = error.progress;
  const request = { ...part, start, linesBefore: line - 1, reportsEveryRow: true };
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
  else if (problems.length === 0 && examples === 1 && request.evaluationSplit > 0 && request.evaluationSplit < 1)
    more.add('TOO_FEW_ROWS', undefined, '');
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

async function holdOutOf(
  process: RenderingProcess,
  { evaluationSplit, outputFolder }: RenderRequest,
  parts: PartRequest[],
  results: PartResult[],
  merged: RenderResult,
): Promise<RenderResult> {
  const { overlaps, evalExamples, index, ...held } = await process.ask({
    work: 'holdOut',
    request: {
      parts: parts.map(({ partPath, indexPath }, at) => ({ partPath, indexPath, examples: results[at]!.examples })),
      evaluationSplit,
      indexPath: path.join(outputFolder, 'index.bin'),
      evalPath: path.join(outputFolder, 'eval.jsonl'),
    },
  });
  const warnings = new ProblemTally(WARNINGS);
  if (overlaps) warnings.add('EVALUATION_OVERLAPS', undefined, '');
  const files = results.map(({ examples, sha256, sizeBytes }, at) => ({ name: partName(at), examples, sha256, sizeBytes }));
  const set: RenderedSet = { version: 1, files, index, heldOut: evalExamples };
  writeFileSync(path.join(outputFolder, 'set.json'), JSON.stringify(set));
  const trainExamples = merged.trainExamples - evalExamples;
  return { ...merged, trainExamples, evalExamples, set, ...held, warnings: [...merged.warnings, ...warnings.list()] };
}
