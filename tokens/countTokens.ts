/**
 * Counting tokens in a process of its own: a large tokenizer takes seconds to build and hundreds of megabytes, and its patterns may
 * take for ever on some text. The process is killed at its deadline; the caller goes on.
 */
import { fork } from 'node:child_process';
import { compiledEntry } from '../processes/compiled.js';
import type { Segment, TaskKind } from '../schemas/trainerProtocol.js';
import type { TokenLengths } from '../schemas/validationReport.js';
import type { TokenizerSources } from './tokenizer.js';
import { TokenizerUnsupported } from './tokenizerRules.js';

/** An example as training will have it. */
export interface ExampleTokens {
  /** After the cut-off. */
  tokens: number;
  trainedTokens: number;
  /** Tokens that the cut-off takes away. */
  cutTokens: number;
}

export type TokenWork =
  | { work: 'examples'; kind: TaskKind; cutoffLength: number; examples: Segment[][] }
  | { work: 'lengths'; file: string; lines: number; examples: number };
export type TokenAnswer = { examples: ExampleTokens[] } | { lengths: TokenLengths } | { unsupported: string } | { failure: string };
export interface TokenRequest {
  sources: TokenizerSources;
  work: TokenWork;
}

const HEAP_MB = 1024;

/** @throws TokenizerUnsupported  also when the deadline passes: the tokenizer cannot be used here */
export async function countExamples(
  sources: TokenizerSources,
  work: Omit<TokenWork & { work: 'examples' }, 'work'>,
  options: { deadlineMs: number; signal?: AbortSignal },
): Promise<ExampleTokens[]> {
  const answer = await runProcess({ sources, work: { work: 'examples', ...work } }, options);
  return (answer as { examples: ExampleTokens[] }).examples;
}

/** @throws TokenizerUnsupported  as above */
export async function countLengths(
  sources: TokenizerSources,
  work: Omit<TokenWork & { work: 'lengths' }, 'work'>,
  options: { deadlineMs: number; signal?: AbortSignal },
): Promise<TokenLengths> {
  const answer = await runProcess({ sources, work: { work: 'lengths', ...work } }, options);
  return (answer as { lengths: TokenLengths }).lengths;
}

function runProcess(request: TokenRequest, { deadlineMs, signal }: { deadlineMs: number; signal?: AbortSignal }): Promise<TokenAnswer> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const child = fork(compiledEntry(new URL('./tokenProcess.ts', import.meta.url)), {
      execArgv: [`--max-old-space-size=${HEAP_MB}`, '--disallow-code-generation-from-strings'],
      env: {},
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'advanced',
    });
    let answer: TokenAnswer | undefined;
    let complaint = '';
    let late = false;
    const stop = (): void => void child.kill('SIGKILL');
    const deadline = setTimeout(() => {
      late = true;
      stop();
    }, deadlineMs);
    signal?.addEventListener('abort', stop);
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-2000)));
    child.on('message', (said: TokenAnswer) => (answer = said));
    child.on('error', reject);
    child.on('close', (code, exitSignal) => {
      clearTimeout(deadline);
      signal?.removeEventListener('abort', stop);
      if (signal?.aborted) return reject(signal.reason as Error);
      if (answer === undefined) {
        if (late) return reject(new TokenizerUnsupported(`it took more than ${deadlineMs / 1000} s`));
        if (exitSignal === 'SIGABRT' || exitSignal === 'SIGTRAP') return reject(new TokenizerUnsupported('it takes too much memory'));
        return reject(new Error(`the token process ended with ${exitSignal ?? `code ${code}`}: ${complaint.trim().slice(-500)}`));
      }
      if ('unsupported' in answer) return reject(new TokenizerUnsupported(answer.unsupported));
      if ('failure' in answer) return reject(new Error(answer.failure));
      resolve(answer);
    });
    child.send(request);
  });
}
