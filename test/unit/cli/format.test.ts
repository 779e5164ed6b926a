import { describe, expect, test } from 'vitest';
import { ApiError, explain } from '../../../cli/failures.js';
import { formatDuration, formatFields, formatNumber, formatSize, formatTable, plainText } from '../../../cli/format.js';
import { describeProgress } from '../../../cli/jobText.js';
import { nearest } from '../../../cli/nearest.js';
import { openStatusLine } from '../../../cli/statusLine.js';

describe('values', () => {
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_500, '1.5 KB'],
    [99_960, '100 KB'],
    [999_600, '1.0 MB'],
    [5_370_000_000, '5.4 GB'],
  ])('%d bytes', (bytes, text) => expect(formatSize(bytes)).toBe(text));
  test.each([
    [0.4, '0s'],
    [59.6, '1m00s'],
    [3_725, '1h02m'],
    [90_000, '1d01h'],
  ])('%d seconds', (seconds, text) => expect(formatDuration(seconds)).toBe(text));
  test.each([
    [0, '0'],
    [1.23456, '1.235'],
    [0.0001, '1.00e-4'],
    [123456, '123500'],
  ])('%d', (value, text) => expect(formatNumber(value)).toBe(text));
  test('what a user wrote cannot steer the terminal', () => expect(plainText('a\x1b[31mb\u202ec\nd')).toBe('a[31mbc d'));
});

describe('tables', () => {
  const titles = ['ID', 'STATE', 'NAME', 'CREATED'];
  const rows = [
    ['a-job-with-a-long-id', 'READY', 'accounts/acme/models/a-very-long-name-of-a-model', '2026-11-24'],
    ['b', 'UPLOADING', 'short', '2026-11-25'],
  ];
  const widest = (table: string) => Math.max(...table.split('\n').map((line) => line.length));
  test('fit the terminal: the widest column gives way, never the ID', () => {
    const table = formatTable(titles, rows, 60);
    expect(widest(table)).toBeLessThanOrEqual(60);
    expect(table).toMatch(/^a-job-with-a-long-id {2}READY {6}accounts\S*… {2}2026-11-24$/m);
  });
  test('leave out the last columns where even that is too wide', () => {
    expect(formatTable(titles, rows, 44)).toMatch(/^ID +STATE +NAME\na-job-with-a-long-id {2}READY {6}accounts/);
    expect(widest(formatTable(titles, rows, 44))).toBeLessThanOrEqual(44);
  });
  test('are whole when they go to a file', () =>
    expect(formatTable(titles, rows, undefined)).toContain('a-very-long-name-of-a-model  2026-11-24'));
  test('fields without a value are left out', () =>
    expect(
      formatFields([
        ['A', '1'],
        ['Longer', ''],
        ['B', undefined],
        ['C', '2'],
      ]),
    ).toBe('A: 1\nC: 2'));
});

test('the line of a running job says how far it is', () => {
  const job = {
    state: 'RUNNING',
    stage: 'training',
    progress: { step: 40, totalSteps: 100, epoch: 0.8, loss: 1.2345, tokensPerSecond: 3210.4, etaSeconds: 130 },
  };
  expect(describeProgress(job)).toBe(
    'RUNNING (training)  [########............]  40%  step 40/100  epoch 0.80  loss 1.234  3,210 tokens/s  ETA 2m10s',
  );
});

test('an error of the API names each place once, with the line of the settings file', () => {
  const error = new ApiError(400, 'epochs must be positive', [
    { field: 'epochs', reason: 'EPOCHS_NOT_POSITIVE', message: 'epochs must be positive' },
    { line: 12, field: 'messages[1].role', reason: 'E_ROLE', message: 'unknown role', hint: 'use user' },
  ]);
  error.origins = new Map([['epochs', 's.yaml:7']]);
  expect(explain(error)).toBe(
    'Error: epochs must be positive\n  epochs (s.yaml:7): EPOCHS_NOT_POSITIVE\n  line 12, messages[1].role: unknown role [E_ROLE] → use user',
  );
});

test.each([
  ['lora_rnak', 'lora_rank'],
  ['warmStartFrom', 'warm_start_from'],
  ['lable', 'label'],
  ['something_else', undefined],
])('%s most likely means %s', (word, known) => {
  expect(nearest(word, ['lora_rank', 'label', 'epochs', 'warm_start_from'])).toBe(known);
});

describe('the status line', () => {
  const record = (isTTY: boolean) => {
    const written: string[] = [];
    return { written, stream: { write: (text: string) => written.push(text), isTTY, columns: 20 } };
  };
  test('is redrawn in place on a terminal and never wraps', () => {
    const { written, stream } = record(true);
    const status = openStatusLine({ quiet: false }, stream);
    status.show('x'.repeat(50));
    status.print('an event');
    status.clear();
    expect(written[0]).toBe(`\r\x1b[2K${'x'.repeat(18)}…`);
    expect(written).toContain('an event\n');
    expect(written.at(-1)).toBe('\r\x1b[2K');
  });
  test('is no line at all elsewhere while things are quick', () => {
    const { written, stream } = record(false);
    const status = openStatusLine({ quiet: false }, stream);
    status.show('step 1');
    status.print('an event');
    expect(written).toEqual(['an event\n']);
  });
});
