/** Whole datasets through the rendering process: files, splits, problems, and templates that do not want to end. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RenderedExample, type RenderedSet } from '../../../schemas/trainerProtocol.js';
import { Value } from 'typebox/value';
import { previewRows, renderSet, type RenderRequest } from '../../../templates/renderSet.js';

let folder: string;
beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), 'temper-render-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function dataset(rows: unknown[]): string {
  const file = path.join(folder, 'dataset.jsonl');
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join('\n'));
  return file;
}

function parse(text: string): RenderedExample[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as RenderedExample);
}

/** What is trained on, as the trainer reads it: by the lengths of the index, without the places held back. */
function training(): RenderedExample[] {
  const set = JSON.parse(readFileSync(path.join(folder, 'set.json'), 'utf8')) as RenderedSet;
  const index = readFileSync(path.join(folder, 'index.bin'));
  const numbers = Array.from({ length: index.length / 4 }, (_, at) => index.readUInt32LE(at * 4));
  const count = set.files.reduce((sum, { examples }) => sum + examples, 0);
  const held = new Set(numbers.slice(count));
  expect(held.size).toBe(set.heldOut);
  const bytes = Buffer.concat(set.files.map(({ name }) => readFileSync(path.join(folder, name))));
  let end = 0;
  return numbers.slice(0, count).flatMap((length, place) => {
    end += length;
    return held.has(place) ? [] : parse(bytes.toString('utf8', end - length, end));
  });
}

function evaluation(): RenderedExample[] {
  return parse(readFileSync(path.join(folder, 'eval.jsonl'), 'utf8'));
}

const classification = (rows: unknown[], more: Partial<RenderRequest> = {}): RenderRequest => ({
  kind: 'textClassification',
  datasetPath: dataset(rows),
  textField: 'text',
  labelField: 'label',
  evaluationSplit: 0.2,
  seed: 7,
  outputFolder: folder,
  ...more,
});
const chat = (template: string) => ({
  template,
  bosToken: '<s>',
  eosToken: '</s>',
  specialTokens: ['<s>', '</s>'],
  now: '2026-03-04T05:06:07Z',
});

/** The processes that one, this one by default, has started. */
function childPids(): number[] {
  return childrenOf(process.pid);
}

function commandOf(pid: number): string {
  return existsSync(`/proc/${pid}/cmdline`) ? readFileSync(`/proc/${pid}/cmdline`, 'utf8') : '';
}

