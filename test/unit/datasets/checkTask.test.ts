import { describe, expect, test } from 'vitest';
import { checkTask, type DatasetTask } from '../../../datasets/checkTask.js';
import { conversation, makeFileWriter, reportInRanges } from './files.js';

const write = makeFileWriter();

function problems(rows: unknown[], task: DatasetTask): unknown[][] {
  const report = reportInRanges(write(rows.map((row) => JSON.stringify(row)).join('\n')));
  return checkTask(report, task).map(({ code, field, line, message }) => [code, field, line, message]);
}

const labels = (...values: unknown[]) => values.map((label) => ({ text: 'x', label }));
const classification: DatasetTask = { kind: 'textClassification', text: 'text', label: 'label' };
const anyText = expect.any(String) as unknown;

describe('text completion', () => {
  const task: DatasetTask = { kind: 'textCompletion', inputFields: ['q', 'context'], outputFields: ['a'] };
  const row = { q: 'Q', context: '', a: 'A' };

  test('all fields there and text', () => {
    expect(problems([row, row], task)).toEqual([]);
  });
  test('a field that no row has names those there are', () => {
    const [problem] = problems([{ q: 'Q', context: '', answer: 'A' }], task);
    expect(problem).toEqual(['E_MISSING_FIELD', 'a', 1, expect.stringContaining('q, context, answer')]);
  });
  test('a field missing in some rows gives the first line and the number', () => {
    expect(problems([row, { q: 'Q', a: 'A' }, { q: 'Q', a: 'A' }], task)).toEqual([
      ['E_MISSING_FIELD', 'context', 2, expect.stringContaining('2 of 3 rows')],
    ]);
  });
  test('a field that is not text', () => {
    expect(problems([row, { ...row, a: 3 }, { ...row, a: null }], task)).toEqual([
      ['E_FIELD_TYPE', 'a', 2, expect.stringContaining('string ×1, integer ×1, null ×1')],
    ]);
  });
  test('names of object internals are no fields', () => {
    expect(
      problems([row], { kind: 'textCompletion', inputFields: ['constructor'], outputFields: ['__proto__'] }).map(([code]) => code),
    ).toEqual(['E_MISSING_FIELD', 'E_MISSING_FIELD']);
  });
});

describe('text classification', () => {
  test.each<[string, unknown[], unknown[][]]>([
    ['strings', ['a', 'b', 'a'], []],
    ['integers', [0, 1, 0], []],
    ['both', ['a', 'b', 1], [['E_LABEL_TYPE', 'label', 3, anyText]]],
    [
      'a number that is not an integer',
      [1, 0.5, 2],
      [
        ['E_LABEL_TYPE', 'label', 2, anyText],
        ['W_LABELS_LOOK_FREE', 'label', undefined, anyText],
      ],
    ],
    [
      'null',
      ['a', null, 'b'],
      [
        ['E_LABEL_TYPE', 'label', 2, anyText],
        ['W_LABELS_LOOK_FREE', 'label', undefined, anyText],
      ],
    ],
    ['empty', ['a', 'b', ''], [['E_LABEL_TYPE', 'label', 3, anyText]]],
    ['one class', ['a', 'a'], [['W_ONE_CLASS', 'label', undefined, anyText]]],
    ['spaces', ['a', 'a ', 'b'], [['W_LABEL_SPACE', 'label', undefined, expect.stringContaining('"a "')]]],
    ['free text', Array.from({ length: 60 }, (_, index) => `answer ${index}`), [['W_LABELS_LOOK_FREE', 'label', undefined, anyText]]],
  ])('%s', (_name, values, expected) => {
    expect(problems(labels(...values), classification)).toEqual(expected);
  });
  test('the field is missing', () => {
    expect(problems([{ text: 'x', intent: 'a' }], classification)).toEqual([
      ['E_MISSING_FIELD', 'label', 1, expect.stringContaining('text, intent')],
    ]);
  });
});

describe('conversation', () => {
  const task: DatasetTask = { kind: 'conversation' };

  test('messages, or prompt and completion', () => {
    expect(problems([conversation('a', 'b')], task)).toEqual([]);
    expect(problems([{ prompt: 'a', completion: 'b' }], task)).toEqual([]);
  });
  test('prompts that are not text', () => {
    expect(problems([{ prompt: [], completion: 'b' }], task)).toEqual([['E_FIELD_TYPE', 'prompt', 1, anyText]]);
  });
  test('neither', () => {
    expect(problems([{ text: 'a' }], task)).toEqual([['E_MESSAGES', 'messages', 1, expect.stringContaining('text completion job')]]);
    expect(problems([{ conversations: [] }], task)).toEqual([
      ['E_MESSAGES', 'messages', 1, expect.stringContaining('rename conversations')],
    ]);
  });
  test('tools need a template that renders them', () => {
    expect(problems([{ ...conversation('a', 'b'), tools: [{}] }], task)).toEqual([['W_TOOLS', 'messages', undefined, anyText]]);
  });
});
