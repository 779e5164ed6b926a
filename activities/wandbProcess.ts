/** Runs wandbChild.ts: with a deadline, apart from this process, and deaf to what it prints but for the HTTP status it failed with. */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { SendAnswer, SendRequest } from './wandbChild.js';
import { entityRefused, keyRefused, noAnswer, serverError } from './wandbServer.js';

export interface Sending extends SendRequest {
  entity: string;
  deadlineMs: number;
}

/**
 * Sends a run; the process is gone when this returns or throws.
 * @throws TemperError TRACKER_REFUSED, TRACKER_FAILED; the signal's reason when it is aborted
 */
export async function sendRun({ run, server, entity, deadlineMs }: Sending, signal: AbortSignal): Promise<void> {
  const child = start();
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()).once('error', () => resolve()));
  const printed = listen(child);
  const stop = () => child.kill('SIGKILL');
  let late = false;
  const timer = setTimeout(() => ((late = true), stop()), deadlineMs);
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();

  let answer: SendAnswer | undefined;
  child.once('message', (message: SendAnswer) => (answer = message));
  child.send({ run: { ...run, entity }, server } satisfies SendRequest, () => {}); // what cannot be sent ends without an answer
  await closed;
  clearTimeout(timer);
  signal.removeEventListener('abort', stop);

  signal.throwIfAborted();
  if (answer?.outcome === 'sent') return;
  if (late) throw noAnswer(server);
  const { status, retrying } = printed();
  if (status === 401) throw keyRefused(server);
  if (status !== undefined && status < 500) throw entityRefused(server, entity, run);
  if (answer || retrying) throw serverError(server, status);
  throw new Error('the process that reports to Weights & Biases ended without an answer');
}

function start(): ChildProcess {
  return fork(fileURLToPath(new URL('./wandbChild.ts', import.meta.url)), [], {
    execArgv: ['--import', import.meta.resolve('tsx')],
    env: childEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
}

/** Nothing of ours: the SDK needs none of it, and must find no settings of whoever started us. */
function childEnvironment(): NodeJS.ProcessEnv {
  const passed = ['PATH', 'TMPDIR', 'NODE_EXTRA_CA_CERTS'];
  return Object.fromEntries(passed.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])));
}

/** What the SDK prints is never logged: it quotes requests. */
function listen(child: ChildProcess): () => { status: number | undefined; retrying: boolean } {
  let status: number | undefined;
  let retrying = false;
  let end = '';
  const hear = (chunk: Buffer) => {
    end = (end + chunk.toString()).slice(-4_000);
    status ??= Number(/Fatal HTTP error \((\d{3})\)/.exec(end)?.[1]) || undefined;
    retrying ||= end.includes('Retrying failed request');
    // Its retry waits for the request that failed, again and again, for twenty minutes.
    if (retrying) child.kill('SIGKILL');
  };
  child.stdout!.on('data', hear);
  child.stderr!.on('data', hear);
  return () => ({ status, retrying });
}
