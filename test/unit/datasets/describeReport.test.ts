import { expect, test } from 'vitest';
import { describeReport, summariseProblems } from '../../../datasets/describeReport.js';
import { conversation, makeFileWriter, reportInRanges } from './files.js';

const write = makeFileWriter();

const report = (content: string) => reportInRanges(write(content), { sha256: 'ab12' });

test('a good dataset: counts, fields, labels', () => {
  const rows = Array.from({ length: 1200 }, (_, index) => JSON.stringify({ text: `row ${index}`, intent: index % 3 ? 'greet' : 'leave' }));
  const good = report(rows.join('\n'));
  expect(summariseProblems(good)).toBe('');
  expect(describeReport(good)).toBe(
    `Valid: 1,200 examples in 1,200 lines, ${good.sizeBytes.toLocaleString('en-US')} bytes, rows with fields
SHA-256 ab12
Characters of text a row: 10 to 13 (line 1001), 12 on average, half at most 12, 95 % at most 13

Fields
  text: string ×1,200
  intent: string ×1,200; 2 different: greet ×800, leave ×400`,
  );
});

test('a bad dataset: the summary names the first line, the field and what to do; the text has every kind', () => {
  const human = {
    messages: [
      { role: 'human', content: 'x' },
      { role: 'assistant', content: 'y' },
    ],
  };
  const bad = report(
    [JSON.stringify(conversation('a', 'b')), JSON.stringify(human), '{"messages":]', ...Array<string>(9).fill('[]')].join('\n'),
  );
  expect(summariseProblems(bad)).toBe(
    'Line 2, messages[0].role: a message has no known role (E_ROLE): found "human", expected system, user, assistant, tool; write "user". ' +
      '10 more problems, the next at line 3, messages: see the validation report.',
  );
  const text = describeReport(bad);
  for (const part of [
    'Not valid: 2 examples in 12 lines',
    'E_JSON ×1',
    'line 3, messages: found ] at column 13',
    'E_TOP_LEVEL ×9',
    '    …',
    'Turns a conversation: 0.5 on average',
  ]) {
    expect(text).toContain(part);
  }
});

test('one problem is one sentence', () => {
  expect(summariseProblems(report(''))).toBe(
    'Line 1: the file has no rows (E_EMPTY): found no rows, expected at least one JSON object; write one JSON object on each line.',
  );
});
