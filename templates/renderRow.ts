/** One row of a dataset as an example for training, for each kind of task. */
import type { TaskKind } from '../schemas/trainerProtocol.js';
import { makeConversationRenderer, type ChatSettings, type RenderedRow } from './conversation.js';
import { FieldTemplateError, compileFieldTemplate, describeValue, readTextField, type FieldTemplate } from './fields.js';

export type RowTemplates = {
  kind: TaskKind;
  /** textCompletion: `{field}` templates. */
  inputTemplate?: string;
  outputTemplate?: string;
  /** textClassification: names of fields. */
  textField?: string;
  labelField?: string;
  /** conversation. */
  chat?: ChatSettings;
};

export type RowRenderer = (row: Record<string, unknown>) => RenderedRow;

/**
 * Compiles the templates of a task. `firstRow` decides whether a `{field}` template without a placeholder is a field's name.
 * Throws FieldTemplateError or TemplateError.
 */
export function makeRowRenderer(templates: RowTemplates, firstRow: Record<string, unknown>): RowRenderer {
  switch (templates.kind) {
    case 'textCompletion':
      return makeCompletionRenderer(required(templates.inputTemplate), required(templates.outputTemplate), Object.keys(firstRow));
    case 'textClassification':
      return makeClassificationRenderer(required(templates.textField), required(templates.labelField));
    case 'conversation':
      return makeConversationRenderer(required(templates.chat));
  }
}

/** The input is read, the output is learnt; both are the rows' text, in which no control token counts. */
function makeCompletionRenderer(inputTemplate: string, outputTemplate: string, fields: string[]): RowRenderer {
  const input = compileNamed('inputTemplate', inputTemplate, fields);
  const output = compileNamed('outputTemplate', outputTemplate, fields);
  return (row) => {
    const prompt = input.render(row);
    if ('problem' in prompt) return prompt;
    const answer = output.render(row);
    if ('problem' in answer) return answer;
    if (answer.text === '') return { problem: { code: 'NOTHING_TRAINED', found: 'an empty output' } };
    const segments: [string, boolean, boolean][] = [[answer.text, true, true]];
    if (prompt.text !== '') segments.unshift([prompt.text, false, true]);
    return { segments, warnings: [] };
  };
}

function compileNamed(template: 'inputTemplate' | 'outputTemplate', source: string, fields: string[]): FieldTemplate {
  try {
    return compileFieldTemplate(source, fields);
  } catch (error) {
    if (error instanceof FieldTemplateError) error.template = template;
    throw error;
  }
}

/** The text, a line end, then the label, which alone is learnt. An integer label is its decimal digits. */
function makeClassificationRenderer(textField: string, labelField: string): RowRenderer {
  return (row) => {
    const text = readTextField(row, textField);
    if ('problem' in text) return text;
    const label = readLabel(row, labelField);
    if (typeof label !== 'string') return label;
    return {
      segments: [
        [`${text.text}\n`, false, true],
        [label, true, true],
      ],
      label,
      warnings: [],
    };
  };
}

function readLabel(row: Record<string, unknown>, field: string): string | RenderedRow {
  const value = Object.hasOwn(row, field) ? row[field] : undefined;
  if (value === undefined) return readTextField(row, field) as RenderedRow;
  if (value === '') return { problem: { code: 'LABEL_EMPTY', found: 'an empty string', field } };
  if (typeof value === 'string') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value + 0);
  return { problem: { code: 'LABEL_NOT_TEXT', found: describeValue(value), field } };
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the task lacks a template that its kind needs');
  return value;
}
