/**
 * One trainer process: spawned with a spec, followed by its events, stopped with SIGTERM. It dies with this worker, sees no
 * secret, and one that says nothing for too long is killed: a hang must not look like work.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Span } from '@opentelemetry/api';
import { isErrorCode, TemperError } from '../schemas/errors.js';
import { SILENCE_LIMITS, watchSilence, type SilenceLimits, type Stall } from './silence.js';
import { EXIT_INTERRUPTED, type CompletedEvent, type TrainerEvent, type TrainerSpec } from '../schemas/trainerProtocol.js';
import { traceEnvironment, withSpan } from '../telemetry/tracing.js';

export interface TrainerSettings {
  /** The Python of the trainer's environment. */
  python: string;
  /** Folder for specs and logs of runs. */
  scratch: string;
  /** Locked for as long as the process lives, so that two trainers never share one GPU, whichever worker started them. Not given: no GPU is used. */
  gpuLock?: string;
  /** GPUs of this machine; 0: it trains on its CPUs. */
  accelerators?: number;
  silence?: SilenceLimits;
}

export interface TrainerRun {
  /** For the folder and the log. */
  name: string;
  spec: TrainerSpec;
  signal: AbortSignal;
  /** Sees each event in order; the process is not read further until it returns. */
  onEvent?: (event: TrainerEvent) => void | Promise<void>;
  /** Processes that work on it together, each on a GPU of its own: torchrun starts them. */
  ranks?: number;
  /** Nothing was heard for much longer than a step usually takes. */
  onStall?: (stall: Stall) => void;
  /** Only the hub download has a network to use: with the deployment's own token, or with the one given, or none. */
  network?: 'deployment' | { token: string | null };
  /** Files of strangers are looked into: where the system allows it, in a namespace that has no network at all. */
  isolated?: boolean;
}

/** From SIGTERM to SIGKILL: long enough for one step and a checkpoint. */
const GRACE_MS = 60_000;
const GPU_WAIT_SECONDS = 30;
const EXIT_GPU_BUSY = 76;

/**
 * Runs to the end and gives the last event and the seconds it took.
 * @throws TemperError what the trainer said went wrong, TRAINER_CRASHED, TRAINER_SILENT, GPU_BUSY, or TRAINER_INTERRUPTED once
 *   `signal` has stopped it (its last checkpoint was announced before)
 */
export function runTrainer(settings: TrainerSettings, run: TrainerRun): Promise<{ completed: CompletedEvent; seconds: number }> {
  return withSpan(`trainer ${run.spec.work}`, { 'temper.work': run.spec.work }, (span) => runProcess(settings, run, span));
}

async function runProcess(settings: TrainerSettings, run: TrainerRun, span: Span): Promise<{ completed: CompletedEvent; seconds: number }> {
  const folder = path.join(settings.scratch, run.name);
  await mkdir(folder, { recursive: true });
  const specFile = path.join(folder, `${run.spec.work}.json`);
  const logFile = path.join(folder, `${run.spec.work}.log`);
  await writeFile(specFile, JSON.stringify(run.spec, null, 2));

  const oomKillsBefore = await countOomKills();
  const startedAt = performance.now();
  // Nothing is awaited until its output is read: Node throws away what a process that ends before that has said.
  const child = start(settings, specFile, logFile, run);
  const exit = new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve({ code, signal }));
  });
  const watch = watchSilence(settings.silence ?? SILENCE_LIMITS, { stalled: run.onStall, stuck: () => child.kill('SIGKILL') });
  const stop = () => stopGently(child);
  run.signal.addEventListener('abort', stop, { once: true });
  if (run.signal.aborted) stop();

  let last: TrainerEvent | null = null;
  try {
    for await (const line of createInterface({ input: child.stdout!, crlfDelay: Infinity })) {
      const event = parseEvent(line);
      if (!event) continue;
      watch.heard(event);
      tellSpan(span, event);
      // Of several ranks the first that fails says why; the others only miss it.
      if (last?.event !== 'failed') last = event;
      watch.pause();
      await run.onEvent?.(event);
      watch.resume();
    }
    const { code, signal } = await exit;
    return {
      completed: await verdict({ last, code, signal, silent: watch.fired(), logFile, oomKilled: (await countOomKills()) > oomKillsBefore }),
      seconds: (performance.now() - startedAt) / 1000,
    };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  } finally {
    watch.stop();
    run.signal.removeEventListener('abort', stop);
  }
}

async function verdict(end: {
  last: TrainerEvent | null;
  code: number | null;
  signal: string | null;
  silent: boolean;
  logFile: string;
  /** The kernel has killed a process for lack of memory while it ran. */
  oomKilled: boolean;
}): Promise<CompletedEvent> {
  const { last, code, signal } = end;
  if (last?.event === 'completed') return last;
  if (last?.event === 'failed') throw new TemperError(isErrorCode(last.code) ? last.code : 'TRAINER_CRASHED', last.message);
  if (end.silent)
    throw new TemperError('TRAINER_SILENT', 'The trainer said nothing for too long and was stopped; it goes on from its last checkpoint.');
  if (code === EXIT_INTERRUPTED || last?.event === 'interrupted')
    throw new TemperError('TRAINER_INTERRUPTED', 'The trainer was stopped after a checkpoint.');
  if (code === EXIT_GPU_BUSY)
    throw new TemperError('GPU_BUSY', 'Another trainer still holds the GPU of this worker; the step is tried again.');
  if (end.oomKilled && (signal === 'SIGKILL' || code === 1 || code === 137))
    throw new TemperError(
      'TRAINER_OOM_HOST',
      "The machine's memory was too small: the kernel killed the trainer. It goes on from its last checkpoint; if that happens again, " +
        'lower the cutoff length or the rank, or use a worker with more memory.',
    );
  if (signal === 'SIGKILL' || code === 137)
    throw new TemperError(
      'TRAINER_KILLED',
      'The trainer process was killed from outside (SIGKILL); it goes on from its last checkpoint. If that happens again and nobody did it, ' +
        "look into the machine's log: its memory may be too small.",
    );
  const how = signal ? `was killed (${signal})` : `ended with exit code ${code}`;
  const said = (await lastLines(end.logFile)).trim();
  throw new TemperError(
    'TRAINER_CRASHED',
    `The trainer process ${how}; it goes on from its last checkpoint.${said && !signal ? ` Last lines of its log: ${said}` : ''}`,
  );
}

