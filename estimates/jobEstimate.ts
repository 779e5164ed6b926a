/** What a job will take: examples, steps, tokens, memory, time and cost, as far as they can be known before it runs. */
import { describeLayout } from '../models/families.js';
import { asMoney, priceOf, type Prices, type Money, type Throughput, type Work } from '../schemas/prices.js';
import type { JobSettings } from '../schemas/task.js';
import { estimateMemory, type MemoryEstimate } from './memory.js';
import { planJob, type Plan } from './plan.js';
import { estimateTime, type CardTime } from './time.js';

/** What a sample of the rendered rows has shown. */
export interface TokenSample {
  /** Every row was counted. */
  exact: boolean;
  rows: number;
  /** Means of an example after the cut-off. */
  tokensPerExample: number;
  trainedPerExample: number;
  longestExample: number;
  truncatedShare: number;
  /** Examples that keep no trained token: training leaves them out. */
  droppedShare: number;
}

/** Without a base model's name, its tokens have the price of any other. */
export type EstimatedSettings = Pick<
  JobSettings,
  'batchSize' | 'epochs' | 'evaluationSplit' | 'cutoffLength' | 'loraRank' | 'quantization'
> &
  Partial<Pick<JobSettings, 'baseModel'>>;

export interface EstimateInput {
  settings: EstimatedSettings;
  /** Rows of the dataset. */
  examples: number;
  /** Null where tokens could not be counted. */
  sample: TokenSample | null;
  /** The base model's config.json; null when it could not be read. */
  modelConfig: Record<string, unknown> | null;
  throughput: Throughput[];
  prices: Prices | null;
}

export interface JobEstimate extends Plan {
  /** Over all epochs. `basis`: every row counted, or a sample of them. */
  tokens: ({ basis: 'EXACT' | 'SAMPLED'; total: number; trained: number } & Omit<TokenSample, 'exact'>) | null;
  memory: MemoryEstimate | null;
  /** Why there is no memory estimate. */
  memoryUnknown?: string;
  /** Training alone, on each kind of device where this deployment has trained the base model; empty: not known. */
  time: { device: string; tokensPerSecond: number; seconds: number; jobs: number; cost?: Money }[];
  /** The same by the model's size and the cards' data sheets, for cards that hold the job: a guess, where nothing is measured yet. */
  timeByFormula: CardTime[];
}

export function estimateJob({ settings, examples, sample, modelConfig, throughput, prices }: EstimateInput): JobEstimate {
  const plan = planJob(settings, examples, sample?.droppedShare);
  const total = sample && Math.round(sample.tokensPerExample * plan.examplesSeen);
  const needs = needsOf(settings, sample, modelConfig, total);
  const measured =
    total === null
      ? []
      : throughput.filter(({ quantization }) => quantization === (settings.quantization === 'auto' ? 'none' : settings.quantization));
  return {
    ...plan,
    tokens: sample && {
      basis: sample.exact ? 'EXACT' : 'SAMPLED',
      total: total!,
      trained: Math.round(sample.trainedPerExample * plan.examplesSeen),
      rows: sample.rows,
      tokensPerExample: sample.tokensPerExample,
      trainedPerExample: sample.trainedPerExample,
      longestExample: sample.longestExample,
      truncatedShare: sample.truncatedShare,
      droppedShare: sample.droppedShare,
    },
    ...needs,
    time: measured.map(({ device, tokensPerSecond, jobs }) => {
      const seconds = Math.round(total! / tokensPerSecond);
      return {
        device,
        tokensPerSecond: Math.round(tokensPerSecond),
        seconds,
        jobs,
        ...costOf({ device, gpuSeconds: seconds, baseModel: settings.baseModel ?? '', tokens: total }, prices),
      };
    }),
  };
}

/** Empty where no price is set for the device. */
export function costOf(work: Work, prices: Prices | null): { cost?: Money } {
  const price = prices ? priceOf(work, prices) : undefined;
  return price === undefined ? {} : { cost: asMoney(price, prices!.currency) };
}

function needsOf(
  settings: EstimatedSettings,
  sample: TokenSample | null,
  modelConfig: Record<string, unknown> | null,
  tokens: number | null,
): Pick<JobEstimate, 'memory' | 'memoryUnknown' | 'timeByFormula'> {
  if (modelConfig === null) return { memory: null, memoryUnknown: "The base model's config.json could not be read.", timeByFormula: [] };
  const { layout, problem } = describeLayout(modelConfig);
  if (!layout) return { memory: null, memoryUnknown: problem.message, timeByFormula: [] };
  // Where tokens are not known, the longest that may be.
  const longestExample = sample?.longestExample || settings.cutoffLength;
  const meanExample = sample?.tokensPerExample || settings.cutoffLength;
  const trainedShare = sample && sample.tokensPerExample > 0 ? sample.trainedPerExample / sample.tokensPerExample : 1;
  const batchTokens = Math.ceil(settings.batchSize * meanExample);
  const memory = estimateMemory(layout, settings, { longestExample, batchTokens, trainedShare });
  return { memory, timeByFormula: tokens === null ? [] : estimateTime(layout, modelConfig, memory, tokens, { meanExample, trainedShare }) };
}