function childrenOf(parent: number): number[] {
  const tasks = `/proc/${parent}/task`;
  return readdirSync(tasks).flatMap((task) => readFileSync(`${tasks}/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number));
}

const distinct = Array.from({ length: 50 }, (_, index) => ({ text: `text ${index}`, label: index % 3 === 0 ? 'b' : 'a' }));

describe('a rendered set', () => {
  it('has every example once, hashed, in the shape the trainer reads', async () => {
    const result = await renderSet(classification(distinct));
    expect(result).toMatchObject({ trainExamples: 40, evalExamples: 10, labels: ['a', 'b'], problems: [], warnings: [] });
    const [train, held] = [training(), evaluation()];
    expect([...train, ...held].every((example) => Value.Check(RenderedExample, example))).toBe(true);
    expect([...train, ...held].map(({ line }) => line).sort((a, b) => a - b)).toEqual(distinct.map((_, index) => index + 1));
    expect(train.map(({ line }) => line)).toEqual(train.map(({ line }) => line).sort((a, b) => a - b));
    expect(train[0]).toEqual({
      line: train[0]!.line,
      label: train[0]!.label,
      segments: [
        [`text ${train[0]!.line - 1}\n`, false, true],
        [train[0]!.label, true, true],
      ],
    });
    expect(result.sample.map(({ line }) => line)).toEqual([1, 2, 3]);
    const described = [...result.set!.files, { name: 'index.bin', ...result.set!.index }, { name: 'eval.jsonl', ...result.eval! }];
    expect(described.map(({ name }) => name).sort()).toEqual(
      readdirSync(folder)
        .filter((name) => !/^(dataset|set)\./.test(name))
        .sort(),
    );
    for (const { name, sha256, sizeBytes } of described) {
      const bytes = readFileSync(path.join(folder, name));
      expect([createHash('sha256').update(bytes).digest('hex'), bytes.length]).toEqual([sha256, sizeBytes]);
    }
    expect(JSON.parse(readFileSync(path.join(folder, 'set.json'), 'utf8'))).toEqual(result.set);
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('is the same again, and another with another seed', async () => {
    const first = await renderSet(classification(distinct));
    const again = await renderSet(classification(distinct));
    const other = await renderSet(classification(distinct, { seed: 8 }));
    expect(again).toEqual(first);
    expect(other.eval!.sha256).not.toBe(first.eval!.sha256);
  });

  it('is the same whatever the number of processes, and so are its problems', async () => {
    const rows = Array.from({ length: 9000 }, (_, index) => ({ text: `text ${index} ${'é"\\n'.repeat(400)}`, label: 'abc'[index % 3] }));
    const request = classification(rows);
    const [one, three] = [await renderSet(request, { processes: 1 }), await renderSet(request, { processes: 3 })];
    expect(statSync(request.datasetPath).size).toBeGreaterThan(2 * 8 * 1024 * 1024);
    expect(three).toEqual(one);
    expect(three).toMatchObject({ trainExamples: 7200, evalExamples: 1800, problems: [] });

    for (const index of [1, 5000, 8999]) Object.assign(rows[index]!, { text: index });
    const broken = classification(rows);
    const { problems } = await renderSet(broken, { processes: 3 });
    expect(problems).toMatchObject([{ code: 'FIELD_NOT_TEXT', count: 3, places: [{ line: 2 }, { line: 5001 }, { line: 9000 }] }]);
  });

  it('keeps equal examples on one side', async () => {
    const rows = Array.from({ length: 60 }, (_, index) => ({ text: `text ${index % 12}`, label: 'abc'[index % 3], unused: index }));
    const result = await renderSet(classification(rows));
    const texts = (examples: RenderedExample[]) => new Set(examples.map(({ segments }) => segments[0]![0]));
    const [train, held] = [texts(training()), texts(evaluation())];
    expect(result.evalExamples).toBe(10);
    expect([...held].filter((text) => train.has(text))).toEqual([]);
  });

  it('leaves neither side empty, however small', async () => {
    expect(await renderSet(classification(distinct.slice(0, 2), { evaluationSplit: 0.01 }))).toMatchObject({
      trainExamples: 1,
      evalExamples: 1,
    });
    expect(await renderSet(classification(distinct.slice(0, 2), { evaluationSplit: 0.99 }))).toMatchObject({
      trainExamples: 1,
      evalExamples: 1,
    });
    const equal = await renderSet(classification([distinct[0], distinct[0], distinct[0]], { evaluationSplit: 0.5 }));
    expect(equal).toMatchObject({ trainExamples: 1, evalExamples: 2 });
    expect(equal.warnings.map(({ code }) => code)).toEqual(['ONE_LABEL', 'EVALUATION_OVERLAPS']);
    expect((await renderSet(classification(distinct.slice(0, 1)))).problems).toMatchObject([{ code: 'TOO_FEW_ROWS' }]);
  });

  it('holds nothing back where nothing is asked', async () => {
    const result = await renderSet(classification(distinct, { evaluationSplit: 0 }));
    expect(result).toMatchObject({ trainExamples: 50, evalExamples: 0 });
    expect(readFileSync(path.join(folder, 'eval.jsonl'), 'utf8')).toBe('');
  });

  it('holds all back in their order where all are for evaluation', async () => {
    const result = await renderSet(classification(distinct, { evaluationSplit: 1 }));
    expect(result).toMatchObject({ trainExamples: 0, evalExamples: 50 });
    expect(evaluation().map(({ line }) => line)).toEqual(distinct.map((_, index) => index + 1));
  });

  it('reads completions by templates and by field names', async () => {
    const rows = [{ q: 'Q', c: 'C', a: 'A' }];
    const request = {
      ...classification(rows),
      kind: 'textCompletion' as const,
      evaluationSplit: 0,
      inputTemplate: '{c}: {q} => ',
      outputTemplate: 'a',
    };
    expect((await renderSet(request)).sample).toEqual([
      {
        line: 1,
        segments: [
          ['C: Q => ', false, true],
          ['A', true, true],
        ],
      },
    ]);
  });

  it('takes integer labels as their digits', async () => {
    const rows = [1, 2, 10].map((label) => ({ text: `t${label}`, label }));
    expect(await renderSet(classification(rows))).toMatchObject({ labels: ['1', '10', '2'], problems: [] });
  });
});

describe('problems', () => {
  it('are counted by kind and field, with the lines of the file', async () => {
    const rows = [
      { text: 'a', label: 'x' },
      { text: 3, label: 'x' },
      { label: 'x' },
      { text: 'b', label: null },
      { text: 'c', label: 1.5 },
      { text: 'd', label: '' },
      { text: 4, label: 'y' },
    ];
    const { problems } = await renderSet(classification(rows));
    expect(problems).toMatchObject([
      {
        code: 'FIELD_NOT_TEXT',
        field: 'text',
        count: 2,
        places: [
          { line: 2, found: 'number 3' },
          { line: 7, found: 'number 4' },
        ],
      },
      { code: 'FIELD_MISSING', field: 'text', count: 1, places: [{ line: 3, found: "only 'label'" }] },
      {
        code: 'LABEL_NOT_TEXT',
        field: 'label',
        count: 2,
        places: [
          { line: 4, found: 'null' },
          { line: 5, found: 'number 1.5' },
        ],
      },
      { code: 'LABEL_EMPTY', field: 'label', count: 1, places: [{ line: 6 }] },
    ]);
    expect(readdirSync(folder)).toEqual(['dataset.jsonl']);
  });

  it('show the first twenty places', async () => {
    const { problems } = await renderSet(classification(Array.from({ length: 50 }, () => ({ text: 1, label: 'x' }))));
    expect(problems[0]).toMatchObject({ count: 50 });
    expect(problems[0]!.places).toHaveLength(20);
  });

  it('name the template that does not parse', async () => {
    const rows = [{ q: 'Q', messages: [{ role: 'user', content: 'x' }] }];
    const completion = { ...classification(rows), kind: 'textCompletion' as const, inputTemplate: '{q', outputTemplate: '{q}' };
    expect((await renderSet(completion)).problems).toMatchObject([
      { code: 'TEMPLATE_SYNTAX', field: 'inputTemplate', message: expect.stringContaining('column 1') as string },
    ]);
    const conversation = { ...classification(rows), kind: 'conversation' as const, chat: chat('\n{% if %}') };
    expect((await renderSet(conversation)).problems).toMatchObject([
      { code: 'TEMPLATE_SYNTAX', message: expect.stringContaining('Line 2, column 7') as string },
    ]);
  });

  it('are not made of a file that cannot be read', async () => {
    await expect(renderSet(classification(distinct, { datasetPath: path.join(folder, 'nowhere.jsonl') }))).rejects.toThrow(/ENOENT/);
    await expect(renderSet(classification(distinct, { outputFolder: path.join(folder, 'nowhere') }))).rejects.toThrow(/ENOENT/);
  });
});

describe('the process', () => {
  const conversation = {
    messages: [
      { role: 'user', content: 'x'.repeat(2000) },
      { role: 'assistant', content: 'y' },
    ],
  };

  it('outlives a template that works without end, and says where', async () => {
    const template = '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}';
    const { problems } = await previewRows({
      kind: 'conversation',
      datasetPath: dataset([conversation, conversation]),
      chat: chat(template),
      rows: 5,
    });
    expect(problems).toMatchObject([{ code: 'TEMPLATE_LIMIT', count: 2, places: [{ line: 1 }, { line: 2 }] }]);
  });

  it('may be killed, and the caller learns of it', async () => {
    const before = childPids();
    const rows = Array.from({ length: 50_000 }, () => conversation);
    const rendering = previewRows({
      kind: 'textCompletion',
      datasetPath: dataset(rows),
      inputTemplate: 'messages',
      outputTemplate: 'messages',
      rows: 1e6,
    });
    const pid = await vi.waitUntil(() => childPids().find((child) => !before.includes(child)), 60_000);
    process.kill(pid, 'SIGKILL');
    await expect(rendering).rejects.toThrow(/ended with SIGKILL/);
  });

  it('dies with the one that started it', async () => {
    const rows = Array.from({ length: 50_000 }, () => conversation);
    const request = JSON.stringify({
      kind: 'textCompletion',
      datasetPath: dataset(rows),
      inputTemplate: 'x',
      outputTemplate: 'x',
      rows: 1e6,
    });
    const renderSetUrl = JSON.stringify(new URL('../../../templates/renderSet.ts', import.meta.url).href);
    const script = `const { previewRows } = await import(${renderSetUrl}); void previewRows(${request});`;
    const worker = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], { stdio: 'ignore' });
    const child = await vi.waitUntil(() => childrenOf(worker.pid!).find((pid) => commandOf(pid).includes('renderProcess')), 60_000);
    worker.kill('SIGKILL');
    await vi.waitUntil(() => !existsSync(`/proc/${child}`) || commandOf(child) === '', 10_000);
  });

  it('ends when it is told to', async () => {
    const abort = new AbortController();
    const rendering = renderSet(classification(distinct), { signal: abort.signal });
    abort.abort(new Error('told to'));
    await expect(rendering).rejects.toThrow('told to');
  });

  it('sees none of the environment', async () => {
    process.env['TEMPER_SECRET'] = 'secret';
    const { examples } = await previewRows({
      kind: 'conversation',
      datasetPath: dataset([conversation]),
      chat: chat('q{{ process }}{{ env }}{{ TEMPER_SECRET }}{% generation %}{{ messages[1].content }}{% endgeneration %}'),
      rows: 1,
    });
    expect(examples[0]!.segments).toEqual([
      ['q', false],
      ['y', true],
    ]);
    delete process.env['TEMPER_SECRET'];
  });
});
