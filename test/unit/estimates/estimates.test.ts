/** Estimates against what they estimate: parameters and adapters as PEFT makes them, steps as the trainer plans them, memory at its anchors. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { estimateJob, type EstimateInput } from '../../../estimates/jobEstimate.js';
import { countParameters, TARGET_MODULES } from '../../../estimates/parameters.js';
import { flopsPerToken } from '../../../estimates/time.js';
import { planJob } from '../../../estimates/plan.js';
import { describeLayout } from '../../../models/families.js';

const python = process.env['TEMPER_PYTHON'] ?? fileURLToPath(new URL('../../../trainer/.venv/bin/python', import.meta.url));
const trainer = (code: string): unknown =>
  JSON.parse(
    execFileSync(python, ['-c', code], { encoding: 'utf8', cwd: fileURLToPath(new URL('../../../trainer', import.meta.url)) }),
  ) as unknown;

interface Counted {
  config: Record<string, unknown>;
  rank: number;
  total: number;
  lora: number;
  adapterBytes: number;
  quantizable: number;
  largestLayer: number;
}
const counted = JSON.parse(readFileSync(new URL('./golden/counts.json', import.meta.url), 'utf8')) as Counted[];

describe('parameters', () => {
  it.each(counted)('of $config.model_type are those of transformers and PEFT', ({ config, rank, adapterBytes, ...expected }) => {
    const counts = countParameters(describeLayout(config).layout!, rank);
    expect(counts).toEqual(expected);
    expect(counts.lora * 4).toBe(adapterBytes);
  });

  it('are of the layers that the trainer tunes', () => {
    const code = 'import json; from temper_trainer.families import TARGET_MODULES; print(json.dumps(TARGET_MODULES))';
    expect(trainer(code)).toEqual(TARGET_MODULES);
  });
});

describe('steps', () => {
  it('are those that the trainer plans', () => {
    const cases = [1, 7, 85, 100, 1000].flatMap((examples) =>
      [1, 4, 16].flatMap((batchSize) => [0.05, 0.3, 1, 1.1, 2.01, 3, 1e-6, 2.5e2].map((epochs) => ({ examples, batchSize, epochs }))),
    );
    const code = `import json; from temper_trainer.data import make_plan
plans = [make_plan(case['examples'], case['batchSize'], case['epochs'], 0) for case in json.loads('''${JSON.stringify(cases)}''')]
print(json.dumps([[plan.steps_per_epoch, plan.total_steps] for plan in plans]))`;
    const planned = cases.map(({ examples, batchSize, epochs }) => {
      const plan = planJob({ batchSize, epochs, evaluationSplit: 0 }, examples);
      return [plan.stepsPerEpoch, plan.totalSteps];
    });
    expect(planned).toEqual(trainer(code));
  });

  it('see the examples that are not held out', () => {
    expect(planJob({ batchSize: 16, epochs: 1.5, evaluationSplit: 0.15 }, 100)).toEqual({
      trainExamples: 85,
      evalExamples: 15,
      stepsPerEpoch: 6,
      totalSteps: 9,
      examplesSeen: 85 + 3 * 16,
    });
    expect(planJob({ batchSize: 16, epochs: 1, evaluationSplit: 0.001 }, 3)).toMatchObject({ trainExamples: 2, evalExamples: 1 });
  });
});

const LLAMA_8B = {
  model_type: 'llama',
  vocab_size: 128256,
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  max_position_embeddings: 131072,
};
const LLAMA_70B = { ...LLAMA_8B, hidden_size: 8192, intermediate_size: 28672, num_hidden_layers: 80, num_attention_heads: 64 };

const input = (changes: Partial<EstimateInput>): EstimateInput => ({
  settings: { batchSize: 16, epochs: 2, evaluationSplit: 0, cutoffLength: 8192, loraRank: 16, quantization: 'none' },
  examples: 1000,
  sample: {
    exact: true,
    rows: 1000,
    tokensPerExample: 400,
    trainedPerExample: 100,
    longestExample: 2000,
    truncatedShare: 0,
    droppedShare: 0,
  },
  modelConfig: LLAMA_8B,
  throughput: [],
  prices: null,
  ...changes,
});

describe('a job', () => {
  it('of the 8B class trains by LoRA on one card of 40 GiB; examples of 2,000 tokens are too long for 24 GiB, of 500 not', () => {
    const { memory } = estimateJob(input({}));
    expect(memory).toMatchObject({ parameters: 8_030_261_248, trainableParameters: 41_943_040, adapterBytes: 167_772_160, method: 'LORA' });
    const fits = Object.fromEntries(memory!.cards.map(({ gib, fits: method }) => [gib, method]));
    expect(fits).toMatchObject({ 24: 'NEITHER', 40: 'LORA', 48: 'LORA', 80: 'LORA' });
    const shorter = estimateJob(input({ sample: { ...input({}).sample!, longestExample: 500 } })).memory;
    expect(shorter!.cards.find(({ gib }) => gib === 24)!.fits).toBe('QLORA');
    expect(memory!.lora.usualGib).toBeGreaterThan(memory!.lora.leastGib);
    expect(memory!.lora.leastGib).toBeGreaterThan(15);
  });

  it('of the 70B class needs QLoRA on one card', () => {
    const { memory } = estimateJob(input({ modelConfig: LLAMA_70B, settings: { ...input({}).settings, quantization: 'nf4' } }));
    expect(memory!.cards.find(({ gib }) => gib === 141)!.fits).toBe('QLORA');
    expect(memory!.lora.leastGib).toBeGreaterThan(130);
  });

  it('has tokens, time on measured devices, and a price where there is one', () => {
    const throughput = [
      { device: 'cuda: NVIDIA H100 80GB HBM3', quantization: 'none' as const, tokensPerSecond: 1000, jobs: 3 },
      { device: 'cuda: NVIDIA H100 80GB HBM3', quantization: 'nf4' as const, tokensPerSecond: 1, jobs: 3 },
      { device: 'cpu: 2 threads', quantization: 'none' as const, tokensPerSecond: 10, jobs: 1 },
    ];
    const estimate = estimateJob(input({ throughput, prices: { currency: 'EUR', perHour: { h100: 4.5 } } }));
    expect(estimate).toMatchObject({ totalSteps: 126, tokens: { basis: 'EXACT', total: 800_000, trained: 200_000 } });
    expect(estimate.time).toEqual([
      {
        device: 'cuda: NVIDIA H100 80GB HBM3',
        tokensPerSecond: 1000,
        seconds: 800,
        jobs: 3,
        cost: { currencyCode: 'EUR', units: '1', nanos: 0 },
      },
      { device: 'cpu: 2 threads', tokensPerSecond: 10, seconds: 80_000, jobs: 1 },
    ]);
  });

  it('has a time by its size where nothing is measured, on the cards that hold it', () => {
    const { layout } = describeLayout(LLAMA_8B);
    // 4 × 6.98 billion weights of the blocks, 4 × 525 million of the output layer for half the tokens, attention over 4,096.
    const work = { meanExample: 4096, trainedShare: 0.5 };
    expect(flopsPerToken(layout!, LLAMA_8B, work)).toBeCloseTo(4 * 6_979_584_000 + 2 * 128256 * 4096 + 6 * 32 * 4096 * 4096, -8);
    const { timeByFormula } = estimateJob(input({}));
    expect(timeByFormula.map(({ card }) => card)).toEqual(['L40S', 'A100 80GB', 'H100', 'H200']);
    const h100 = timeByFormula.find(({ card }) => card === 'H100')!;
    expect(h100.seconds).toBe(
      Math.ceil(800_000 / ((989e12 * 0.35) / flopsPerToken(layout!, LLAMA_8B, { meanExample: 400, trainedShare: 0.25 }))),
    );
    expect(h100.tokensPerSecond).toBeGreaterThan(11_000);
    const large = estimateJob(input({ modelConfig: LLAMA_70B, settings: { ...input({}).settings, quantization: 'nf4' } })).timeByFormula;
    expect(large.map(({ card }) => card)).toContain('H200');
    const mixtral = { ...LLAMA_8B, model_type: 'mixtral', vocab_size: 32000, num_local_experts: 8, num_experts_per_tok: 2 };
    const perToken = flopsPerToken(describeLayout(mixtral).layout!, mixtral, { meanExample: 1, trainedShare: 1 });
    expect(perToken / 4).toBeGreaterThan(12e9); // of 46.7 billion parameters 12.9 are at work
    expect(perToken / 4).toBeLessThan(13e9);
  });

  it('says what is not known', () => {
    const estimate = estimateJob(input({ sample: null, modelConfig: { model_type: 'bert' } }));
    expect(estimate).toMatchObject({ tokens: null, memory: null, time: [], timeByFormula: [], totalSteps: 126 });
    expect(estimate.memoryUnknown).toContain('bert');
  });
});
