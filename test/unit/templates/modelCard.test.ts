/** The model card: fresh, complete, and safe with what users write. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { renderModelCard, type ModelCard } from '../../../templates/modelCard.js';
import { COMPILED, compileModelCard } from '../../../templates/precompile.js';

const card: ModelCard = {
  modelName: 'accounts/a/models/m',
  displayName: 'Intents | *v2*\n# not a heading',
  job: 'accounts/a/fineTuningJobs/j',
  baseModel: { name: 'accounts/fireworks/models/llama-v3p1-8b-instruct', source: { hub: 'meta-llama/Meta-Llama-3.1-8B-Instruct' } },
  warmStart: null,
  dataset: { name: 'accounts/a/datasets/d', sha256: 'abc', examples: 100 },
  prepared: { trainExamples: 85, evalExamples: 15, labels: null },
  settings: {
    task: { kind: 'textCompletion', inputTemplate: 'Q | `{q}`\n', outputTemplate: '{{ 7 * 7 }}{a}' },
    baseModel: 'accounts/fireworks/models/llama-v3p1-8b-instruct',
    epochs: 2,
    learningRate: 1e-4,
    batchSize: 16,
    loraRank: 20,
    loraAlpha: 40,
    loraDropout: 0.05,
    quantization: 'none',
    warmupSteps: null,
    schedule: 'cosine',
    weightDecay: 0,
    maxGradNorm: 1,
    cutoffLength: 512,
    seed: 42,
    evaluation: true,
    evaluationSplit: 0.15,
  },
  settingOrigins: { epochs: 'given', seed: 'default' },
  training: { steps: 12, trainedTokens: 3456, finalLoss: 0.123456789 },
  evaluation: { metric: 'perplexity', base: 12.3456789, tuned: 3.2, examples: 15 },
  targetModules: ['q_proj', 'v_proj'],
};

it('is compiled from its source as it is now', () => {
  expect(readFileSync(COMPILED, 'utf8'), 'run: node --import tsx templates/precompile.ts').toBe(compileModelCard());
});

it('says what the model is, how good it is and how to load it', () => {
  const text = renderModelCard(card);
  const [, head, body] = text.split(/^---$/m) as [string, string, string];
  expect(parse(head)).toMatchObject({ base_model: 'meta-llama/Meta-Llama-3.1-8B-Instruct', library_name: 'peft' });
  expect(body).toContain('| perplexity | 12.346 | 3.2 |');
  expect(body).toContain('| epochs | `2` | given |');
  expect(body).toContain('--max-lora-rank 32');
  expect(body).toContain('AutoPeftModelForCausalLM');
  expect(body).toContain('lineage.json');
});

it('keeps what users write in its place', () => {
  const text = renderModelCard(card);
  expect(text).toContain('# Intents \\| \\*v2\\* \\# not a heading\n');
  expect(text).toContain('| inputTemplate | ``Q \\| `{q}`\\n`` |');
  expect(text).toContain('| outputTemplate | `{{ 7 * 7 }}{a}` |');
});

it('says so when there was no evaluation', () => {
  expect(renderModelCard({ ...card, evaluation: null, training: { ...card.training, finalLoss: null } })).toContain(
    'asked for no evaluation',
  );
});
