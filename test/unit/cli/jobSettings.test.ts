import { describe, expect, test } from 'vitest';
import { buildJobRequest, mergeSettings, requestOrigins, type JobSettings } from '../../../cli/jobSettings.js';
import { impliedKind, parseSettings } from '../../../cli/settingsFile.js';

const FILE = parseSettings(
  'dataset: intents\ntext_completion:\n  input_template: "{a}"\n  output_template: "{b}"\nbase_model: temper-tiny\nepochs: 1\nevaluation_split: 0.2',
  's.yaml',
);

function flags(given: Record<string, string | number | boolean>): JobSettings {
  const settings: JobSettings = { values: new Map(Object.entries(given).map(([key, value]) => [key, { value, origin: `--${key}` }])) };
  settings.kind = impliedKind(settings);
  return settings;
}
const request = (given: Parameters<typeof flags>[0]) => buildJobRequest(mergeSettings(FILE, flags(given)), 'acme');

describe('the request of a job', () => {
  test('has the fields of the API, with bare IDs as full names', () => {
    expect(request({}).body).toEqual({
      dataset: 'accounts/acme/datasets/intents',
      baseModel: 'accounts/temper/models/temper-tiny',
      textCompletion: { inputTemplate: '{a}', outputTemplate: '{b}' },
      epochs: 1,
      evaluationSplit: 0.2,
    });
  });

  test('a flag wins over the file, and each value says where it came from', () => {
    const { body, rows } = request({ epochs: 3, dataset: 'accounts/other/datasets/x' });
    expect(body).toMatchObject({ epochs: 3, dataset: 'accounts/other/datasets/x' });
    expect(rows).toContainEqual({ field: 'epochs', value: 3, origin: '--epochs' });
    expect(rows).toContainEqual({ field: 'textCompletion.inputTemplate', value: '{a}', origin: 's.yaml:3' });
    expect(rows).toContainEqual({ field: 'baseModel', value: 'accounts/temper/models/temper-tiny', origin: 's.yaml:5, as its full name' });
  });

  test('a flag takes with it what it contradicts in the file', () => {
    expect(request({ text: 'a', label: 'b' }).body).not.toHaveProperty('textCompletion');
    expect(request({ warm_start_from: 'tuned' }).body).toMatchObject({ warmStartFrom: 'accounts/acme/models/tuned' });
    expect(request({ warm_start_from: 'tuned' }).body).not.toHaveProperty('baseModel');
    expect(request({ evaluation: false }).body).not.toHaveProperty('evaluationSplit');
  });

  test('a conversation needs no settings of its own', () => {
    const settings = parseSettings('dataset: d\nconversation:\nbase_model: m', 's.yaml');
    expect(buildJobRequest(settings, 'acme').body).toMatchObject({ conversation: {}, baseModel: 'accounts/acme/models/m' });
  });

  test.each([
    ['no dataset', 'base_model: m\nconversation: {}', 'no dataset'],
    ['no model', 'dataset: d\nconversation: {}', 'no model to start from'],
    [
      'two models',
      'dataset: d\nbase_model: m\nwarm_start_from: w\nconversation: {}',
      'both base_model (s.yaml:2) and warm_start_from (s.yaml:3)',
    ],
    ['no kind', 'dataset: d\nbase_model: m', 'no kind of job'],
    ['half a kind', 'dataset: d\nbase_model: m\ntext: t', 'needs label'],
    [
      'settings of another kind',
      'dataset: d\nbase_model: m\nconversation: {}\ntext: t',
      'text (s.yaml:4) is a setting of text_classification',
    ],
  ])('%s is refused before anything is sent', (_, text, message) => {
    expect(() => buildJobRequest(parseSettings(text, 's.yaml'), 'acme')).toThrow(message);
  });

  test('an error of the API finds the line to change, in either of its spellings', () => {
    const origins = requestOrigins(request({}));
    expect(origins.get('evaluationSplit')).toBe('s.yaml:7');
    expect(origins.get('evaluation_split')).toBe('s.yaml:7');
    expect(origins.get('textCompletion.outputTemplate')).toBe('s.yaml:4');
  });
});
