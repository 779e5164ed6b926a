/** A base model that someone brings: configuration, index, every tensor of every part, from headers alone. */
import { describeLayout, type ModelLayout } from './families.js';
import { shown, type ModelProblem } from './problems.js';
import type { TensorInfos } from './safetensorsHeader.js';

const TYPES = ['F32', 'F16', 'BF16'];
export const WEIGHTS_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';
const MAX_PROBLEMS = 100;

/** config.json alone: refused before a byte of the weights is looked at. */
export function checkModelConfig(config: Record<string, unknown>): { layout: ModelLayout | null; problems: ModelProblem[] } {
  const problems: ModelProblem[] = checkForCode('config.json', config);
  const wrong = (code: ModelProblem['code'], message: string) =>
    problems.push({ code, file: 'config.json', message: `config.json: ${message}` });
  const quantized = config['quantization_config'] ?? config['compression_config'];
  if (quantized !== undefined && quantized !== null)
    wrong(
      'ALREADY_QUANTIZED',
      'quantization_config is not supported. Upload the unquantized weights; a job quantizes them itself with quantization: nf4.',
    );
  const architectures = config['architectures'];
  const causal = Array.isArray(architectures) && architectures.length === 1 && /^\w+ForCausalLM$/.test(String(architectures[0]));
  if (architectures !== undefined && architectures !== null && !causal)
    wrong('ARCHITECTURE_UNSUPPORTED', `architectures is ${shown(architectures)}; expected one model "…ForCausalLM".`);
  const { layout, problem } = describeLayout(config);
  if (problem) problems.push(problem);
  return { layout: layout ?? null, problems };
}

/** Fields by which a library would run Python that came with the model. */
export function checkForCode(file: string, config: Record<string, unknown>): ModelProblem[] {
  return ['auto_map', 'custom_pipelines', 'trust_remote_code']
    .filter((field) => config[field] !== undefined && config[field] !== null && config[field] !== false)
    .map((field) => ({
      code: 'CODE_REFUSED' as const,
      file,
      message: `${file}: ${field} asks for code that comes with the model, which never runs here. Remove the field; the model must load without it.`,
    }));
}

/**
 * The parts that hold the weights, by name: what the index says, or the one file.
 * @param index  parsed; null when there is none
 * @param present  names of all files of the model
 */
export function listParts(
  index: Record<string, unknown> | null,
  present: string[],
): { parts: Map<string, string[] | null>; problems: ModelProblem[] } {
  const problems: ModelProblem[] = [];
  const wrong = (code: ModelProblem['code'], message: string) => problems.push({ code, file: INDEX_FILE, message });
  const weights = present.filter((name) => name.endsWith('.safetensors'));
  const parts = new Map<string, string[] | null>();
  if (!index) {
    const others = weights.filter((name) => name !== WEIGHTS_FILE);
    if (weights.length === 0)
      problems.push({ code: 'FILE_MISSING', message: `There are no weights: upload ${WEIGHTS_FILE}, or the parts and ${INDEX_FILE}.` });
    else if (others.length > 0)
      wrong(
        'FILE_MISSING',
        `${others.slice(0, 3).join(', ')} cannot be placed without ${INDEX_FILE}: upload it too, or weights in one file called ${WEIGHTS_FILE}.`,
      );
    else parts.set(WEIGHTS_FILE, null);
    return { parts, problems };
  }
  const map = index['weight_map'];
  if (typeof map !== 'object' || map === null || Array.isArray(map) || Object.keys(map).length === 0) {
    wrong('INDEX_INVALID', `${INDEX_FILE}: weight_map must say for each tensor which file it is in, is ${shown(map)}.`);
    return { parts, problems };
  }
  for (const [tensor, file] of Object.entries(map as Record<string, unknown>)) {
    if (typeof file !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$/.test(file)) {
      wrong('INDEX_INVALID', `${INDEX_FILE}: ${shown(tensor)} is said to be in ${shown(file)}, which is no name of a .safetensors file.`);
      return { parts: new Map(), problems };
    }
    const listed = parts.get(file);
    if (listed) listed.push(tensor);
    else parts.set(file, [tensor]);
  }
  const missing = [...parts.keys()].filter((name) => !present.includes(name)).sort();
  const unlisted = weights.filter((name) => !parts.has(name)).sort();
  for (const name of missing.slice(0, 20))
    problems.push({ code: 'FILE_MISSING', file: name, message: `${name} is missing: ${INDEX_FILE} names it.` });
  for (const name of unlisted.slice(0, 20))
    wrong('INDEX_INVALID', `${name} is not in ${INDEX_FILE}: leave it out, or upload the index that names it.`);
  return { parts, problems };
}

