/** A fine-tuning job in words: what it is doing, how far it is, what came of it. */
import type { Retry } from '../schemas/job.js';
import type { Resource } from './client.js';
import { formatCount, formatDuration, formatFields, formatNumber, formatTable, formatTime, plainText } from './format.js';
import { shownState, stateOf, statusMessage } from './resources.js';
import { terminalWidth } from './session.js';
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
  change?: { value: number; low: number; high: number };
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
const CAUSES: Record<string, string> = {
  DATASET: 'the dataset',
  CONFIG: 'the settings',
  QUOTA: 'a quota',
  CAPACITY: 'too little capacity',
  PLATFORM: 'the platform',
  TRACKER: 'the tracker',
};
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
    parts.push(
      progressBar((progress.step ?? 0) / progress.totalSteps),
      `step ${formatCount(progress.step ?? 0)}/${formatCount(progress.totalSteps)}`,
    );
  }
  if (progress.epoch !== undefined) parts.push(`epoch ${progress.epoch.toFixed(2)}`);
  if (progress.loss !== undefined) parts.push(`loss ${progress.loss.toPrecision(4)}`);
  if (job.stage === 'training') {
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
    ['Queue', describeQueue(job)],
    ['Tried again', describeRetry(job)],
    ['Problem', statusMessage(job)],
    ['Cause', describeCause(job)],
    ['Progress', progressOf(job).totalSteps ? describeProgress(job).slice(stateAndStage(job).length).trim() : ''],
    ['Dataset', plainText(job.dataset)],
    ['Kind', KIND_NAMES[plainText(job.kind)] ?? plainText(job.kind)],
    ['Base model', plainText(job.baseModel)],
    ['Warm start from', plainText(job.warmStartFrom ?? job.fromCheckpoint)],
    ['Settings', describeSettings(job)],
    ['Evaluation', evaluation && describeEvaluation(evaluation)],
    ['Reproduction', describeReproduction(job)],
    ['Weights & Biases', [job.wandbUrl, job.wandbState, job.wandbReason].map(plainText).filter(Boolean).join('  ')],
    ['MLflow', [job.mlflowUrl, job.mlflowState, job.mlflowReason].map(plainText).filter(Boolean).join('  ')],
    ['TensorBoard', plainText(job.tensorboardState)],
    ['Model', hasSucceeded(job) ? plainText(job.outputModel ?? job.modelId) : ''],
    ['Created', `${job.createTime ? formatTime(String(job.createTime)) : ''}${job.createdBy ? ` by ${plainText(job.createdBy)}` : ''}`],
    [
      'Ended',
      job.completedTime
        ? `${formatTime(String(job.completedTime))}${seconds === undefined ? '' : `, ${formatDuration(seconds)} after it was created`}`
        : '',
    ],
  ]);
  return attempts.length > 1 ? `${text}\n\n${describeAttempts(attempts)}` : text;
}

interface Reproduction {
  model: string;
  equal?: boolean;
  differingFiles?: string[];
  reasons?: string[];
}

export function isReproduced(job: Resource): boolean {
  return (job.reproduction as Reproduction | undefined)?.equal === true;
}

/** What came of making a model once more; empty for any other job, and before its end. */
export function describeReproduction(job: Resource): string {
  const outcome = job.reproduction as Reproduction | undefined;
  if (outcome?.equal === undefined) return '';
  if (outcome.equal) return `Equal: the adapter has the same SHA-256 as that of ${outcome.model}.`;
  return `Not equal to ${outcome.model}: ${(outcome.differingFiles ?? []).join(' and ')}. ${(outcome.reasons ?? []).join(' ')}`;
}

function describeQueue({ queuePosition, waitReason, expectedStartTime }: Resource): string {
  if (queuePosition === undefined) return '';
  const start = expectedStartTime ? `, expected to start at ${formatTime(String(expectedStartTime))}` : '';
  return `number ${formatCount(Number(queuePosition))}${start}${waitReason ? `. ${plainText(String(waitReason))}` : ''}`;
}

