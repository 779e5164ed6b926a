/** Whether a validated dataset fits what a job wants to learn from it, judged by its report alone, before any other work of the job. */
import type { FieldReport, JsonType, ValidationReport } from '../schemas/validationReport.js';
import { excerpt, MESSAGES_EXAMPLE } from './problems.js';

export type DatasetTask =
  | { kind: 'textCompletion'; inputFields: string[]; outputFields: string[] }
  | { kind: 'textClassification'; text: string; label: string }
  | { kind: 'conversation' };

/** `W_` codes are warnings, the others refuse the job. */
export interface TaskProblem {
  code:
    'E_MISSING_FIELD' | 'E_FIELD_TYPE' | 'E_LABEL_TYPE' | 'E_MESSAGES' | 'W_ONE_CLASS' | 'W_LABELS_LOOK_FREE' | 'W_LABEL_SPACE' | 'W_TOOLS';
  /** What is wrong and what to do. */
  message: string;
  field?: string;
  line?: number;
}

export function checkTask(report: ValidationReport, task: DatasetTask): TaskProblem[] {
  switch (task.kind) {
    case 'textCompletion':
      return [...new Set([...task.inputFields, ...task.outputFields])].flatMap((name) => checkTextField(report, name));
    case 'textClassification':
      return [...checkTextField(report, task.text), ...checkLabelField(report, task.label)];
    case 'conversation':
      return checkConversations(report);
  }
}

/** A field that a template prints: in every row, always a string. */
function checkTextField(report: ValidationReport, name: string): TaskProblem[] {
  const { field, problems } = checkPresent(report, name);
  if (field?.firstNonStringLine === undefined) return problems;
  const { firstNonStringLine: line } = field;
  const found = `Field "${excerpt(name)}" is not text in every row (${typesText(field)}): line ${line} is the first.`;
  return [...problems, { code: 'E_FIELD_TYPE', message: `${found} Write it as a string in the dataset.`, field: name, line }];
}

/** Labels are all strings or all integers, and none is empty. */
function checkLabelField(report: ValidationReport, name: string): TaskProblem[] {
  const { field, problems } = checkPresent(report, name);
  if (field === undefined) return problems;
  const shown = excerpt(name);
  const wrongLine = firstLineOfOtherTypes(field);
  if (wrongLine !== undefined) {
    const found = `Label "${shown}" is neither a string nor an integer in every row, or is both (${typesText(field)})`;
    const message = `${found}: line ${wrongLine} is the first. Write all labels as strings.`;
    problems.push({ code: 'E_LABEL_TYPE', message, field: name, line: wrongLine });
  }
  if (field.firstEmptyLine !== undefined) {
    const found = `Label "${shown}" is empty in ${field.emptyCount} rows: line ${field.firstEmptyLine} is the first.`;
    const message = `${found} Give these rows a label or remove them.`;
    problems.push({ code: 'E_LABEL_TYPE', message, field: name, line: field.firstEmptyLine });
  }
  return [...problems, ...checkLabelSet(report, field)];
}

function checkLabelSet(report: ValidationReport, field: FieldReport): TaskProblem[] {
  const { name, distinct: labels } = field;
  const shown = excerpt(name);
  const isFree = labels === undefined || (labels.length > report.examples / 10 && labels.length > 10);
  if (isFree) {
    const found = labels === undefined ? 'very many or very long values' : `${labels.length} different values in ${report.examples} rows`;
    return [
      {
        code: 'W_LABELS_LOOK_FREE',
        message: `Label "${shown}" has ${found}: if it is free text, use text completion instead.`,
        field: name,
      },
    ];
  }
  const problems: TaskProblem[] = [];
  if (labels.length === 1) {
    problems.push({
      code: 'W_ONE_CLASS',
      message: `Label "${shown}" has one value only: there is nothing to tell apart. Add rows of other classes.`,
      field: name,
    });
  }
  const spaced = labels.find(({ value }) => value !== value.trim());
  if (spaced !== undefined) {
    const example = excerpt(JSON.stringify(spaced.value));
    const message = `Label "${shown}" has values with spaces around them, such as ${example}: they are classes of their own. Trim them.`;
    problems.push({ code: 'W_LABEL_SPACE', message, field: name });
  }
  return problems;
}

/** Conversations are `messages`, or `prompt` and `completion` as one turn. */
function checkConversations(report: ValidationReport): TaskProblem[] {
  if (report.format === 'COMPLETION') return [...checkTextField(report, 'prompt'), ...checkTextField(report, 'completion')];
  const tools = report.conversations?.rowsWithTools ?? 0;
  if (report.format === 'CHAT' && tools === 0) return [];
  if (report.format === 'CHAT') {
    const message = `${tools} rows use tools: make sure that the chat template renders them.`;
    return [{ code: 'W_TOOLS', message, field: 'messages' }];
  }
  const isShareGpt = report.fields.some(({ name }) => name === 'conversations');
  const fix = isShareGpt
    ? 'rename conversations to messages, from to role (human is user, gpt is assistant) and value to content'
    : `the rows have ${fieldNames(report)}: write {"messages": ${MESSAGES_EXAMPLE}}, or use a text completion job`;
  const line = report.fields.find(({ name }) => name === 'messages')?.firstMissingLine ?? 1;
  return [
    {
      code: 'E_MESSAGES',
      message: `A conversation job needs rows with "messages", or with "prompt" and "completion"; ${fix}.`,
      field: 'messages',
      line,
    },
  ];
}

function checkPresent(report: ValidationReport, name: string): { field?: FieldReport; problems: TaskProblem[] } {
  const field = report.fields.find((candidate) => candidate.name === name);
  const shown = excerpt(name);
  if (field === undefined) {
    const message = `No row has the field "${shown}". The dataset's rows have ${fieldNames(report)}.`;
    return { problems: [{ code: 'E_MISSING_FIELD', message, field: name, line: 1 }] };
  }
  if (field.firstMissingLine === undefined) return { field, problems: [] };
  const missing = report.examples - field.count;
  const found = `Field "${shown}" is missing in ${missing} of ${report.examples} rows: line ${field.firstMissingLine} is the first.`;
  const message = `${found} Add it to every row, with "" if it is empty.`;
  return { field, problems: [{ code: 'E_MISSING_FIELD', message, field: name, line: field.firstMissingLine }] };
}

/** The first row whose label is of another type than the most frequent of string and integer. */
function firstLineOfOtherTypes(field: FieldReport): number | undefined {
  const main: JsonType = (field.types.integer ?? 0) > (field.types.string ?? 0) ? 'integer' : 'string';
  const lines = Object.entries(field.firstLines).flatMap(([type, line]) => (type === main ? [] : [line]));
  return lines.length > 0 ? Math.min(...lines) : undefined;
}

function typesText(field: FieldReport): string {
  return Object.entries(field.types)
    .map(([type, count]) => `${type} ×${count}`)
    .join(', ');
}

function fieldNames(report: ValidationReport): string {
  const names = report.fields.slice(0, 8).map(({ name }) => excerpt(name));
  return names.length === 0 ? 'no fields' : names.join(', ') + (report.fields.length > names.length ? ', …' : '');
}
