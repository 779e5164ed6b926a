/** What a model's files must be: the steps for an add-on and for a base model, each from the cheapest check to the dearest. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { checkAdapter } from '../models/adapter.js';
import { checkForCode, checkModelConfig, checkVocabulary, checkWeights, INDEX_FILE, listParts } from '../models/baseModel.js';
import type { ModelProblem } from '../models/problems.js';
import type { TensorInfos } from '../models/safetensorsHeader.js';
import { TemperError } from '../schemas/errors.js';
import { withTimeLimit } from '../schemas/timeLimit.js';
import { PROTOCOL_VERSION } from '../schemas/trainerProtocol.js';
import { findTunableModel } from '../stores/baseModels.js';
import { readModelFile } from '../stores/modelFiles.js';
import type { ModelRecord } from '../stores/models.js';
import { readHeader, readJsonFile, type CopiedFile } from './modelSources.js';
import { checkTemplates } from './modelTemplates.js';
import { runTrainer } from './trainerProcess.js';
import type { ModelDependencies, ModelFindings, Validation } from './validateModel.js';

const ADAPTER_CONFIG = 'adapter_config.json';
const ADAPTER_WEIGHTS = 'adapter_model.safetensors';
const PICKLED_INDEX = 'pytorch_model.bin.index.json';
const TOKENIZERS = ['tokenizer.json', 'tokenizer.model', 'vocab.json'];
/** Weights in all; ten times the largest model that is known to be tuned. */
const MAX_MODEL_BYTES = 2e12;
/** The trainer's Python looks at the tokenizer for 30 s at most, and starts in less. */
const TOKENIZER_MS = 120_000;

export async function checkAddonFiles(
  deps: ModelDependencies,
  model: ModelRecord,
  validation: Validation,
  signal: AbortSignal,
): Promise<ModelFindings> {
  const { objects } = deps;
  const problems: ModelProblem[] = [];
  const findings: ModelFindings = { problems, warnings: [], headers: new Map(), files: validation.files, facts: null };
  const { files } = validation;
  const has = (name: string) => files.some((file) => file.name === name);
  const config = await readJsonFile(files, ADAPTER_CONFIG, objects, problems);
  if (config === undefined)
    problems.push({ code: 'FILE_MISSING', file: ADAPTER_CONFIG, message: `${ADAPTER_CONFIG} is missing: upload it with the weights.` });
  if (has('adapter_model.bin') && has(ADAPTER_WEIGHTS))
    problems.push({
      code: 'FILE_UNEXPECTED',
      file: 'adapter_model.bin',
      message: `There are both ${ADAPTER_WEIGHTS} and adapter_model.bin: upload one of them.`,
    });
  if (!has('adapter_model.bin') && !has(ADAPTER_WEIGHTS))
    problems.push({
      code: 'FILE_MISSING',
      file: ADAPTER_WEIGHTS,
      message: `The weights are missing: upload ${ADAPTER_WEIGHTS} or adapter_model.bin.`,
    });
  if (problems.length > 0 || !config) return findings;

  const base = await requireBase(deps, model);
  await convertPickled(deps, findings, validation, signal);
  const weights = findings.files.find(({ name }) => name === ADAPTER_WEIGHTS);
  const header = weights ? await readHeader(weights, objects, problems) : null;
  if (header) findings.headers.set(ADAPTER_WEIGHTS, header);
  const adapter = checkAdapter(config, header, base);
  problems.push(...adapter.problems);
  findings.warnings.push(...adapter.warnings, ...compareDeclared(model, adapter.facts));
  const template = await templates(deps, model, findings, validation, signal);
  if (adapter.facts)
    findings.facts = {
      peft: { baseModel: base.name, ...adapter.facts },
      baseDetails: null,
      conversation: template ? { style: 'jinja', template } : null,
      contextLength: model.facts.contextLength ?? base.cutoffLength,
    };
  return findings;
}

/** The base model that an add-on was made for: its name and its layout. */
async function requireBase({ database, objects }: ModelDependencies, model: ModelRecord) {
  const base = await findTunableModel(database, model.account_id, model.base_model!);
  if (!base)
    throw new TemperError('BASE_MODEL_NOT_FOUND', `The base model ${model.base_model} is gone. Create the model again with another.`);
  const text = await readModelFile(base.source, 'config.json', objects);
  if (text === null)
    throw new TemperError(
      'MODEL_FILES_MISSING',
      `The base model ${base.name} has no config.json here, so add-ons cannot be checked against it.`,
    );
  const { layout, problems } = checkModelConfig(JSON.parse(text) as Record<string, unknown>);
  if (!layout)
    throw new TemperError(
      'MODEL_ARCHITECTURE_UNSUPPORTED',
      `The base model ${base.name} cannot have add-ons here. ${problems[0]?.message ?? ''}`,
    );
  return { name: base.name, layout, cutoffLength: base.cutoffLength };
}