/** Of a step that failed: why, and when it is tried again. */
function describeRetry({ retry }: Resource): string {
  const { step, attempt, failure, nextAttemptTime } = (retry ?? {}) as Retry;
  if (!failure) return '';
  const when = nextAttemptTime ? ` at ${formatTime(nextAttemptTime)}` : '';
  return `${plainText(step)}, attempt ${formatCount(Number(attempt))}${when}: ${plainText(failure.message)} (${plainText(failure.code)})`;
}

/** `accuracy 12.4 % → 91.0 % (base → tuned) on 300 held-out examples, +78.6 points (95 %: +73.2 to +83.1)` */
function describeEvaluation({ metric, base, tuned, examples, change }: Evaluation): string {
  const value = metric === 'accuracy' ? (share: number) => `${(share * 100).toFixed(1)} %` : formatNumber;
  const changed = change ? `, ${describeChange(metric, change)}` : '';
  return `${metric} ${value(base)} → ${value(tuned)} (base → tuned) on ${formatCount(examples)} held-out examples${changed}`;
}

/** A perplexity's change is a quotient, shown as what it adds or takes. */
function describeChange(metric: string, { value, low, high }: NonNullable<Evaluation['change']>): string {
  const none = metric === 'accuracy' ? 0 : 1;
  const signed = (number: number) => `${number < none ? '−' : '+'}${Math.abs((number - none) * 100).toFixed(1)}`;
  const chance = low <= none && none <= high ? ': may be chance' : '';
  return `${signed(value)} ${metric === 'accuracy' ? 'points' : '%'} (95 %: ${signed(low)} to ${signed(high)}${chance})`;
}

function describeAttempts(attempts: Attempt[]): string {
  const rows = attempts.map(({ attempt, startStep, endStep, outcome, reason, device, worker }) => [
    String(attempt),
    `${startStep ?? 0} to ${endStep ?? ''}`,
    plainText(outcome ?? 'running'),
    plainText(reason),
    [device, worker].map(plainText).filter(Boolean).join(' on '),
  ]);
  return formatTable(['ATTEMPT', 'STEPS', 'OUTCOME', 'WHY', 'WHERE'], rows, terminalWidth());
}

function describeSettings(job: Resource): string {
  const settings = (job.settings as Resource | undefined) ?? job;
  const shown: [string, unknown][] = [
    ['epochs', settings.epochs],
    ['learning rate', settings.learningRate],
    ['batch size', settings.batchSize],
    ['LoRA rank', settings.loraRank],
    ['quantization', settings.quantization],
    ['seed', settings.seed],
  ];
  return shown
    .filter(([, value]) => value !== undefined && value !== null && value !== '')
    .map(([name, value]) => `${name} ${typeof value === 'number' ? formatNumber(value) : plainText(value)}`)
    .join(', ');
}

function stateAndStage(job: Resource): string {
  const state = shownState(job);
  const stage = plainText(job.stage);
  const stalledSince = (job.progress as Resource | undefined)?.stalledSince;
  if (state === 'RUNNING' && stalledSince) return `${state} (no step since ${plainText(stalledSince)}: stalled, and about to be recovered)`;
  return stage && !['done', state.toLowerCase()].includes(stage) ? `${state} (${stage})` : state;
}

/** Whose the failure is, its code, and whether to try again. */
function describeCause(job: Resource): string {
  const failure = job.failure as { code?: string; domain?: string; retryable?: boolean } | undefined;
  if (!failure?.code || failure.code === 'CANCELLED') return '';
  const advice = failure.retryable ? 'the same job may succeed another time' : 'the same job would fail again';
  return `${CAUSES[failure.domain ?? ''] ?? plainText(failure.domain)} (${plainText(failure.code)}); ${advice}`;
}

function progressOf(job: Resource): Progress {
  return (job.progress as Progress | undefined) ?? {};
}

function secondsBetween(from: unknown, to: unknown): number | undefined {
  const seconds = (Date.parse(String(to)) - Date.parse(String(from))) / 1000;
  return Number.isFinite(seconds) ? seconds : undefined;
}
