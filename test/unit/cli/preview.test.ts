/** `temper preview`: rows marked so that they can be read with and without colour, and without a server the same code. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { describePreview, type ShownPreview } from '../../../cli/previewText.js';
import { byteTokenizer } from '../tokens/byteTokenizer.js';

const folder = mkdtempSync(path.join(tmpdir(), 'temper-cli-preview-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const PREVIEW: ShownPreview = {
  template: 'job',
  rows: [
    {
      line: 1,
      segments: [
        ['Q\u001b[2J?\n', false],
        ['yes', true],
      ],
      tokens: 1200,
      trainedTokens: 3,
      truncated: true,
      warnings: [],
    },
    { line: 2, error: { code: 'FIELD_MISSING', message: 'A row lacks a field.', found: 'no field', field: 'a' } },
  ],
  tokenCounts: 'EXACT',
  sample: { rows: 9, problems: [{ code: 'FIELD_MISSING', message: 'A row lacks a field.', count: 2, lines: [2, 7] }] },
  warnings: [],
  estimate: {
    trainExamples: 8,
    evalExamples: 1,
    stepsPerEpoch: 4,
    totalSteps: 8,
    examplesSeen: 16,
    tokens: null,
    memory: null,
    memoryUnknown: 'no config.json',
    time: [
      { device: 'cuda: H100', tokensPerSecond: 10, seconds: 3700, jobs: 2, cost: { currencyCode: 'USD', units: '2', nanos: 50_000_000 } },
    ],
    timeByFormula: [{ card: 'A100', tokensPerSecond: 5, seconds: 7400 }],
  },
};

describe('a preview in words', () => {
  it('marks what is trained on, with colour or without, and lets no row steer the terminal', () => {
    const plain = describePreview(PREVIEW, { colour: false });
    expect(plain).toContain('── line 1 · 1,200 tokens, 3 trained, cut\nQ\\u{1b}[2J?\n⟦yes⟧\n');
    expect(plain).toContain('── line 2, field a: FIELD_MISSING');
    expect(plain).toContain('2 of 9 rows tried do not render, first at line 2, 7');
    expect(plain).toContain('1h01m on cuda: H100, 2.05 USD');
    expect(plain).not.toContain('A100'); // what was measured is better than a guess
    const unmeasured = describePreview({ ...PREVIEW, estimate: { ...PREVIEW.estimate, time: [] } }, { colour: false });
    expect(unmeasured).toContain("2h03m on one A100 (by the model's size; nothing measured yet)");
    expect(plain).not.toContain('\u001b');
    expect(describePreview(PREVIEW, { colour: true })).toContain('\u001b[32m⟦yes⟧\u001b[0m');
  });
});

describe('temper preview --file', () => {
  it('needs no server, and says what is wrong with its arguments', async () => {
    for (const [name, text] of Object.entries(byteTokenizer())) if (text !== null) writeFileSync(path.join(folder, name), text);
    const file = path.join(folder, 'rows.jsonl');
    writeFileSync(file, '{"q":"a?","a":"b"}\n{"q":"c?","a":"d"}\n');
    const temper = (...args: string[]) =>
      promisify(execFile)(process.execPath, ['--import', 'tsx', 'cli/temper.ts', 'preview', '--file', file, ...args], {
        env: { PATH: '' },
      });
    const templates = ['--input-template', '{q} ', '--output-template', '{a}'];
    const { stdout } = await temper('--base-model', folder, ...templates, '--lines', '2', '--epochs', '3', '-o', 'json');
    const preview = JSON.parse(stdout) as ShownPreview;
    expect(preview.rows).toEqual([
      {
        line: 2,
        segments: [
          ['c? ', false],
          ['d', true],
        ],
        tokens: 6,
        trainedTokens: 2,
        truncated: false,
        warnings: [],
      },
    ]);
    expect(preview.estimate).toMatchObject({ totalSteps: 3, tokens: { basis: 'EXACT', total: 18 } });
    await expect(temper('--base-model', 'none', ...templates)).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('none is no folder'),
    });
  });
});
