/** What a preview says of rows of every kind, and which rows of a file it reads. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { chooseRows, openFileRows, type RowReader } from '../../../preview/chooseRows.js';
import { previewJob, type PreviewInput } from '../../../preview/previewJob.js';
import { taskTemplates } from '../../../templates/taskTemplates.js';
import { byteTokenizer } from '../tokens/byteTokenizer.js';

const folder = mkdtempSync(path.join(tmpdir(), 'temper-preview-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function write(text: string): string {
  const file = path.join(folder, `${files++}.jsonl`);
  writeFileSync(file, text);
  return file;
}

const settings = { batchSize: 2, epochs: 1, evaluationSplit: 0, cutoffLength: 40, loraRank: 8, quantization: 'none' as const };
function preview(rows: object[], changes: Partial<PreviewInput> = {}) {
  return previewJob({
    settings,
    templates: taskTemplates({ kind: 'textCompletion', inputTemplate: 'Q: {q}\n', outputTemplate: '{a}' }),
    reader: openFileRows(write(`\n${rows.map((row) => JSON.stringify(row)).join('\n')}\n`)),
    examples: rows.length,
    rows: 5,
    lines: [],
    sources: byteTokenizer(),
    throughput: [],
    prices: null,
    folder: path.join(folder, 'work'),
    ...changes,
  });
}

describe('a preview', () => {
  it('shows rows as they are trained on, with tokens, what is cut, and what is wrong', async () => {
    const answer = await preview([
      { q: 'one?', a: '1' },
      { q: 'x'.repeat(60), a: '2' },
      { q: 'three?', a: 3 },
      { q: 'four?', a: '' },
    ]);
    expect(answer.template).toBe('job');
    expect(answer.tokenCounts).toBe('EXACT');
    expect(answer.rows).toEqual([
      // BOS, eight bytes of prompt; an answer of one byte and EOS.
      {
        line: 2,
        segments: [
          ['Q: one?\n', false],
          ['1', true],
        ],
        tokens: 11,
        trainedTokens: 2,
        truncated: false,
        warnings: [],
      },
      expect.objectContaining({ line: 3, tokens: 40, trainedTokens: 2, truncated: true }),
      { line: 4, error: expect.objectContaining({ code: 'FIELD_NOT_TEXT', field: 'a', found: expect.stringContaining('3') }) },
      { line: 5, error: expect.objectContaining({ code: 'NOTHING_TRAINED' }) },
    ]);
    expect(answer.rows[1]).toMatchObject({ warnings: [{ code: 'EXAMPLE_TRUNCATED' }] });
    expect(answer.sample).toMatchObject({
      rows: 4,
      problems: [{ code: 'FIELD_NOT_TEXT', count: 1, lines: [4] }, { code: 'NOTHING_TRAINED' }],
    });
    expect(answer.estimate.tokens).toMatchObject({ basis: 'EXACT', rows: 2, tokensPerExample: 25.5, truncatedShare: 0.5, total: 102 });
  });

  it('of conversations warns of control tokens, of a template that never trains an end, and of what the cut-off leaves', async () => {
    const template =
      "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}|{% endif %}{% endfor %}";
    const rows = ['a </s> b', 'y'.repeat(50)].map((content) => ({
      messages: [
        { role: 'user', content },
        { role: 'assistant', content: 'yes' },
      ],
    }));
    const config = JSON.parse(byteTokenizer()['tokenizer_config.json']!) as Record<string, unknown>;
    const model = { tokenizerConfig: config, chatTemplate: null, family: null, now: new Date() };
    const answer = await preview(rows, { templates: taskTemplates({ kind: 'conversation', jinjaTemplate: template }, model) });
    const codes = answer.rows.map((row) => ('warnings' in row ? row.warnings.map(({ code }) => code) : []));
    expect(codes[0]).toEqual(expect.arrayContaining(['CONTROL_TOKENS', 'END_NOT_TRAINED']));
    expect(codes[1]).toEqual(expect.arrayContaining(['EXAMPLE_TRUNCATED', 'EXAMPLE_DROPPED']));
    expect(answer.rows[0]).toMatchObject({
      segments: [
        ['a </s> b|', false],
        ['yes', true],
      ],
      tokens: 13,
      trainedTokens: 3,
    });
    expect(answer.estimate).toMatchObject({ trainExamples: 1, totalSteps: 1 });
  });

  it('says why tokens are not counted', async () => {
    const unknown = await preview([{ q: 'a', a: 'b' }], { sources: { unavailable: 'The hub does not answer.' } });
    expect(unknown).toMatchObject({
      tokenCounts: 'UNAVAILABLE',
      tokenCountsReason: 'The hub does not answer.',
      estimate: { tokens: null },
    });
    expect(unknown.rows[0]).not.toHaveProperty('tokens');
    const unsupported = byteTokenizer({ tokenizer_class: 'CamembertTokenizer' });
    expect((await preview([{ q: 'a', a: 'b' }], { sources: unsupported })).tokenCountsReason).toContain('CamembertTokenizer');
  });
});

describe('the rows of a preview', () => {
  const big = Array.from({ length: 60_000 }, (_, index) => JSON.stringify({ n: index, text: 'x'.repeat(30 + (index % 40)) }));

  it('are read by ranges, a small part of a large file', async () => {
    const file = openFileRows(write(`\ufeff${big.join('\n')}`));
    let bytes = 0;
    const reader: RowReader = { ...file, read: (start, end) => ((bytes += end - start), file.read(start, end)) };
    const { shown, sample, sampled } = await chooseRows(reader, { rows: 3, lines: [] });
    expect(sampled).toBe('BYTES');
    expect(shown.map(({ line, text }) => [line, (JSON.parse(text) as { n: number }).n])).toEqual([
      [1, 0],
      [2, 1],
      [3, 2],
    ]);
    expect(sample.length).toBe(208);
    const numbers = sample.map(({ text }) => (JSON.parse(text) as { n: number }).n);
    expect(numbers[0]).toBe(0);
    expect(numbers.at(-1)).toBeGreaterThan(55_000);
    expect(bytes).toBeLessThanOrEqual(17 * 64 * 1024);
  });

  it('may be chosen by line, to the last, and a line without a row is an error', async () => {
    const reader = openFileRows(write(`${big.join('\n')}\n\n{"n":-1}`));
    const { shown } = await chooseRows(reader, { rows: 5, lines: [60_002, 5, 60_000] });
    expect(shown.map(({ line, text }) => [line, (JSON.parse(text) as { n: number }).n])).toEqual([
      [60_002, -1],
      [5, 4],
      [60_000, 59_999],
    ]);
    for (const line of [60_001, 60_003])
      await expect(chooseRows(reader, { rows: 5, lines: [line] })).rejects.toThrow(`no row on line ${line}`);
    const small = openFileRows(write('{"n":0}\r\n\n{"n":1}\n'));
    expect((await chooseRows(small, { rows: 5, lines: [3] })).shown).toEqual([{ line: 3, text: '{"n":1}' }]);
    await expect(chooseRows(small, { rows: 5, lines: [2] })).rejects.toThrow('no row on line 2');
  });

  it('are whole, however long', async () => {
    const long = JSON.stringify({ text: 'z'.repeat(300_000) });
    const reader = openFileRows(write(`${Array.from({ length: 10 }, () => long).join('\n')}\n`));
    const { shown, sample } = await chooseRows(reader, { rows: 2, lines: [] });
    expect(shown.map(({ text }) => text.length)).toEqual([long.length, long.length]);
    expect(sample.every(({ text }) => text === long)).toBe(true);
  });
});