/** Every tensor of the model in exactly one part, where the index says, with the shape that config.json gives. */
export function checkWeights(
  layout: ModelLayout,
  parts: Map<string, { tensors: TensorInfos; listed: string[] | null }>,
): { problems: ModelProblem[]; warnings: string[] } {
  const problems: ModelProblem[] = [];
  const unused: string[] = [];
  const left = new Set(layout.tensors.keys());
  const wrong = (code: ModelProblem['code'], file: string, message: string) =>
    problems.length < MAX_PROBLEMS && problems.push({ code, file, message });
  const seen = new Map<string, string>();
  for (const [file, { tensors, listed }] of parts) {
    const said = listed && new Set(listed);
    for (const name of listed ?? [])
      if (!tensors.has(name)) wrong('INDEX_INVALID', file, `${file} has no tensor ${shown(name)}, which ${INDEX_FILE} says it has.`);
    for (const [name, { dtype, shape }] of tensors) {
      if (said && !said.has(name))
        wrong('INDEX_INVALID', file, `${file} has the tensor ${shown(name)}, which ${INDEX_FILE} does not name there.`);
      if (seen.has(name)) wrong('INDEX_INVALID', file, `${file} has the tensor ${shown(name)}, which ${seen.get(name)} has, too.`);
      seen.set(name, file);
      const wanted = layout.tensors.get(name);
      if (!wanted) {
        if (!layout.isOptional(name)) unused.push(name);
        continue;
      }
      left.delete(name);
      if (JSON.stringify(shape) !== JSON.stringify(wanted))
        wrong(
          'TENSOR_SHAPE',
          file,
          `Invalid weight ${name} shape: torch.Size([${shape.join(', ')}]), expected (${wanted.join(', ')}) by config.json.`,
        );
      if (!TYPES.includes(dtype)) wrong('TENSOR_TYPE', file, `Invalid weight ${name} type: ${dtype}, expected one of ${TYPES.join(', ')}.`);
    }
  }
  for (const name of left) {
    if (problems.length >= MAX_PROBLEMS) break;
    problems.push({
      code: 'TENSOR_MISSING',
      message: `Missing weight ${name}, expected (${layout.tensors.get(name)!.join(', ')}) by config.json.`,
    });
  }
  const shownNames = unused.slice(0, 3).map(shown).join(', ');
  const warnings =
    unused.length > 0
      ? [
          `${unused.length} tensors are no part of a ${layout.family} model and will not be used: ${shownNames}${unused.length > 3 ? ', …' : ''}.`,
        ]
      : [];
  return { problems, warnings };
}

/** The tokenizer's IDs must be rows of the embedding. @param tokens  the number of IDs, the highest and one */
export function checkVocabulary(layout: ModelLayout, tokens: number): ModelProblem[] {
  if (tokens <= layout.vocabularySize) return [];
  const message = `The tokenizer has ${tokens} tokens, and config.json says vocab_size ${layout.vocabularySize}: the model has no embedding for the last of them.`;
  return [{ code: 'VOCABULARY_MISMATCH', file: 'config.json', message }];
}
