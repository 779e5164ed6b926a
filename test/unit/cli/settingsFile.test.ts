import { describe, expect, test } from 'vitest';
import { parseSettings } from '../../../cli/settingsFile.js';

const values = (text: string) => Object.fromEntries([...parseSettings(text, 's.yaml').values].map(([key, { value }]) => [key, value]));

describe('settings files', () => {
  test('read as the reference writes them, each value with its line', () => {
    const { values: read, kind } = parseSettings(
      [
        '# a comment',
        'dataset: my-dataset',
        'text_completion:',
        '  input_template: "Q: {question} "',
        '  output_template: answer',
        'evaluation: True',
        'epochs: 2.0',
        'learning_rate: 1e-4',
      ].join('\n'),
      's.yaml',
    );
    expect(kind).toEqual({ name: 'text_completion', origin: 's.yaml:3' });
    expect(Object.fromEntries(read)).toEqual({
      dataset: { value: 'my-dataset', origin: 's.yaml:2' },
      input_template: { value: 'Q: {question} ', origin: 's.yaml:4' },
      output_template: { value: 'answer', origin: 's.yaml:5' },
      evaluation: { value: true, origin: 's.yaml:6' },
      epochs: { value: 2, origin: 's.yaml:7' },
      learning_rate: { value: 1e-4, origin: 's.yaml:8' },
    });
  });

  test.each([
    ['a kind with its settings beside it', 'text_classification:\ntext: instruction\nlabel: category', 'text_classification'],
    ['a kind from its settings alone', 'text: instruction\nlabel: category', 'text_classification'],
    ['an empty block', 'conversation: {}', 'conversation'],
    ['a template left empty', 'conversation:\n  jinja_template:', 'conversation'],
    ['nothing', '', undefined],
    ['only comments', '# nothing yet\n', undefined],
  ])('%s', (_, text, kind) => {
    expect(parseSettings(text, 's.yaml').kind?.name).toBe(kind);
  });

  test('an alias is the value it stands for', () => {
    expect(values('dataset: &name intents\nmodel_id: *name')).toEqual({ dataset: 'intents', model_id: 'intents' });
  });

  test.each([
    ['an unknown key', 'dataset: a\nlora_rnak: 3', '2:1: unknown key "lora_rnak": did you mean "lora_rank"?'],
    ['a key in camelCase', 'baseModel: m', '1:1: unknown key "baseModel": did you mean "base_model"?'],
    ['an unknown key of a kind', 'text_classification:\n  txt: a', '2:3: unknown key "txt" in text_classification: did you mean "text"?'],
    ['a number in quotes', 'epochs: "2"', '1:9: epochs must be a number, found the text "2"'],
    ['a number for a name', 'dataset: 12', '1:10: dataset must be text, found 12: put it in quotes'],
    ['half a step', 'batch_size: 3.5', '1:13: batch_size must be a whole number, found 3.5'],
    ['infinity', 'epochs: .inf', '1:9: epochs must be a number, found .inf'],
    ['yes for true', 'evaluation: yes', '1:13: evaluation must be true or false, found the text "yes"'],
    ['a list for a name', 'dataset: [a, b]', '1:10: dataset must be text, found a list'],
    ['a kind that is a word', 'conversation: yes', '1:15: conversation is a block'],
    ['a key twice', 'dataset: a\nepochs: 1\ndataset: b', '3:1: this key stands twice'],
    ['two kinds', 'conversation: {}\ntext_classification:\n  text: a', '2:1: the file has two kinds of job'],
    ['a tab', 'conversation:\n\tjinja_template: x', '2:1: a tab in the indentation'],
    ['two documents', 'epochs: 1\n---\nepochs: 2', '2:1: a second document begins here'],
    ['a list', '- a', '1:1: a settings file is a list of `key: value` lines'],
    ['no end', 'dataset: "a', '1:12: not valid YAML'],
    ['an alias of nothing', 'dataset: *x', '1:10: *x is nowhere defined'],
    ['an unknown tag', 'dataset: !file x', '1:10: not valid YAML'],
  ])('%s is refused with its place', (_, text, message) => {
    expect(() => parseSettings(text, 's.yaml')).toThrow(`s.yaml:${message}`);
  });

  test('aliases cannot grow: the 51st is refused', () => {
    const bomb = [
      'x0: &x0 [a,a,a,a,a,a,a,a,a,a]',
      ...Array.from({ length: 10 }, (_, row) => `x${row + 1}: &x${row + 1} [${Array(10).fill(`*x${row}`).join(',')}]`),
    ];
    expect(() => parseSettings(bomb.join('\n'), 's.yaml')).toThrow(/^s\.yaml:7:\d+: more than 50 aliases/);
  });
});