/** What the uploader said in peftDetails against what the files say. */
function compareDeclared(model: ModelRecord, facts: { r: number } | null): string[] {
  const declared = model.peft?.r;
  return facts && declared !== undefined && declared !== facts.r
    ? [`peftDetails.r was given as ${declared}; ${ADAPTER_CONFIG} says ${facts.r}, which counts.`]
    : [];
}

export async function checkBaseModelFiles(
  deps: ModelDependencies,
  model: ModelRecord,
  validation: Validation,
  signal: AbortSignal,
): Promise<ModelFindings> {
  const { objects } = deps;
  const problems: ModelProblem[] = [];
  const findings: ModelFindings = { problems, warnings: [], headers: new Map(), files: validation.files, facts: null };
  const config = await readJsonFile(validation.files, 'config.json', objects, problems);
  if (config === undefined)
    problems.push({ code: 'FILE_MISSING', file: 'config.json', message: 'config.json is missing: upload it with the weights.' });
  const tokenizerConfig = await readJsonFile(validation.files, 'tokenizer_config.json', objects, problems);
  if (tokenizerConfig) problems.push(...checkForCode('tokenizer_config.json', tokenizerConfig));
  if (!validation.files.some(({ name }) => TOKENIZERS.includes(name)))
    problems.push({
      code: 'FILE_MISSING',
      file: 'tokenizer.json',
      message: 'The tokenizer is missing: upload tokenizer.json or tokenizer.model, and tokenizer_config.json.',
    });
  const { layout, problems: faults } = config ? checkModelConfig(config) : { layout: null, problems: [] };
  problems.push(...faults);
  const weightBytes = validation.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  if (layout && Math.max(weightBytes, 2 * layout.parameters) > MAX_MODEL_BYTES)
    problems.push({
      code: 'MODEL_TOO_LARGE',
      file: 'config.json',
      message: `The model has ${layout.parameters} parameters by config.json, more than can be handled here.`,
    });
  if (problems.length > 0 || !layout) return findings;

  const tokens = await convertPickled(deps, findings, validation, signal, true);
  if (problems.length > 0) return findings;
  if (tokens !== undefined) problems.push(...checkVocabulary(layout, tokens));
  const index = await readJsonFile(findings.files, INDEX_FILE, objects, problems);
  const { parts, problems: missing } = listParts(
    index ?? null,
    findings.files.map(({ name }) => name),
  );
  if (index !== null) problems.push(...missing);
  const headers = new Map<string, { tensors: TensorInfos; listed: string[] | null }>();
  for (const [name, listed] of parts) {
    const file = findings.files.find((one) => one.name === name);
    const tensors = file ? await readHeader(file, objects, problems) : null;
    if (tensors) headers.set(name, { tensors, listed });
    if (tensors) findings.headers.set(name, tensors);
    signal.throwIfAborted();
  }
  // With a part missing, all its tensors would be said to be missing, too.
  if (problems.length > 0) return findings;
  const weights = checkWeights(layout, headers);
  problems.push(...weights.problems);
  findings.warnings.push(...weights.warnings);
  const template = await templates(deps, model, findings, validation, signal);
  findings.facts = {
    peft: null,
    baseDetails: {
      family: layout.family,
      parameters: layout.parameters,
      vocabularySize: layout.vocabularySize,
      maxPositions: layout.maxPositions,
      mixtureOfExperts: layout.mixtureOfExperts,
    },
    conversation: template ? { style: 'jinja', template } : null,
    contextLength: Math.min(model.facts.contextLength ?? layout.maxPositions, layout.maxPositions),
  };
  return findings;
}

async function templates(
  deps: ModelDependencies,
  model: ModelRecord,
  findings: ModelFindings,
  { folder }: Validation,
  signal: AbortSignal,
): Promise<string | null> {
  const { objects } = deps;
  const { files, problems, warnings } = findings;
  const jinja = files.find(({ name }) => name === 'chat_template.jinja');
  const found = await checkTemplates(
    {
      reference: await readJsonFile(files, 'fireworks.json', objects, problems),
      tokenizer: await readJsonFile(files, 'tokenizer_config.json', objects, problems),
      ...(jinja ? { jinja: (await objects.getRange(jinja.key, 0, jinja.sizeBytes)).toString('utf8') } : {}),
    },
    (model.conversation as { template?: string } | null)?.template,
    folder,
    signal,
  );
  problems.push(...found.problems);
  warnings.push(...found.warnings);
  return found.template;
}

/**
 * Has the trainer's Python, in a process with limits and without network, turn pickled weights into safetensors, which take their
 * place among the files, and load the tokenizer.
 * @returns the tokenizer's highest ID and one, when it was loaded
 */
