/**
 * A process that renders.
 *
 * Templates come from strangers. The engine bounds their work, and the process bounds the rest: it has no environment, makes no code of
 * strings, has a ceiling on its memory, and dies when it gives no sign of life, or when the process that started it dies. Whatever a
 * template does, the caller goes on.
 */
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { compiledEntry } from '../processes/compiled.js';
import type { ByteRange } from '../datasets/blocks.js';
import type { HoldOutRequest, HoldOutResult } from './holdOut.js';
import type { PartProgress, PartRequest, PartResult, Preview, PreviewRequest } from './renderPart.js';

/** How many lines begin in each of the ranges. */
export type CountRequest = { datasetPath: string; ranges: ByteRange[] };
export type ProcessRequest =
  | { work: 'countLines'; request: CountRequest }
  | { work: 'part'; request: PartRequest }
  | { work: 'holdOut'; request: HoldOutRequest }
  | { work: 'preview'; request: PreviewRequest };
export type ProcessMessage =
  /** A sign of life, with how far the work is where that is known. */
  | { progress: PartProgress | null }
  | { result: number[] | PartResult | HoldOutResult | Preview }
  /** Not the template's fault: a file that cannot be read, a full disk. */
  | { failure: string };

/** The process was killed for what a template did: `reason` completes "the template took …". */
export class ProcessKilled extends Error {
  constructor(
    readonly reason: string,
    readonly progress: PartProgress | undefined,
  ) {
    super(`the rendering process was killed: ${reason}`);
  }
}

/** Most memory of the process: its JavaScript heap, and all of its data. */
const HEAP_MB = 384;
const DATA_BYTES = 900_000_000;
/** Longest time from the start to the first sign of life, and from one to the next. A row takes far less than a second. */
const START_MS = 60_000;
const SILENCE_MS = 15_000;

export type RenderingProcess = {
  /** One request at a time. Rejects with ProcessKilled, or with a failure that is nobody's mistake and may be retried. */
  ask(message: { work: 'part'; request: PartRequest }, onProgress?: (progress: PartProgress) => void): Promise<PartResult>;
  ask(message: { work: 'preview'; request: PreviewRequest }): Promise<Preview>;
  ask(message: { work: 'countLines'; request: CountRequest }): Promise<number[]>;
  ask(message: { work: 'holdOut'; request: HoldOutRequest }): Promise<HoldOutResult>;
  /** Ends it, whatever it does, and waits for its end; what it was asked rejects with the reason. */
  end(reason: Error): Promise<void>;
};

export function startRenderingProcess(): RenderingProcess {
  const child = start();
  let complaint = '';
  let waiting: { resolve: (result: never) => void; reject: (reason: Error) => void } | undefined;
  let onProgress: ((progress: PartProgress) => void) | undefined;
  let progress: PartProgress | undefined;
  let watchdog: NodeJS.Timeout | undefined;
  let ended: Error | undefined;
  let isSilent = false;

  const settle = (use: (settled: NonNullable<typeof waiting>) => void): void => {
    clearTimeout(watchdog);
    const settled = waiting;
    waiting = undefined;
    if (settled) use(settled);
  };
  const watch = (timeMs: number): void => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => {
      isSilent = true;
      child.kill('SIGKILL');
    }, timeMs);
  };
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-2000)));
  child.on('message', (said: ProcessMessage) => {
    if ('progress' in said) {
      watch(SILENCE_MS);
      progress = said.progress ?? progress;
      if (said.progress) onProgress?.(said.progress);
    } else settle(({ resolve, reject }) => ('result' in said ? resolve(said.result as never) : reject(new Error(said.failure))));
  });
  const closed = new Promise<void>((resolve) => {
    child.on('error', (error) => {
      ended ??= error;
      settle(({ reject }) => reject(error));
      // What did not start does not close.
      if (child.pid === undefined) resolve();
    });
    child.on('close', (code, signal) => {
      ended ??= explainEnd(code, signal, complaint, isSilent, progress);
      settle(({ reject }) => reject(ended!));
      resolve();
    });
  });
  return {
    ask: (message: ProcessRequest, listener?: (progress: PartProgress) => void) =>
      new Promise<never>((resolve, reject) => {
        if (ended) return reject(ended);
        waiting = { resolve, reject };
        onProgress = listener;
        watch(START_MS);
        child.send(message, (error) => error && settle((settled) => settled.reject(ended ?? error)));
      }),
    end: (reason) => {
      ended ??= reason;
      child.kill('SIGKILL');
      return closed;
    },
  };
}

function explainEnd(
  code: number | null,
  signal: NodeJS.Signals | null,
  complaint: string,
  isSilent: boolean,
  progress: PartProgress | undefined,
): Error {
  if (isSilent) return new ProcessKilled(`more than ${SILENCE_MS / 1000} s`, progress);
  const isMemory = signal === 'SIGABRT' || signal === 'SIGTRAP' || code === 134 || /heap out of memory|allocation failed/i.test(complaint);
  if (isMemory) return new ProcessKilled('too much memory', progress);
  const place = progress ? `at line ${progress.line} or later` : 'before the first line';
  return new Error(`the rendering process ended with ${signal ?? `code ${code}`} ${place}: ${complaint.trim().slice(-500)}`);
}

const TOOLS = ['/usr/bin', '/bin'];
const PRLIMIT = findTool('prlimit');
const SETPRIV = findTool('setpriv');

function findTool(name: string): string | undefined {
  return TOOLS.map((folder) => `${folder}/${name}`).find((path) => existsSync(path));
}

function start(): ReturnType<typeof fork> {
  const node = [process.execPath, `--max-old-space-size=${HEAP_MB}`, '--disallow-code-generation-from-strings'];
  const bound = PRLIMIT ? [PRLIMIT, `--data=${DATA_BYTES}`] : [];
  const tied = SETPRIV ? [SETPRIV, '--pdeathsig', 'KILL', '--'] : [];
  const [execPath, ...execArgv] = [...bound, ...tied, ...node] as [string, ...string[]];
  return fork(compiledEntry(new URL('./renderProcess.ts', import.meta.url)), {
    execPath,
    execArgv,
    env: {},
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    serialization: 'json',
  });
}
