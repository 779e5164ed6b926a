/** A preview without a server: a dataset's file and a base model's folder, both on this machine. */
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readBlocks } from '../datasets/blocks.js';
import type { EstimatedSettings } from '../estimates/jobEstimate.js';
import { describeLayout } from '../models/families.js';
import { defaultTuning } from '../schemas/baseModels.js';
import { DEFAULT_EVALUATION_SPLIT } from '../schemas/limits.js';
import type { SettingOrigins, Task } from '../schemas/task.js';
import { taskTemplates, type TaskTemplates } from '../templates/taskTemplates.js';
import { TOKENIZER_SOURCES, type TokenizerSources } from '../tokens/tokenizer.js';
import { openFileRows } from './chooseRows.js';
import { previewJob, type JobPreview } from './previewJob.js';

/** Tokens of an example where the model's config.json does not allow less. */
const DEFAULT_CUTOFF_LENGTH = 8192;
const NEWLINE = 10;

export interface LocalJob {
  file: string;
  modelFolder: string;
  task: Task;
  /** Those that were given; the others are as for a base model that nobody has tried settings for. */
  given: Partial<EstimatedSettings>;
  rows: number;
  lines: number[];
}

export interface LocalPreview extends JobPreview {
  settings: EstimatedSettings;
  settingOrigins: SettingOrigins;
  warnings: [];
}

/** @throws TemperError as previewJob; Error for a file whose rows are not JSON */
export async function previewLocalJob({ file, modelFolder, task, given, rows, lines }: LocalJob): Promise<LocalPreview> {
  const sources = readTokenizerSources(modelFolder);
  const modelConfig = parseOrEmpty(sources['config.json']);
  const { layout } = describeLayout(modelConfig);
  const usual: EstimatedSettings = {
    ...defaultTuning(layout?.parameters ?? 0, layout?.mixtureOfExperts ?? false),
    evaluationSplit: DEFAULT_EVALUATION_SPLIT,
    cutoffLength: Math.min(layout?.maxPositions ?? DEFAULT_CUTOFF_LENGTH, DEFAULT_CUTOFF_LENGTH),
  };
  const { batchSize, epochs, evaluationSplit, cutoffLength, loraRank, quantization } = { ...usual, ...given };
  const settings = { batchSize, epochs, evaluationSplit, cutoffLength, loraRank, quantization };
  const preview = await previewJob({
    settings,
    templates: localTemplates(modelFolder, task, sources),
    reader: openFileRows(file),
    examples: countRows(file),
    rows,
    lines,
    sources,
    throughput: [],
    prices: null,
    folder: path.join(tmpdir(), `temper-preview-${process.pid}-${randomUUID()}`),
  });
  const origins = Object.keys(settings).map((name) => [name, name in given ? 'given' : 'default'] as const);
  return { settings, settingOrigins: Object.fromEntries(origins), warnings: [], ...preview };
}

/** Null for files that the folder does not have. */
export function readTokenizerSources(folder: string): TokenizerSources {
  const read = (name: string): string | null =>
    existsSync(path.join(folder, name)) ? readFileSync(path.join(folder, name), 'utf8') : null;
  return Object.fromEntries(TOKENIZER_SOURCES.map((name) => [name, read(name)])) as unknown as TokenizerSources;
}

function localTemplates(folder: string, task: Task, sources: TokenizerSources): TaskTemplates {
  if (task.kind !== 'conversation') return taskTemplates(task);
  const tokenizerConfig = parseOrEmpty(sources['tokenizer_config.json']);
  const file = path.join(folder, 'chat_template.jinja');
  const inConfig = tokenizerConfig['chat_template'];
  const chatTemplate = existsSync(file) ? readFileSync(file, 'utf8') : typeof inConfig === 'string' ? inConfig : null;
  return taskTemplates(task, { tokenizerConfig, chatTemplate, family: null, now: new Date() });
}

function parseOrEmpty(text: string | null): Record<string, unknown> {
  return text === null ? {} : (JSON.parse(text) as Record<string, unknown>);
}

/** Lines that are not empty. */
function countRows(file: string): number {
  let rows = 0;
  for (const { bytes } of readBlocks(file, { start: 0, end: statSync(file).size })) {
    for (let from = 0; from < bytes.length;) {
      const newline = bytes.indexOf(NEWLINE, from);
      const to = newline < 0 ? bytes.length : newline;
      if (to > from && !(to === from + 1 && bytes[from] === 13)) rows++;
      from = to + 1;
    }
  }
  return rows;
}
