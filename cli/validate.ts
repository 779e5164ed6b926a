/** `temper validate FILE`: the checks of an upload, and of a job's settings against it, without a server and without an account. */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { checkTask, type DatasetTask, type TaskProblem } from '../datasets/checkTask.js';
import { describeReport } from '../datasets/describeReport.js';
import { compileFieldTemplate } from '../templates/fields.js';
import type { TokenReport, ValidationReport } from '../schemas/validationReport.js';
import { TokenizerUnsupported } from '../tokens/tokenizerRules.js';
import { OperationError, UsageError } from './failures.js';
import { formatCount } from './format.js';
import { kindOf, SETTINGS, type JobSettings } from './jobSettings.js';
import { requireFolder } from './modelFolder.js';
import { print, printJson, type GlobalOptions } from './session.js';
import { addSettingFlags, gatherSettings } from './settingFlags.js';
import { openStatusLine } from './statusLine.js';
import { withUnpacked } from './unpacked.js';
import { transferProgress } from './upload.js';

const TOKENS_DEADLINE_MS = 600_000;

export function defineValidate(command: Command): void {
  command
    .description('Check a dataset file here, without a server; with settings, also whether a job can learn from it')
    .argument('<file>', 'JSONL file, plain, gzip or zstd')
    .option('--base-model <folder>', 'folder of a base model, whose tokenizer counts tokens');
  addSettingFlags(
    command,
    SETTINGS.filter((setting) => kindOf(setting.key)),
  );
  command
    .addHelpText(
      'after',
      '\nExamples:\n  temper validate intents.jsonl\n  temper validate intents.jsonl --text text --label intent\n  temper validate rows.jsonl --settings-file settings.yaml',
    )
    .action(async (path: string, _: unknown, self: Command) => {
      const { output, quiet = false } = self.optsWithGlobals<GlobalOptions>();
      const { baseModel } = self.opts<{ baseModel?: string }>();
      await validate(path, taskOf(gatherSettings(self)), { json: output === 'json', quiet, baseModel });
    });
}

interface Options {
  json: boolean;
  quiet: boolean;
  baseModel?: string;
}

async function validate(path: string, task: DatasetTask | undefined, { json, quiet, baseModel }: Options): Promise<void> {
  requireFile(path);
  const modelFolder = baseModel === undefined ? undefined : requireFolder(baseModel);
  const status = openStatusLine({ quiet });
  // Loaded here only: it brings more than all other commands together.
  const { validateUnpacked } = await import('../datasets/validate.js');
  const report = await withUnpacked(path, async (unpacked) => {
    const show = transferProgress(status, `checking ${path}`, 'sizeBytes' in unpacked ? unpacked.sizeBytes : statSync(path).size);
    const made = await validateUnpacked(unpacked, { onProgress: ({ bytes }) => show(bytes) });
    if (modelFolder !== undefined && made.valid && 'path' in unpacked) {
      status.show('counting tokens');
      made.tokens = await countTokens(modelFolder, unpacked.path, made);
    }
    return made;
  });
  status.clear();
  const problems = task && report.valid ? checkTask(report, task) : [];
  const errors = problems.filter(({ code }) => !code.startsWith('W_'));
  if (json) printJson(task ? { ...report, taskProblems: problems } : report);
  else if (!quiet) {
    print(describeReport(report));
    if (problems.length > 0) print(['', 'For the job', ...problems.map(describeTaskProblem)].join('\n'));
  }
  if (!report.valid) {
    const count = report.errors.reduce((sum, problem) => sum + problem.count, 0);
    throw new OperationError(`${path} is not a valid dataset: ${formatCount(count)} ${count === 1 ? 'problem' : 'problems'}`);
  }
  if (errors.length > 0) throw new OperationError(`${path} is a valid dataset, but not for this job: ${errors[0]!.message}`);
}

async function countTokens(modelFolder: string, file: string, report: ValidationReport): Promise<TokenReport> {
  const { countLengths } = await import('../tokens/countTokens.js');
  const { readTokenizerSources } = await import('../preview/localJob.js');
  const { lines, examples } = report;
  try {
    const counts = await countLengths(readTokenizerSources(modelFolder), { file, lines, examples }, { deadlineMs: TOKENS_DEADLINE_MS });
    return { baseModel: modelFolder, counts };
  } catch (error) {
    if (!(error instanceof TokenizerUnsupported)) throw error;
    return { baseModel: modelFolder, counts: { tokenCounts: 'UNAVAILABLE', reason: error.message } };
  }
}

function describeTaskProblem({ code, message }: TaskProblem): string {
  return `  ${code}: ${message}`;
}

/** Undefined when nothing was said about a job. */
function taskOf({ kind, values }: JobSettings): DatasetTask | undefined {
  const value = (key: string): string => {
    const given = values.get(key);
    if (!given) throw new UsageError(`a job of kind ${kind?.name} needs ${key}: give --${key.replaceAll('_', '-')}`);
    return String(given.value);
  };
  switch (kind?.name) {
    case undefined:
      return undefined;
    case 'conversation':
      return { kind: 'conversation' };
    case 'text_classification':
      return { kind: 'textClassification', text: value('text'), label: value('label') };
    case 'text_completion':
      return {
        kind: 'textCompletion',
        inputFields: templateFields(value('input_template')),
        outputFields: templateFields(value('output_template')),
      };
  }
}

function templateFields(template: string): string[] {
  try {
    return compileFieldTemplate(template).fields;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function requireFile(path: string): void {
  try {
    if (!statSync(path).isFile()) throw new UsageError(`${path} is not a file`);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? `${path}: no such file` : `${path} cannot be read: ${(error as Error).message}`,
    );
  }
}
