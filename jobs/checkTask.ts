/** Whether a dataset's rows have what a job's task needs: judged by the report of its validation, and a chat template by its first rows. */
import { randomUUID } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { checkTask, type DatasetTask, type TaskProblem } from '../datasets/checkTask.js';
import { fieldError, TemperError, type ErrorCode } from '../schemas/errors.js';
import type { Task } from '../schemas/task.js';
import type { ValidationReport } from '../schemas/validationReport.js';
import type { DatasetRecord } from '../stores/datasets.js';
import type { ObjectStore } from '../stores/objects.js';
import { compileFieldTemplate, FieldTemplateError } from '../templates/fields.js';
import { previewRows } from '../templates/renderSet.js';
import type { SettingsSources } from './resolveSettings.js';
import { didYouMean } from '../schemas/suggest.js';

/** Rows that a chat template is tried on, and bytes read for them at most. */
const TRIED_ROWS = 20;
const TRIED_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

/** @returns warnings. @throws TemperError for what cannot be trained on, with the fields and lines */
export async function checkTaskAgainstDataset(
  sources: SettingsSources,
  task: Task,
  dataset: DatasetRecord,
): Promise<{ code: string; message: string }[]> {
  const report = JSON.parse(await sources.objects.getText(dataset.report_key!)) as ValidationReport;
  const problems = checkTask(report, describeTask(task, report));
  const errors = problems.filter(({ code }) => !code.startsWith('W_'));
  if (errors.length > 0) throw refusal(errors);
  if (task.kind === 'conversation' && task.jinjaTemplate) await tryChatTemplate(sources, task.jinjaTemplate, dataset);
  return problems.map(({ code, message }) => ({ code, message }));
}

function describeTask(task: Task, report: ValidationReport): DatasetTask {
  if (task.kind !== 'textCompletion') return task.kind === 'conversation' ? { kind: task.kind } : task;
  const known = report.fields.map(({ name }) => name);
  return {
    kind: 'textCompletion',
    inputFields: templateFields('textCompletion.inputTemplate', task.inputTemplate, known),
    outputFields: templateFields('textCompletion.outputTemplate', task.outputTemplate, known),
  };
}

function templateFields(field: string, template: string, known: string[]): string[] {
  let fields: string[];
  try {
    fields = compileFieldTemplate(template, known).fields;
  } catch (error) {
    if (!(error instanceof FieldTemplateError)) throw error;
    throw fieldError(
      error.code === 'TEMPLATE_NAMES_NO_FIELD' ? 'TEMPLATE_FIELD_UNKNOWN' : 'TEMPLATE_INVALID',
      field,
      `${field}: ${error.message}`,
    );
  }
  const unknown = fields.find((name) => !known.includes(name));
  if (unknown === undefined) return fields;
  const hint = didYouMean(unknown, known);
  const message = `${field}: no row has the field ${unknown.slice(0, 60)}${hint}; the rows have ${known.slice(0, 20).join(', ')}.`;
  throw fieldError('TEMPLATE_FIELD_UNKNOWN', field, message);
}

const CODES: Record<string, ErrorCode> = {
  E_MISSING_FIELD: 'DATASET_FIELD_MISSING',
  E_FIELD_TYPE: 'DATASET_FIELD_TYPE',
  E_LABEL_TYPE: 'DATASET_FIELD_TYPE',
  E_MESSAGES: 'DATASET_KIND_MISMATCH',
};

function refusal(problems: TaskProblem[]): TemperError {
  const details = problems.map(({ code, message, field, line }) => ({ reason: CODES[code] ?? 'DATASET_INVALID', message, field, line }));
  return new TemperError(
    details[0]!.reason as ErrorCode,
    problems
      .map(({ message }) => message)
      .slice(0, 3)
      .join(' '),
    details,
  );
}

/** Renders the first rows where a template can do no harm: a mistake in it is found now, not after the job has waited for its turn. */
async function tryChatTemplate({ objects, tmpFolder }: SettingsSources, template: string, dataset: DatasetRecord): Promise<void> {
  const folder = path.join(tmpFolder, `preview-${process.pid}-${randomUUID()}`);
  await mkdir(folder, { recursive: true });
  try {
    const datasetPath = path.join(folder, 'rows.jsonl');
    await writeFile(datasetPath, await readFirstRows(objects, dataset.object_key!));
    const chat = { template, bosToken: '<s>', eosToken: '</s>', specialTokens: [], now: new Date().toISOString() };
    const { problems } = await previewRows({ kind: 'conversation', chat, datasetPath, rows: TRIED_ROWS });
    const [problem] = problems;
    if (!problem) return;
    const place = problem.places[0];
    const code = problem.code === 'TEMPLATE_LIMIT' ? 'TEMPLATE_TOO_EXPENSIVE' : 'TEMPLATE_INVALID';
    const where = place ? ` (line ${place.line} of the dataset: ${place.found})` : '';
    const message = `The chat template does not work on this dataset: ${problem.message}${where}.`;
    throw new TemperError(code, message, [
      { reason: code, field: 'jinjaTemplate', message: problem.message, ...(place ? { line: place.line } : {}) },
    ]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The first rows, whole: at least one, however long. */
async function readFirstRows(objects: ObjectStore, key: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of objects.readObject(key)) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes < TRIED_BYTES || !chunks.some((part) => part.includes(NEWLINE))) continue;
    const bytes = Buffer.concat(chunks);
    return bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1);
  }
  return Buffer.concat(chunks);
}
