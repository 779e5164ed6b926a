/** A fine-tuning job in words: what it is doing, how far it is, what came of it. */
import type { Resource } from './client.js';
import { formatCount, formatDuration, formatFields, formatNumber, formatTable, formatTime, plainText } from './format.js';
import { stateOf, statusMessage } from './resources.js';
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
  const tracker = job.wandbConfig as { url?: string; state?: string; reason?: string } | undefined;
  const createdSeconds = secondsBetween(job.createTime, job.completedTime);
  const text = formatFields([
    ['Name', plainText(job.name)],
    ['Display name', plainText(job.displayName)],
    ['State', stateAndStage(job)],
    ['Problem', statusMessage(job)],
    ['Progress', progressOf(job).totalSteps ? describeProgress(job).slice(stateAndStage(job).length).trim() : ''],
    ['Dataset', plainText(job.dataset)],
    ['Kind', kindOf(job)],
    ['Base model', plainText(job.baseModel)],
    ['Warm start from', plainText(job.warmStartFrom)],
    ['Settings', describeSettings(job)],
    ['Evaluation', evaluation && describeEvaluation(evaluation)],
    ['Weights & Biases', tracker && [tracker.url, tracker.state, tracker.reason].filter(Boolean).map(plainText).join('  ')],
    ['Model', hasSucceeded(job) ? plainText(job.outputModel ?? job.modelId) : ''],
    ['Created', `${job.createTime ? formatTime(String(job.createTime)) : ''}${job.createdBy ? ` by ${plainText(job.createdBy)}` : ''}`],
    ['Ended', job.completedTime ? `${formatTime(String(job.completedTime))}${createdSeconds === undefined ? '' : `, ${formatDuration(createdSeconds)} after it was created`}` : ''],
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
  const shown: [string, unknown][] = [
    ['epochs', job.epochs], ['learning rate', job.learningRate], ['batch size', job.batchSize], ['LoRA rank', job.loraRank], ['quantization', job.quantization], ['seed', job.seed],
  ];
  return shown.filter(([, value]) => value !== undefined && value !== null && value !== '').map(([name, value]) => `${name} ${typeof value === 'number' ? formatNumber(value) : plainText(value)}`).join(', ');
}

function stateAndStage(job: Resource): string {
  const state = stateOf(job);
  const stage = plainText(job.stage);
  return stage && !['done', state.toLowerCase()].includes(stage) ? `${state} (${stage})` : state;
}

function kindOf(job: Resource): string {
  if (job.textCompletion) return 'text completion';
  if (job.textClassification) return 'text classification';
  return job.conversation ? 'conversation' : '';
}

function progressOf(job: Resource): Progress {
  return (job.progress as Progress | undefined) ?? {};
}

function secondsBetween(from: unknown, to: unknown): number | undefined {
  const seconds = (Date.parse(String(to)) - Date.parse(String(from))) / 1000;
  return Number.isFinite(seconds) ? seconds : undefined;
}