function start(settings: TrainerSettings, specFile: string, logFile: string, run: TrainerRun): ChildProcess {
  const launch = run.ranks && run.ranks > 1 ? torchrun(run.ranks) : [];
  const command = [
    ...guards(settings.gpuLock),
    ...(run.isolated ? isolation() : []),
    settings.python,
    ...launch,
    '-m',
    'temper_trainer',
    specFile,
  ];
  const child = spawn(command[0]!, command.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: trainerEnvironment(path.dirname(specFile), run),
  });
  child.stderr!.pipe(createWriteStream(logFile, { flags: 'a' }));
  return child;
}

/** A rank that dies ends the others. Retries are the workflow's: torchrun makes none. */
function torchrun(ranks: number): string[] {
  const seconds = String(GRACE_MS / 1000 - 5);
  return [
    '-m',
    'torch.distributed.run',
    '--standalone',
    '--nproc-per-node',
    String(ranks),
    '--max-restarts',
    '0',
    '--shutdown-timeout',
    seconds,
  ];
}

/** Since the machine started, in all of it: a kill by the kernel looks like any other SIGKILL. 0 where there is no such count. */
async function countOomKills(): Promise<number> {
  const counters = await readFile('/proc/vmstat', 'utf8').catch(() => '');
  return Number(/^oom_kill (\d+)$/m.exec(counters)?.[1] ?? 0);
}

const found = new Map<string, boolean>();

/** `setpriv` kills the trainer when this worker dies, `flock` holds the GPU's lock for as long as the trainer lives. Linux has both. */
function guards(gpuLock: string | undefined): string[] {
  const lock = ['flock', '--no-fork', '--wait', String(GPU_WAIT_SECONDS), '--conflict-exit-code', String(EXIT_GPU_BUSY)];
  return [
    ...(available('setpriv') ? ['setpriv', '--pdeathsig', 'KILL'] : []),
    ...(gpuLock && available('flock') ? [...lock, gpuLock] : []),
  ];
}

const WITHOUT_NETWORK = ['unshare', '--user', '--map-root-user', '--net'];

function isolation(): string[] {
  const usable =
    found.get('isolation') ?? spawnSync(WITHOUT_NETWORK[0]!, [...WITHOUT_NETWORK.slice(1), 'true'], { stdio: 'ignore' }).status === 0;
  found.set('isolation', usable);
  return usable ? WITHOUT_NETWORK : [];
}

function available(command: string): boolean {
  const known = found.get(command) ?? spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
  found.set(command, known);
  return known;
}

/** Only what training needs: no keys of the database, the object store or anyone. */
function trainerEnvironment(home: string, { network, ranks = 1 }: TrainerRun): NodeJS.ProcessEnv {
  const passed = [
    'PATH',
    'LANG',
    'LC_ALL',
    'LD_LIBRARY_PATH',
    'CUDA_VISIBLE_DEVICES',
    'CUDA_HOME',
    'OMP_NUM_THREADS',
    'MKL_NUM_THREADS',
    'TMPDIR',
  ];
  const forHub = network ? ['HF_ENDPOINT', 'HF_TOKEN', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'SSL_CERT_FILE'] : [];
  const environment: NodeJS.ProcessEnv = {
    HOME: home,
    PYTHONUNBUFFERED: '1',
    TEMPER_PARENT_PID: String(process.pid),
    ...traceEnvironment(),
    ...(network ? {} : { HF_HUB_OFFLINE: '1' }),
    ...(ranks > 1 ? { OMP_NUM_THREADS: String(Math.max(1, Math.floor(availableParallelism() / ranks))) } : {}),
  };
  for (const name of [...passed, ...forHub]) if (process.env[name] !== undefined) environment[name] = process.env[name];
  if (typeof network === 'object') {
    delete environment['HF_TOKEN'];
    if (network.token) environment['HF_TOKEN'] = network.token;
  }
  return environment;
}

/** The trainer's own account of itself, in the trace: where its time goes before the first step, and its checkpoints. */
function tellSpan(span: Span, event: TrainerEvent): void {
  if (event.event === 'step' && event.step > 1 && event.step < event.totalSteps) return;
  const { step } = event as { step?: number };
  span.addEvent(event.event, step === undefined ? {} : { step });
}

function parseEvent(line: string): TrainerEvent | null {
  try {
    return JSON.parse(line) as TrainerEvent;
  } catch {
    return null;
  }
}

function stopGently(child: ChildProcess): void {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), GRACE_MS);
  child.on('exit', () => clearTimeout(timer));
}

async function lastLines(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-2).join(' ').slice(-300);
}
