/** `temper preview`: what a job would train on and take, asked of a server, or with --file worked out here. */
import { statSync } from 'node:fs';
import { InvalidArgumentError, type Command } from 'commander';
import { TemperError } from '../schemas/errors.js';
import { DEFAULT_PREVIEW_ROWS, MAX_PREVIEW_ROWS } from '../schemas/preview.js';
import type { Task } from '../schemas/task.js';
import { accountOf, callApi } from './client.js';
import { ApiError, OperationError, UsageError } from './failures.js';
import { buildJobRequest, requestOrigins, SETTINGS, type JobSettings } from './jobSettings.js';
import { describePreview, type ShownPreview } from './previewText.js';
import { collectionPath, JOB } from './resources.js';
import { openSession, print, printJson, printRequest, type GlobalOptions } from './session.js';
import { addSettingFlags, gatherSettings } from './settingFlags.js';
import { requireFolder } from './modelFolder.js';

interface Options {
  rows?: number;
  lines?: number[];
  file?: string;
}

export function definePreview(command: Command): void {
  command
    .description('Show the rows as a job would train on them, with token counts and what the job will take; nothing is created')
    .option('--rows <number>', `the first this many rows (default ${DEFAULT_PREVIEW_ROWS}, at most ${MAX_PREVIEW_ROWS})`, readRows)
    .option('--lines <list>', 'lines of the dataset to show instead, such as 3,17', readLines)
    .option('--file <file>', 'a dataset on this machine, with --base-model a folder: no server is needed');
  addSettingFlags(command, SETTINGS);
  command
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  temper preview --settings-file settings.yaml --rows 3',
        '  temper preview --dataset my-intents --text text --label intent --base-model temper-tiny --lines 12,40',
        '  temper preview --file chats.jsonl --base-model ./llama-3.1-8b --conversation',
      ].join('\n'),
    )
    .action(async (_: unknown, self: Command) => {
      const options = self.opts<Options>();
      if (options.rows !== undefined && options.lines !== undefined)
        throw new UsageError('--rows shows the first rows and --lines those of your choice: give one of them');
      const settings = gatherSettings(self);
      const { output } = self.optsWithGlobals<GlobalOptions>();
      const preview =
        options.file === undefined ? await askServer(self, settings, options) : await workOut(settings, options, options.file);
      if (preview === null) return;
      if (output === 'json') printJson(preview);
      else print(describePreview(preview, { colour: wantsColour() }));
    });
}

/** Null with --dry-run. */
async function askServer(command: Command, settings: JobSettings, { rows, lines }: Options): Promise<ShownPreview | null> {
  const session = openSession(command);
  const job = buildJobRequest(settings, await accountOf(session.connection));
  const body = { ...job.body, ...(rows === undefined ? {} : { rows }), ...(lines === undefined ? {} : { lines }) };
  const request = { method: 'POST', path: `${await collectionPath(session, JOB)}:preview`, body, idempotent: true } as const;
  if (session.dryRun) {
    printRequest(session, { ...request, body: { ...body, ...('wandbApiKey' in body ? { wandbApiKey: '(hidden)' } : {}) } });
    return null;
  }
  session.status.show('rendering and counting');
  try {
    return await callApi<ShownPreview>(session.connection, request);
  } catch (error) {
    if (error instanceof ApiError) error.origins = requestOrigins(job);
    throw error;
  } finally {
    session.status.clear();
  }
}

async function workOut(settings: JobSettings, { rows, lines }: Options, file: string): Promise<ShownPreview> {
  const value = (key: string) => settings.values.get(key)?.value;
  const baseModel = value('base_model');
  if (typeof baseModel !== 'string') throw new UsageError('with --file, --base-model must be a folder with the model’s tokenizer files');
  const modelFolder = requireFolder(baseModel);
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) throw new UsageError(`${file}: no such file`);
  const number = (key: string) => value(key) as number | undefined;
  const split = value('evaluation') === false ? 0 : number('evaluation_split');
  const given = {
    epochs: number('epochs'),
    batchSize: number('batch_size'),
    loraRank: number('lora_rank'),
    evaluationSplit: split,
    quantization: value('quantization') as 'none' | 'nf4' | 'auto' | undefined,
  };
  const { previewLocalJob } = await import('../preview/localJob.js');
  try {
    return await previewLocalJob({
      file,
      modelFolder,
      task: taskOf(settings),
      given: Object.fromEntries(Object.entries(given).filter(([, setting]) => setting !== undefined)),
      rows: rows ?? DEFAULT_PREVIEW_ROWS,
      lines: lines ?? [],
    });
  } catch (error) {
    if (error instanceof TemperError) throw new OperationError(error.message);
    if (error instanceof Error && error.message.includes('is not JSON'))
      throw new OperationError(`${file} is not a valid dataset; see what is wrong with: temper validate ${file}`);
    throw error;
  }
}

function taskOf({ kind, values }: JobSettings): Task {
  const text = (key: string): string => {
    const given = values.get(key);
    if (given) return String(given.value);
    throw new UsageError(`a job of kind ${kind!.name} needs ${key}: give --${key.replaceAll('_', '-')}`);
  };
  switch (kind?.name) {
    case 'text_completion':
      return { kind: 'textCompletion', inputTemplate: text('input_template'), outputTemplate: text('output_template') };
    case 'text_classification':
      return { kind: 'textClassification', text: text('text'), label: text('label') };
    case 'conversation':
      return { kind: 'conversation', ...(values.has('jinja_template') ? { jinjaTemplate: text('jinja_template') } : {}) };
    case undefined:
      throw new UsageError('no kind of job: give --input-template and --output-template, or --text and --label, or --conversation');
  }
}

function wantsColour(): boolean {
  return process.stdout.isTTY && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
}

function readRows(text: string): number {
  const rows = Number(text);
  if (Number.isInteger(rows) && rows >= 1 && rows <= MAX_PREVIEW_ROWS) return rows;
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${MAX_PREVIEW_ROWS}.`);
}

function readLines(text: string): number[] {
  const lines = text.split(',').map(Number);
  if (lines.length <= MAX_PREVIEW_ROWS && lines.every((line) => Number.isInteger(line) && line >= 1)) return lines;
  throw new InvalidArgumentError(`It must be at most ${MAX_PREVIEW_ROWS} line numbers, from 1, with commas between them.`);
}