async function convertPickled(
  deps: ModelDependencies,
  findings: ModelFindings,
  { prefix, folder }: Validation,
  signal: AbortSignal,
  tokenizer = false,
): Promise<number | undefined> {
  const { objects } = deps;
  const hasWeights = findings.files.some(({ name }) => name.endsWith('.safetensors'));
  const pickled = findings.files.filter(({ name }) => name.endsWith('.bin'));
  if (hasWeights && pickled.length > 0) {
    findings.problems.push({
      code: 'FILE_UNEXPECTED',
      file: pickled[0]!.name,
      message: `There are weights as .safetensors and as .bin: upload one of them.`,
    });
    return undefined;
  }
  if (pickled.length === 0 && !tokenizer) return undefined;
  await mkdir(folder, { recursive: true });
  const needed = findings.files.filter(
    ({ name }) => pickled.some((file) => file.name === name) || (tokenizer && !/\.safetensors$|README|LICENSE/.test(name)),
  );
  for (const { name, key } of needed) await objects.getFile(key, path.join(folder, name), undefined, signal);
  const outputPath = path.join(folder, 'converted');
  const inspected = await inspect(
    deps,
    { folder, convert: pickled.map(({ name }) => name), tokenizer, outputPath },
    findings.problems,
    signal,
  );
  if (!inspected) return undefined;
  for (const { name, sizeBytes, sha256 } of inspected.files) {
    const key = `${prefix}/${name}`;
    await objects.putFile(key, path.join(outputPath, name), { digest: { sizeBytes, sha256 } });
    findings.files = [...findings.files.filter((file) => file.name !== name), { name, key, sizeBytes }];
  }
  if (pickled.length > 0) await renameIndex(findings, prefix, objects);
  findings.files = findings.files.filter(({ name }) => !name.endsWith('.bin') && name !== PICKLED_INDEX);
  if (pickled.length > 0)
    findings.warnings.push(`The weights came as .bin and were converted to safetensors; the .bin files are not kept.`);
  return inspected.tokens;
}

async function inspect(
  deps: ModelDependencies,
  { folder, convert, tokenizer, outputPath }: { folder: string; convert: string[]; tokenizer: boolean; outputPath: string },
  problems: ModelProblem[],
  signal: AbortSignal,
) {
  let stage = '';
  const spec = {
    version: PROTOCOL_VERSION,
    work: 'inspect',
    path: folder,
    ...(convert.length > 0 ? { convert } : {}),
    tokenizer,
    outputPath,
  } as const;
  const run = async (signal: AbortSignal) => {
    const onEvent = (event: { event: string; stage?: string }) => void (stage = event.stage ?? stage);
    const { completed } = await runTrainer(
      { python: deps.python, scratch: folder },
      { name: 'run', spec, signal, isolated: true, onEvent },
    );
    return completed;
  };
  try {
    return await (convert.length > 0 ? run(signal) : withTimeLimit(TOKENIZER_MS, signal, run));
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof TemperError)) throw error;
    const inTokenizer = stage === 'loadTokenizer';
    // Killed by its own limits: the same files would end the same way again.
    const outOfLimits =
      ['TRAINER_CRASHED', 'TRAINER_KILLED', 'TRAINER_INTERRUPTED', 'TRAINER_OOM_HOST'].includes(error.code) && stage !== '';
    if (error.code !== 'MODEL_FILES_INVALID' && !outOfLimits) throw error;
    const message =
      error.code === 'MODEL_FILES_INVALID'
        ? error.message
        : `${inTokenizer ? 'The tokenizer' : 'The weights as .bin'} took more memory or time to load than is allowed here.`;
    problems.push({ code: inTokenizer ? 'TOKENIZER_INVALID' : 'UNSAFE_WEIGHTS', message });
    return null;
  }
}

/** `pytorch_model.bin.index.json` as the index of what its parts became. */
async function renameIndex(findings: ModelFindings, prefix: string, objects: ModelDependencies['objects']): Promise<void> {
  const index = await readJsonFile(findings.files, PICKLED_INDEX, objects, findings.problems);
  if (!index) return;
  const map = Object.entries((index['weight_map'] ?? {}) as Record<string, unknown>);
  const renamed = map.map(([tensor, file]) => [
    tensor,
    String(file)
      .replace(/^pytorch_model/, 'model')
      .replace(/\.bin$/, '.safetensors'),
  ]);
  const content = JSON.stringify({ ...index, weight_map: Object.fromEntries(renamed) as Record<string, string> });
  const key = `${prefix}/${INDEX_FILE}`;
  const { sizeBytes } = await objects.putBytes(key, content);
  findings.files = [...findings.files, { name: INDEX_FILE, key, sizeBytes } satisfies CopiedFile];
}
