/**
 * Renders a whole dataset into `train.jsonl` and `eval.jsonl`, in a process of its own.
 *
 * Templates come from strangers. The engine bounds their work, and the process bounds the rest: it has no environment, a ceiling on its
 * memory, and a watchdog that kills it when a row makes no progress. Whatever a template does, the caller goes on.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { RenderedExample } from '../schemas/trainerProtocol.js';
import { PROBLEMS, type Problem } from './problems.js';
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
  trainSha256: string;
  evalSha256: string;
  /** textClassification: every label, sorted. */
  labels?: string[];
  /** Any of these, and the files are not to be used (they may be missing). */
  problems: Problem[];
  warnings: Problem[];
  /** The first examples of the dataset. */
  sample: RenderedExample[];
};

export type RenderProgress = { rows: number; bytes: number; totalBytes: number };

/** The first rows of a dataset, rendered: to look at, or to try a template before a job is made. */
export type PreviewRequest = RowTemplates & { datasetPath: string; rows: number };
export type Preview = Pick<RenderResult, 'problems' | 'warnings'> & { examples: RenderedExample[] };

type Options = { signal?: AbortSignal; onProgress?: (progress: RenderProgress) => void };

/** What the process is asked, and what it says; see renderProcess.ts. */
export type ProcessRequest = { work: 'set'; request: RenderRequest } | { work: 'preview'; request: PreviewRequest };
export type ProcessMessage =
  | { progress: RenderProgress; line: number }
  | { result: RenderResult | Preview }
  /** Not the template's fault: a file that cannot be read, a full disk. */
  | { failure: string };

/** Most memory of the process: its JavaScript heap, and all of its data. */
const HEAP_MB = 384;
const DATA_BYTES = 900_000_000;
/** Longest time from the start to the first sign of life, and from one to the next. A row takes far less than a second. */
const START_MS = 60_000;
const SILENCE_MS = 15_000;

const PRLIMIT = ['/usr/bin/prlimit', '/bin/prlimit'].find((path) => existsSync(path));

/** Rejects on failures that are nobody's mistake (and may be retried), and when `signal` aborts; problems of rows are a result. */
export async function renderSet(request: RenderRequest, options: Options = {}): Promise<RenderResult> {
  const outcome = await runProcess({ work: 'set', request }, options);
  if ('result' in outcome) return outcome.result as RenderResult;
  return { trainExamples: 0, evalExamples: 0, trainSha256: '', evalSha256: '', problems: [outcome.killed], warnings: [], sample: [] };
}

export async function previewRows(request: PreviewRequest, options: Options = {}): Promise<Preview> {
  const outcome = await runProcess({ work: 'preview', request }, options);
  return 'result' in outcome ? (outcome.result as Preview) : { problems: [outcome.killed], warnings: [], examples: [] };
}

type Outcome = { result: RenderResult | Preview } | { killed: Problem };

function runProcess(message: ProcessRequest, { signal, onProgress }: Options): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const child = startProcess();
    let line = 0;
    let killedFor: string | undefined;
    let answer: Outcome | Error | undefined;
    let complaint = '';

    const kill = (reason?: string): void => {
      killedFor = reason;
      child.kill('SIGKILL');
    };
    let watchdog = setTimeout(() => kill('time'), START_MS);
    const onAbort = (): void => kill();
    signal?.addEventListener('abort', onAbort);

    child.stderr!.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-2000)));
    child.on('message', (said: ProcessMessage) => {
      clearTimeout(watchdog);
      if ('progress' in said) {
        watchdog = setTimeout(() => kill('time'), SILENCE_MS);
        line = said.line;
        onProgress?.(said.progress);
      } else answer = 'result' in said ? said : new Error(said.failure);
    });
    child.on('error', (error) => (answer ??= error));
    child.on('close', (code, exitSignal) => {
      clearTimeout(watchdog);
      signal?.removeEventListener('abort', onAbort);
      if (signal?.aborted) return reject(signal.reason as Error);
      if (answer instanceof Error) return reject(answer);
      if (answer) return resolve(answer);
      const isMemory =
        exitSignal === 'SIGABRT' || exitSignal === 'SIGTRAP' || code === 134 || /heap out of memory|allocation failed/i.test(complaint);
      if (message.request.kind === 'conversation' && (killedFor || isMemory)) {
        return resolve({ killed: explainKill(killedFor ? `more than ${SILENCE_MS / 1000} s` : 'too much memory', line) });
      }
      reject(
        new Error(`the rendering process ended with ${exitSignal ?? `code ${code}`} after line ${line}: ${complaint.trim().slice(-500)}`),
      );
    });
    child.send(message);
  });
}

function explainKill(found: string, line: number): Problem {
  return {
    code: 'TEMPLATE_LIMIT',
    message: PROBLEMS.TEMPLATE_LIMIT,
    count: 1,
    places: [{ line: line + 1, found: `the template took ${found} here` }],
  };
}

function startProcess(): ChildProcess {
  const node = [`--max-old-space-size=${HEAP_MB}`, '--disallow-code-generation-from-strings', '--import', import.meta.resolve('tsx')];
  return fork(fileURLToPath(new URL('./renderProcess.ts', import.meta.url)), {
    execPath: PRLIMIT ?? process.execPath,
    execArgv: PRLIMIT ? [`--data=${DATA_BYTES}`, process.execPath, ...node] : node,
    env: {},
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    serialization: 'json',
  });
}
