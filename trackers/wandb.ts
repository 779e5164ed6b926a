/**
 * Weights & Biases. Rows go out by its official Python client (reporter/wandb_run.py) in a process of its own, because that client alone
 * resumes a run, sends tables and artifacts; what arrived is asked of the server (wandbServer.ts), before, while and after.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startChild } from './childProcess.js';
import { hostOf, TrackerError, type Delivery, type Row, type Run, type RunEnd } from './tracker.js';
import { findRun, readEntity, runUrl, wandbServer, type RunPlace } from './wandbServer.js';

export interface WandbTarget {
  baseUrl: string;
  apiKey: string;
  project: string;
  /** Absent: the default entity of the key. */
  entity?: string;
  runId: string;
}

export interface WandbLimits {
  /** From the start of the client to its having the run: Python's imports, signing in, creating the run. */
  openMs: number;
  /** Between two questions what has arrived, while something is on its way; the client sends what has gathered every 15 s. */
  askMs: number;
  /** Rows that are on their way for longer are lost: the client has given up. */
  stallMs: number;
  /** For the last rows, the files and the end; then until the server shows it. */
  finishMs: number;
  /** For an answer of the server. */
  answerMs: number;
}
export const WANDB_LIMITS: WandbLimits = { openMs: 120_000, askMs: 15_000, stallMs: 120_000, finishMs: 180_000, answerMs: 15_000 };

const SCRIPT = fileURLToPath(new URL('../reporter/wandb_run.py', import.meta.url));
const SETTLE_INTERVAL_MS = 500;

export interface WandbOptions {
  /** Of the reporter's environment. */
  python: string;
  /** For the client's files, which are removed. */
  scratch: string;
  /** The last step that the run had the last time that we asked: where the server cannot tell. */
  delivered: number;
  /** Of the job, up to any step: what the run should have. */
  countRows(upToStep: number): Promise<number>;
  limits?: WandbLimits;
}

/** @throws TrackerError; the signal's reason when it is aborted. The signal also ends the client. */
export async function openWandb(target: WandbTarget, run: Run, options: WandbOptions, signal: AbortSignal): Promise<Delivery> {
  const { limits = WANDB_LIMITS, python } = options;
  const server = wandbServer(target.baseUrl, target.apiKey, limits.answerMs);
  const who = `Weights & Biases (${hostOf(target.baseUrl)})`;
  const keyEntity = await readEntity(server, signal);
  const place: RunPlace = { entity: target.entity ?? keyEntity, project: target.project, id: target.runId };
  const before = await findRun(server, place, signal);
  const position = before ? (before.lastStep ?? options.delivered) : 0;
  const warnings = before ? await oddities(before.rows, position, options) : [];

  const folder = await mkdtemp(path.join(options.scratch, `wandb-${process.pid}-`));
  const child = startChild([python, '-u', SCRIPT], { WANDB_ERROR_REPORTING: 'false' });
  const close = async () => {
    signal.removeEventListener('abort', stop);
    await child.kill();
    await rm(folder, { recursive: true, force: true });
  };
  const stop = () => void child.kill();
  signal.addEventListener('abort', stop, { once: true });

  let sent = position;
  let confirmed = position;
  let askedAt = 0;
  /** Since when something is on its way without the server having more than before. */
  let waitingSince = 0;

  async function expect(event: string, withinMs: number): Promise<void> {
    const answer = await within(child.next(), withinMs);
    signal.throwIfAborted();
    if (answer && answer !== 'late' && answer['event'] === event) return;
    // Why, the server says better than its client.
    await readEntity(server, signal);
    if (answer === 'late')
      throw new TrackerError('TRACKER_FAILED', 'NO_ANSWER', `${who} did not take the run in time; delivery is tried again.`);
    if (answer === null)
      throw new TrackerError('TRACKER_FAILED', 'CLIENT_BROKEN', 'The client of Weights & Biases ended by itself; delivery is tried again.');
    throw refusal(who, place, answer['status']);
  }

  try {
    signal.throwIfAborted();
    const { displayName: name, notes, config, tags } = run;
    const { baseUrl, apiKey } = target;
    child.tell({ open: { baseUrl, apiKey, ...place, name, notes, config, tags, folder } });
    await expect('opened', limits.openMs);
  } catch (error) {
    await close();
    throw error;
  }

  return {
    url: runUrl(server, place),
    position,
    warnings,
    async send(rows: Row[]) {
      if (sent === confirmed) waitingSince = performance.now();
      child.tell({ rows: rows.map(({ step, time, values }) => ({ step, values: { ...values, _timestamp: time.getTime() / 1000 } })) });
      sent = rows.at(-1)!.step;
    },
    async confirmed() {
      if (sent === confirmed) return confirmed;
      if (performance.now() - askedAt < limits.askMs) return null;
      askedAt = performance.now();
      const lastStep = (await findRun(server, place, signal))?.lastStep ?? 0;
      if (lastStep > confirmed) waitingSince = performance.now();
      confirmed = Math.max(confirmed, lastStep);
      if (sent > confirmed && performance.now() - waitingSince > limits.stallMs)
        throw new TrackerError(
          'TRACKER_FAILED',
          'ROWS_MISSING',
          `${who} has steps up to ${confirmed} of ${sent}; the others are sent again.`,
        );
      return confirmed;
    },
    async finish({ outcome, summary, samples, model }: RunEnd) {
      child.tell({ finish: { summary, samples, model, exitCode: outcome === 'finished' ? 0 : 1 } });
      await expect('finished', limits.finishMs);
      const giveUpAt = performance.now() + limits.finishMs;
      for (;;) {
        const found = await findRun(server, place, signal);
        if (found && found.state !== 'running' && (found.lastStep ?? sent) >= sent) return;
        if (performance.now() > giveUpAt || !found)
          throw new TrackerError('TRACKER_FAILED', 'ROWS_MISSING', `${who} has not all of the run; the rest is sent again.`);
        await sleep(SETTLE_INTERVAL_MS, undefined, { signal });
      }
    },
    close,
  };

  function refusal(name: string, { entity, project }: RunPlace, status: unknown): TrackerError {
    if (typeof status === 'number' && status < 500 && status !== 429) {
      const message = `${name} does not let this key write to ${entity}/${project} (HTTP ${status}). Check both names, or use the key of a member.`;
      return new TrackerError('TRACKER_REFUSED', 'ENTITY_REFUSED', message);
    }
    const how = typeof status === 'number' ? ` (HTTP ${status})` : '';
    return new TrackerError('TRACKER_FAILED', 'SERVER_ERROR', `${name} did not take the run${how}; delivery is tried again.`);
  }
}

/** The run has other rows than the job's steps: someone else logs to it, or the server lost some. */
async function oddities(rows: number, position: number, { countRows }: WandbOptions): Promise<Delivery['warnings']> {
  if (rows === 0) return [];
  const ours = position > 0 ? await countRows(position) : 0;
  if (rows > ours) {
    const message = `The run has ${rows - ours} rows that are not this job's: someone else logs to it. The job's own follow theirs.`;
    return [{ code: 'FOREIGN_ROWS', message }];
  }
  if (rows < ours)
    return [{ code: 'ROWS_LOST', message: `The run lacks ${ours - rows} rows of the steps before ${position}; a run takes none later.` }];
  return [];
}

async function within<T>(work: Promise<T>, limitMs: number): Promise<T | 'late'> {
  const timer = new AbortController();
  try {
    return await Promise.race([work, sleep(limitMs, 'late' as const, { signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}
