/** A fine-tuning job in words: what it is doing, how far it is, what came of it. */
import type { Resource } from './client.js';
import { formatCount, formatDuration, formatFields, formatNumber, formatTable, formatTime, plainText } from './format.js';
import { shownState, stateOf, statusMessage } from './resources.js';
import { progressBar } from './statusLine.js';

export interface Progress {
  step?: number;
  totalSteps?: number;
  epoch?: number;
  loss?: number;
  tokensPerSecond?: number;
  etaSeconds?: number | null;
}
interface Evaluation {
  metric: string;
  base: number;
  tuned: number;
  examples: number;
}
export interface Attempt {
  attempt: number;
  worker?: string;
  device?: string;
  reason?: string;
  startStep?: number;
  endStep?: number;
  outcome?: string;
}

const KIND_NAMES: Record<string, string> = { textCompletion: 'text completion', textClassification: 'text classification' };
const ENDED = new Set(['COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED', 'EXPIRED']);

export function hasEnded(job: Resource): boolean {
  return ENDED.has(stateOf(job));
}
export function hasSucceeded(job: Resource): boolean {
  return ['COMPLETED', 'EARLY_STOPPED'].includes(stateOf(job));
}

/** `RUNNING training  [####....]  40%  step 40/100  epoch 0.80  loss 1.234  3,210 tokens/s  ETA 2m10s` */
export function describeProgress(job: Resource): string {
  const progress = progressOf(job);
  const parts = [stateAndStage(job)];
  if (progress.totalSteps) {
    parts.push(progressBar((progress.step ?? 0) / progress.totalSteps), `step ${formatCount(progress.step ?? 0)}/${formatCount(progress.totalSteps)}`);
  }
  if (progress.epoch !== undefined) parts.push(`epoch ${progress.epoch.toFixed(2)}`);
  if (progress.loss !== undefined) parts.push(`loss ${formatNumber(progress.loss)}`);
  if (!hasEnded(job)) {
    if (progress.tokensPerSecond) parts.push(`${formatCount(progress.tokensPerSecond)} tokens/s`);
    if (progress.etaSeconds !== undefined && progress.etaSeconds !== null) parts.push(`ETA ${formatDuration(progress.etaSeconds)}`);
  }
  return parts.join('  ');
}

export function describeJob(job: Resource, attempts: Attempt[] = []): string {
  const evaluation = job.evaluationResult as Evaluation | undefined;
  const seconds = secondsBetween(job.createTime, job.completedTime);
  const text = formatFields([
    ['Name', plainText(job.name)],
    ['Display name', plainText(job.displayName)],
    ['State', stateAndStage(job)],
    ['Problem', describeProblem(job)],
    ['Progress', progressOf(job).totalSteps ? describeProgress(job).slice(stateAndStage(job).length).trim() : ''],
    ['Dataset', plainText(job.dataset)],
    ['Kind', KIND_NAMES[plainText(job.kind)] ?? plainText(job.kind)],
    ['Base model', plainText(job.baseModel)],
    ['Warm start from', plainText(job.warmStartFrom)],
    ['Settings', describeSettings(job)],
    ['Evaluation', evaluation && describeEvaluation(evaluation)],
    ['Weights & Biases', [job.wandbUrl, job.wandbState, job.wandbReason].map(plainText).filter(Boolean).join('  ')],
    ['Model', hasSucceeded(job) ? plainText(job.outputModel ?? job.modelId) : ''],
    ['Created', `${job.createTime ? formatTime(String(job.createTime)) : ''}${job.createdBy ? ` by ${plainText(job.createdBy)}` : ''}`],
    ['Ended', job.completedTime ? `${formatTime(String(job.completedTime))}${seconds === undefined ? '' : `, ${formatDuration(seconds)} after it was created`}` : ''],
  ]);
  return attempts.length > 1 ? `${text}\n\n${describeAttempts(attempts)}` : text;
}

/** `accuracy 0.42 → 0.91 (base → tuned) on 300 examples` */
export function describeEvaluation({ metric, base, tuned, examples }: Evaluation): string {
  return `${metric} ${formatNumber(base)} → ${formatNumber(tuned)} (base → tuned) on ${formatCount(examples)} held-out examples`;
}

function describeAttempts(attempts: Attempt[]): string {
  const cell = (value: unknown) => plainText(value);
  return formatTable(
    ['ATTEMPT', 'WHY', 'FROM STEP', 'TO STEP', 'OUTCOME', 'DEVICE', 'WORKER'],
    attempts.map((attempt) => [cell(attempt.attempt), cell(attempt.reason), cell(attempt.startStep), cell(attempt.endStep), cell(attempt.outcome), cell(attempt.device), cell(attempt.worker)]),
    process.stdout.isTTY ? process.stdout.columns : undefined,
  );
}

function describeSettings(job: Resource): string {
  const settings = (job.settings as Resource | undefined) ?? job;
  const shown: [string, unknown][] = [
    ['epochs', settings.epochs], ['learning rate', settings.learningRate], ['batch size', settings.batchSize], ['LoRA rank', settings.loraRank],
    ['quantization', settings.quantization], ['seed', settings.seed],
  ];
  return shown.filter(([, value]) => value !== undefined && value !== null && value !== '').map(([name, value]) => `${name} ${typeof value === 'number' ? formatNumber(value) : plainText(value)}`).join(', ');
}

function stateAndStage(job: Resource): string {
  const state = shownState(job);
  const stage = plainText(job.stage);
  return stage && !['done', state.toLowerCase()].includes(stage) ? `${state} (${stage})` : state;
}

/** A failed job: what happened, whose it is, and whether to try again. */
function describeProblem(job: Resource): string {
  const failure = job.failure as { code?: string; domain?: string; retryable?: boolean } | undefined;
  const owner = failure?.code ? `${plainText(failure.code)}, of the ${plainText(failure.domain).toLowerCase()}; ${failure.retryable ? 'the same job may succeed another time' : 'the same job would fail again'}` : '';
  return [statusMessage(job), owner && `(${owner})`].filter(Boolean).join(' ');
}

function progressOf(job: Resource): Progress {
  return (job.progress as Progress | undefined) ?? {};
}

function secondsBetween(from: unknown, to: unknown): number | undefined {
  const seconds = (Date.parse(String(to)) - Date.parse(String(from))) / 1000;
  return Number.isFinite(seconds) ? seconds : undefined;
}
