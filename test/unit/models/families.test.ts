/** The layouts of models against what transformers itself saves for each family. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BASE_MODELS } from '../../../schemas/baseModels.js';
import { describeLayout, FAMILY_NAMES } from '../../../models/families.js';

interface Golden {
  config: Record<string, unknown>;
  parameters: number;
  tensors: Record<string, number[]>;
}
const golden = JSON.parse(readFileSync(new URL('golden/layouts.json', import.meta.url), 'utf8')) as Record<string, Golden>;

it.each(Object.entries(golden))(
  '%s: every tensor that transformers saves, with its shape, and no other',
  (_, { config, parameters, tensors }) => {
    const { layout } = describeLayout(config);
    expect(Object.fromEntries(layout!.tensors)).toEqual(tensors);
    expect(layout!.parameters).toBe(parameters);
  },
);

it('knows the families that the trainer tunes', () => {
  const source = readFileSync(new URL('../../../trainer/temper_trainer/families.py', import.meta.url), 'utf8');
  const trained = [...source.matchAll(/^ {4}'(\w+)': /gm)].map(([, name]) => name);
  expect([...FAMILY_NAMES].sort()).toEqual(trained.sort());
});

it('counts the parameters of a model of the catalogue', () => {
  const config = {
    model_type: 'llama',
    hidden_size: 4096,
    intermediate_size: 14336,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    num_hidden_layers: 32,
    vocab_size: 128256,
    max_position_embeddings: 131072,
  };
  const known = BASE_MODELS.find(({ name }) => name.endsWith('/llama-v3p1-8b-instruct'))!;
  expect(describeLayout(config).layout!.parameters / known.parameters).toBeCloseTo(1, 2);
});

describe('a configuration that cannot be', () => {
  const good = golden['llama']!.config;
  it.each([
    [
      'model_type',
      'phi3',
      'ARCHITECTURE_UNSUPPORTED',
      'config.json: model_type is "phi3"; the model families that can be tuned here are llama',
    ],
    ['model_type', undefined, 'ARCHITECTURE_UNSUPPORTED', 'model_type is nothing'],
    ['num_hidden_layers', 1e9, 'CONFIG_INVALID', 'config.json: num_hidden_layers must be a whole number from 1 to 512, is 1000000000.'],
    ['num_hidden_layers', '2', 'CONFIG_INVALID', 'is "2"'],
    ['hidden_size', undefined, 'CONFIG_INVALID', 'hidden_size is missing.'],
    ['vocab_size', 0, 'CONFIG_INVALID', 'vocab_size must be a whole number from 1'],
    ['head_dim', 1.5, 'CONFIG_INVALID', 'head_dim must be'],
    ['num_key_value_heads', 3, 'CONFIG_INVALID', 'num_attention_heads 4 is no multiple of num_key_value_heads 3.'],
    ['attention_bias', 'yes', 'CONFIG_INVALID', 'attention_bias must be true or false, is "yes".'],
  ])('%s %j', (name, value, code, message) => {
    const { problem } = describeLayout({ ...good, [name]: value });
    expect(problem).toMatchObject({ code, message: expect.stringContaining(message) as string });
  });
});
