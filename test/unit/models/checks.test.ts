/** Add-ons and base models, right and wrong in every way of the catalogue of bad input. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { checkAdapter } from '../../../models/adapter.js';
import { checkForCode, checkModelConfig, checkVocabulary, checkWeights, listParts } from '../../../models/baseModel.js';
import { describeLayout } from '../../../models/families.js';
import { refuseModelFile } from '../../../schemas/modelFiles.js';
import { readHeader, tensorFile } from '../../safetensorsFiles.js';

interface Golden {
  config: Record<string, unknown>;
  tensors: Record<string, number[]>;
  targets: string[];
  adapter: Record<string, number[]>;
}
const golden = JSON.parse(readFileSync(new URL('golden/layouts.json', import.meta.url), 'utf8')) as Record<string, Golden>;
const llama = golden['llama']!;
const base = (family: string) => ({ name: 'accounts/a/models/base', layout: describeLayout(golden[family]!.config).layout! });

const CONFIG = { peft_type: 'LORA', task_type: 'CAUSAL_LM', r: 4, lora_alpha: 8, bias: 'none', target_modules: ['q_proj', 'v_proj'] };
const SHAPES = Object.fromEntries(Object.entries(llama.adapter).filter(([name]) => /q_proj|v_proj/.test(name)));

async function adapterProblems(config: object, shapes: Record<string, number[]> = SHAPES, dtype?: string) {
  return checkAdapter({ ...CONFIG, ...config }, await readHeader(tensorFile(shapes, dtype)), base('llama')).problems;
}

it.each(Object.entries(golden))('%s: takes what PEFT saves for the modules that jobs tune', async (family, { targets, adapter }) => {
  const { problems, facts } = checkAdapter({ ...CONFIG, target_modules: targets }, await readHeader(tensorFile(adapter)), base(family));
  expect(problems).toEqual([]);
  expect(facts).toEqual({ r: 4, targetModules: [...targets].sort() });
});

describe('an add-on that is wrong', () => {
  const renamed = (from: string, to: string | null, shape?: number[]) => {
    const { [from]: old, ...rest } = SHAPES;
    return to === null ? rest : { ...rest, [to]: shape ?? old! };
  };
  const A = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight';
  it.each([
    [{ r: 3 }, 'LORA_RANK', 'r must be an integer between 4 and 64, inclusive, is 3.'],
    [{ r: 65 }, 'LORA_RANK', 'is 65.'],
    [{ r: '8' }, 'LORA_RANK', 'is "8".'],
    [{ peft_type: 'IA3' }, 'ADAPTER_CONFIG_INVALID', 'peft_type must be "LORA", is "IA3".'],
    [{ task_type: 'SEQ_CLS' }, 'ADAPTER_CONFIG_INVALID', 'task_type must be "CAUSAL_LM"'],
    [{ lora_alpha: 0 }, 'ADAPTER_CONFIG_INVALID', 'lora_alpha must be a number above 0'],
    [{ lora_alpha: 1e9 }, 'ADAPTER_CONFIG_INVALID', 'is 1000000000.'],
    [{ target_modules: '.*_proj' }, 'TARGET_MODULES', 'must be a list of names'],
    [{ target_modules: ['q_proj', 'x_proj'] }, 'TARGET_MODULES', 'target_modules has "x_proj"; supported are q_proj'],
    [{ target_modules: ['w1'] }, 'TARGET_MODULES', '"w1", and accounts/a/models/base has no such layer; it has q_proj'],
    [{ use_dora: true }, 'ADAPTER_VARIANT', 'add-ons with DoRA are not supported'],
    [{ modules_to_save: ['lm_head'] }, 'ADAPTER_VARIANT', 'layers saved whole'],
    [{ bias: 'all' }, 'ADAPTER_VARIANT', 'bias is "all"'],
    [{ rank_pattern: { '(a+)+$': 8 } }, 'ADAPTER_VARIANT', 'ranks that differ'],
    [{ megatron_config: { a: 1 } }, 'ADAPTER_VARIANT', 'Megatron'],
    [{ auto_mapping: { base_model_class: 'X' } }, 'ADAPTER_VARIANT', 'classes of its own'],
  ])('configuration %j', async (config, code, message) => {
    expect((await adapterProblems(config))[0]).toMatchObject({ code, message: expect.stringContaining(message) as string });
  });

  it.each([
    [
      'a shape of another base model',
      renamed(A, A, [4, 128]),
      'TENSOR_SHAPE',
      'Invalid LoRA weight model.layers.0.self_attn.q_proj.lora_A.weight shape: torch.Size([4, 128]), expected (4, 64)',
    ],
    ['another rank than r', renamed(A, A, [8, 64]), 'TENSOR_SHAPE', 'torch.Size([8, 64]), expected (4, 64)'],
    [
      'a weight that lacks',
      renamed(A, null),
      'TENSOR_MISSING',
      'Missing LoRA weight model.layers.0.self_attn.q_proj.lora_A.weight, expected (4, 64).',
    ],
    [
      'a weight too many',
      { ...SHAPES, 'base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight': [4, 64] },
      'TENSOR_UNEXPECTED',
      'Unexpected LoRA weight',
    ],
    ['a name without its prefix', renamed(A, A.replace('base_model.model.', '')), 'TENSOR_UNEXPECTED', 'Unexpected LoRA weight'],
  ])('%s', async (_, shapes, code, message) => {
    expect((await adapterProblems({}, shapes))[0]).toMatchObject({ code, message: expect.stringContaining(message) as string });
  });

  it('a type that is no floating point', async () => {
    expect((await adapterProblems({}, SHAPES, 'I16'))[0]).toMatchObject({
      code: 'TENSOR_TYPE',
      message: expect.stringContaining('type: I16, expected one of F32, F16, BF16') as string,
    });
  });
});

it('says that experts cannot be tuned on, and takes them', async () => {
  const { layout } = base('mixtral');
  const shapes = Object.fromEntries(
    [...layout.tensors]
      .filter(([name]) => name.endsWith('w1.weight'))
      .flatMap(([name, [outputs, inputs]]) => {
        const path = `base_model.model.${name.replace(/\.weight$/, '')}`;
        return [
          [`${path}.lora_A.weight`, [4, inputs!]],
          [`${path}.lora_B.weight`, [outputs!, 4]],
        ];
      }),
  ) as Record<string, number[]>;
  const { problems, facts } = checkAdapter({ ...CONFIG, target_modules: ['w1'] }, await readHeader(tensorFile(shapes)), base('mixtral'));
  expect(problems).toEqual([]);
  expect(facts?.untunable).toContain('experts');
});

describe('a base model', () => {
  const { layout } = base('llama');
  const check = async (shapes: Record<string, number[]>, dtype?: string) =>
    checkWeights(layout, new Map([['model.safetensors', { tensors: await readHeader(tensorFile(shapes, dtype)), listed: null }]]));

  it('is right as transformers saves it', async () => {
    expect(await check(llama.tensors)).toEqual({ problems: [], warnings: [] });
  });

  it.each([
    [{ quantization_config: { quant_method: 'gptq' } }, 'ALREADY_QUANTIZED', 'quantization_config is not supported'],
    [{ auto_map: { AutoModel: 'x.py' } }, 'CODE_REFUSED', 'auto_map asks for code'],
    [{ architectures: ['LlamaForSequenceClassification'] }, 'ARCHITECTURE_UNSUPPORTED', 'expected one model'],
    [{ model_type: 'bert' }, 'ARCHITECTURE_UNSUPPORTED', 'model_type is "bert"'],
  ])('is refused for %j', (changes, code, message) => {
    expect(checkModelConfig({ ...llama.config, ...changes }).problems[0]).toMatchObject({
      code,
      message: expect.stringContaining(message) as string,
    });
  });

  it('is refused for a weight that lacks, has another shape or type, and warned of for one too many', async () => {
    const { 'model.norm.weight': _, ...without } = llama.tensors;
    expect((await check(without)).problems).toEqual([
      { code: 'TENSOR_MISSING', message: 'Missing weight model.norm.weight, expected (64) by config.json.' },
    ]);
    expect((await check({ ...llama.tensors, 'model.norm.weight': [65] })).problems[0]).toMatchObject({ code: 'TENSOR_SHAPE' });
    expect((await check(llama.tensors, 'I16')).problems[0]).toMatchObject({ code: 'TENSOR_TYPE' });
    expect((await check({ ...llama.tensors, 'model.extra': [1] })).warnings[0]).toContain('"model.extra"');
  });

  it.each([
    ['no weights', null, ['config.json'], 'FILE_MISSING', 'There are no weights'],
    [
      'parts without an index',
      null,
      ['model-00001-of-00002.safetensors'],
      'FILE_MISSING',
      'cannot be placed without model.safetensors.index.json',
    ],
    ['a part that lacks', { weight_map: { a: 'b.safetensors' } }, ['a.safetensors'], 'FILE_MISSING', 'b.safetensors is missing'],
    [
      'a part that is not listed',
      { weight_map: { a: 'a.safetensors' } },
      ['a.safetensors', 'b.safetensors'],
      'INDEX_INVALID',
      'b.safetensors is not in',
    ],
    ['a way out of the folder', { weight_map: { a: '../x.safetensors' } }, [], 'INDEX_INVALID', 'no name of a .safetensors file'],
    ['an address', { weight_map: { a: 'https://x/y.safetensors' } }, [], 'INDEX_INVALID', 'no name of a .safetensors file'],
    ['no map', { weight_map: [] }, [], 'INDEX_INVALID', 'weight_map must say'],
  ])('is refused for %s', (_, index, present, code, message) => {
    expect(listParts(index, present).problems[0]).toMatchObject({ code, message: expect.stringContaining(message) as string });
  });

  it('is refused when the index and the parts disagree', async () => {
    const tensors = await readHeader(tensorFile(llama.tensors));
    const listed = [...tensors.keys()].filter((name) => name !== 'model.norm.weight');
    const parts = new Map([['a.safetensors', { tensors, listed: [...listed, 'model.other'] }]]);
    expect(checkWeights(layout, parts).problems.map(({ message }) => message)).toEqual([
      'a.safetensors has no tensor "model.other", which model.safetensors.index.json says it has.',
      'a.safetensors has the tensor "model.norm.weight", which model.safetensors.index.json does not name there.',
    ]);
  });

  it('is refused when its tokenizer has more tokens than its embedding', () => {
    expect(checkVocabulary(layout, 512)).toEqual([]);
    expect(checkVocabulary(layout, 513)[0]).toMatchObject({
      code: 'VOCABULARY_MISMATCH',
      message: expect.stringContaining('513 tokens') as string,
    });
  });

  it('may not bring code in its tokenizer', () => {
    expect(checkForCode('tokenizer_config.json', { auto_map: { AutoTokenizer: ['x.T', null] } })[0]?.code).toBe('CODE_REFUSED');
  });
});

it.each([
  '../x',
  '/etc/passwd',
  'a/b.safetensors',
  'C:\\x',
  'modeling.py',
  'training_args.bin',
  'adapter_model.bin',
  'config.json\u0000',
  'lineage.json',
  '',
])('refuses the file name %j for a base model', (name) =>
  expect(refuseModelFile('HF_BASE_MODEL', name, 10)).toContain('is no file of a HF_BASE_MODEL'),
);
