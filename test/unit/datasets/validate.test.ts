import { createHash } from 'node:crypto';
import { isUtf8 } from 'node:buffer';
import { appendFileSync, closeSync, openSync, writeSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { Compile } from 'typebox/compile';
import { MAX_DISTINCT } from '../../../datasets/rangeTally.js';
import type { ValidatedPart } from '../../../datasets/rangeQueue.js';
import { validateFile } from '../../../datasets/validate.js';
import { ValidationReport } from '../../../schemas/validationReport.js';
import { conversation, makeFileWriter, makeRandom, reportInRanges } from './files.js';

const write = makeFileWriter();
const checkReport = Compile(ValidationReport);
const chat = JSON.stringify(conversation('Hi', 'Hello'));
const jsonl = (...rows: unknown[]) => rows.map((row) => JSON.stringify(row) + '\n').join('');
const codes = (problems: ValidationReport['errors']) =>
  problems.map(({ code, count, places }) => [code, count, ...places.map(({ line }) => line)]);

const report = (content: string | Buffer) => reportInRanges(write(content));

describe('every fault of a file gives its code, count and lines', () => {
  const latin1 = Buffer.from('{"text":"caf\xe9 au lait"}\n', 'latin1');
  test.each<[string, string | Buffer, unknown[][]]>([
    ['valid', `${chat}\n${chat}\n`, []],
    ['JSON', `${chat}\n{"messages":[}\n${chat}\n`, [['E_JSON', 1, 2]]],
    ['cut off', `${chat}\n${chat.slice(0, 40)}`, [['E_TRUNCATED', 1, 2]]],
    ['cut off before the last newline only', `${chat}\n${chat}`, []],
    ['broken last line that is not cut off', `${chat}\n${chat},`, [['E_JSON', 1, 2]]],
    ['list on a line', `${chat}\n[${chat}]\n`, [['E_TOP_LEVEL', 1, 2]]],
    ['invalid UTF-8', Buffer.concat([Buffer.from(chat + '\n{"text":"'), Buffer.from([0xff]), Buffer.from('"}\n')]), [['E_UTF8', 1, 2]]],
    ['surrogate bytes', Buffer.from('{"a":"\xed\xa0\x80"}\n', 'latin1'), [['E_UTF8', 1, 1]]],
    ['overlong bytes', Buffer.from('{"a":"x\xc0\x80"}\n', 'latin1'), [['E_UTF8', 1, 1]]],
    ['Latin-1', Buffer.concat([latin1, latin1]), [['E_ENCODING', 2, 1, 2]]],
    ['escaped surrogate', '{"a":"\\ud83d"}\n', [['E_SURROGATE', 1, 1]]],
    ['NUL', '{"a":"\\u0000"}\n{"a":"\0"}\n', [['E_NUL', 2, 1, 2]]],
    ['duplicate key', '{"a":1,"a":2}\n', [['E_DUP_KEY', 1, 1]]],
    ['number', '{"a":1e999}\n', [['E_NUMBER', 1, 1]]],
    ['depth', `{"a":${'['.repeat(70)}${']'.repeat(70)}}\n`, [['E_DEPTH', 1, 1]]],
    ['bare CR as line end', '{"a":1}\r{"a":2}\r', [['E_JSON', 1, 1]]],
    ['byte order mark inside', `${chat}\n\ufeff${chat}\n`, [['E_JSON', 1, 2]]],
    [
      'too long',
      `${chat}\n{"a":"${'x'.repeat(9 * 1024 * 1024)}"}\n{"a":}\n`,
      [
        ['E_LINE_TOO_LONG', 1, 2],
        ['E_JSON', 1, 3],
      ],
    ],
    ['empty', '', [['E_EMPTY', 1, 1]]],
    ['only blank lines', '\n \r\n\n', [['E_EMPTY', 1, 1]]],
    ['too many messages', `${JSON.stringify(conversation(...Array<string>(2050).fill('x')))}\n`, [['E_MESSAGES', 1, 1]]],
    ['as many as there may be', `${JSON.stringify(conversation(...Array<string>(2048).fill('x')))}\n`.repeat(2), []],
    ['messages missing', `${chat}\n{"text":"x"}\n${chat}\n`, [['E_MESSAGES', 1, 2]]],
    ['mixed formats', jsonl(JSON.parse(chat), { prompt: 'a', completion: 'b' }), [['E_MIXED_FORMATS', 1, 2]]],
    ['conversations among others', jsonl({ text: 'a' }, { text: 'b' }, JSON.parse(chat)), [['E_MIXED_FORMATS', 1, 3]]],
    [
      'role order',
      jsonl(conversation('a', 'b'), { messages: conversation('a').messages }, conversation('a', 'b', 'c')),
      [['E_NO_FINAL_ASSISTANT', 2, 2, 3]],
    ],
  ])('%s', (_name, content, expected) => {
    const { valid, errors } = report(content);
    expect(codes(errors)).toEqual(expected);
    expect(valid).toBe(expected.length === 0);
  });
});

describe('what is accepted with a warning', () => {
  test.each<[string, string, unknown[][]]>([
    ['byte order mark', `\ufeff${chat}\n`, [['W_BOM', 1, 1]]],
    ['blank lines', `\n${chat}\r\n\n`, [['W_BLANK', 2, 1, 3]]],
    ['CRLF is not even that', `${chat}\r\n${chat.replace('Hi', 'Ho')}\r\n`, []],
    ['repeated rows', `${chat}\n`.repeat(3), [['W_DUPLICATES', 2, 2, 3]]],
    ['control tokens', `${chat}\n${chat.replace('Hello', 'a<|eot_id|>b')}\n`, [['W_SPECIAL_TOKEN', 1, 2]]],
    ['unused fields', jsonl(conversation('a', 'b'), { ...conversation('c', 'd'), id: 7 }), [['W_EXTRA_FIELD', 1, 2]]],
    ['a field in some rows', jsonl({ a: 'x', b: 'y' }, { a: 'z' }, { a: 'w' }), [['W_MISSING_FIELD', 2, 2]]],
    ['a field of several types', jsonl({ a: 'x' }, { a: 'y' }, { a: 1 }), [['W_MIXED_TYPES', 1, 3]]],
    [
      'very many fields',
      jsonl(...Array.from({ length: 150 }, (_, index) => ({ ...conversation('a', 'b'), [`f${index}`]: 1 }))),
      expect.arrayContaining([['W_MANY_FIELDS', 1, 1]]) as never,
    ],
  ])('%s', (_name, content, expected) => {
    const { valid, warnings } = report(content);
    expect(codes(warnings)).toEqual(expected);
    expect(valid).toBe(true);
  });
});

describe('files of another format are named at once', () => {
  const utf16 = Buffer.from(chat, 'utf16le');
  test.each<[string, Buffer | string, string, string]>([
    ['gzip', gzipSync(chat), 'E_FORMAT', 'gzip'],
    ['zip', Buffer.from('PK\x03\x04..data.jsonl'), 'E_FORMAT', 'zip'],
    ['xlsx', Buffer.from('PK\x03\x04....[Content_Types].xml'), 'E_FORMAT', 'Excel'],
    ['Parquet', Buffer.from('PAR1\x15\x04'), 'E_FORMAT', 'Parquet'],
    ['PDF', '%PDF-1.7\n', 'E_FORMAT', 'PDF'],
    ['SQLite', 'SQLite format 3\0', 'E_FORMAT', 'SQLite'],
    ['CSV', 'text,label\nhello,greeting\nbye,farewell\n', 'E_FORMAT', 'CSV'],
    ['TSV', 'text\tlabel\nhello\tgreeting\n', 'E_FORMAT', 'TSV'],
    ['UTF-16 with a mark', Buffer.concat([Buffer.from([0xff, 0xfe]), utf16]), 'E_ENCODING', 'UTF-16LE'],
    ['UTF-16 without', utf16, 'E_ENCODING', 'UTF-16LE'],
    ['UTF-16 big end first', Buffer.from(utf16).swap16(), 'E_ENCODING', 'UTF-16BE'],
    ['UTF-32', Buffer.from([0xff, 0xfe, 0, 0, 0x7b, 0, 0, 0]), 'E_ENCODING', 'UTF-32LE'],
    ['a JSON document', JSON.stringify([{ a: 1 }], null, 2), 'E_TOP_LEVEL', 'several lines'],
    ['an indented object', JSON.stringify({ a: 1 }, null, 2), 'E_TOP_LEVEL', 'several lines'],
  ])('%s', async (_name, content, code, found) => {
    const { valid, errors, lines } = await validateFile(write(content));
    expect([valid, lines, errors.length, errors[0]?.code]).toEqual([false, 0, 1, code]);
    expect(errors[0]?.places[0]?.found).toContain(found);
  });
});

describe('the report counts', () => {
  test('fields, types, labels and lengths', () => {
    const { fields, lengths, format, examples, lines } = report(jsonl({ t: 'aa', n: 1 }, { t: '', n: 2.5 }, { n: null, t: 'aa', x: [] }));
    expect({ format, examples, lines, lengths }).toEqual({
      format: 'FORMAT_UNSPECIFIED',
      examples: 3,
      lines: 3,
      lengths: { min: 0, mean: 4 / 3, p50: 2, p95: 2, max: 2, longestLine: 1 },
    });
    expect(fields).toEqual([
      {
        name: 't',
        count: 3,
        fillRate: 2 / 3,
        types: { string: 3 },
        firstLines: { string: 1 },
        emptyCount: 1,
        firstEmptyLine: 2,
        distinct: [
          { value: 'aa', count: 2 },
          { value: '', count: 1 },
        ],
      },
      {
        name: 'n',
        count: 3,
        fillRate: 2 / 3,
        types: { integer: 1, number: 1, null: 1 },
        firstLines: { integer: 1, number: 2, null: 3 },
        firstNonStringLine: 1,
        emptyCount: 0,
      },
      {
        name: 'x',
        count: 1,
        fillRate: 1 / 3,
        types: { array: 1 },
        firstLines: { array: 3 },
        firstMissingLine: 1,
        firstNonStringLine: 3,
        emptyCount: 0,
      },
    ]);
  });

  test('conversations: turns, roles, tools, weights', () => {
    const weighted = {
      messages: [
        { role: 'system', content: 'S' },
        { role: 'user', content: 'U' },
        { role: 'assistant', content: 'Hello', weight: 1 },
      ],
    };
    const { conversations, lengths, format } = report(
      jsonl(conversation('a', 'b', 'c', 'd'), weighted, { ...conversation('a', 'b'), tools: [{}] }),
    );
    expect(format).toBe('CHAT');
    expect(conversations).toEqual({
      averageTurnCount: 4 / 3,
      maxTurnCount: 2,
      roles: { user: 4, assistant: 4, system: 1 },
      rowsWithTools: 1,
      rowsWithWeights: 1,
    });
    expect(lengths).toEqual({ min: 2, mean: 13 / 3, p50: 4, p95: 7, max: 7, longestLine: 2 });
  });

  test('percentiles of lengths within 3 %, and how much of a field is filled', () => {
    const texts = Array.from({ length: 1000 }, (_, index) => ({
      text: 'x'.repeat(index * 7),
      note: [null, '', 'n', undefined][index % 4],
    }));
    const { lengths, fields } = report(jsonl(...texts));
    for (const [found, exact] of [
      [lengths?.p50, 499 * 7],
      [lengths?.p95, 949 * 7],
    ])
      expect(Math.abs(found! - exact!)).toBeLessThanOrEqual(exact! * 0.03);
    expect(fields.map(({ fillRate }) => fillRate)).toEqual([0.999, 0.25]);
  });

  test('prompt and completion rows', () => {
    expect(report(jsonl({ prompt: 'a', completion: 'b' })).format).toBe('COMPLETION');
    expect(report(jsonl({ prompt: 'a', completion: 'b' }, { prompt: 'a' })).format).toBe('FORMAT_UNSPECIFIED');
  });

  test('labels up to a bound, then none', () => {
    const rows = Array.from({ length: MAX_DISTINCT + 1 }, (_, label) => ({ label }));
    expect(report(jsonl(...rows.slice(1))).fields[0]?.distinct).toHaveLength(MAX_DISTINCT);
    expect(report(jsonl(...rows)).fields[0]?.distinct).toBeUndefined();
    expect(reportInRanges(write(jsonl(...rows)), { rangeBytes: 5000 }).fields[0]?.distinct).toBeUndefined();
  });

  test('the first 20 places of a problem and all of its number', () => {
    const [error] = report('{"a":}\n'.repeat(50)).errors;
    expect([error?.count, error?.places.length, error?.places.at(-1)]).toMatchObject([50, 20, { line: 20, byteOffset: 19 * 7 + 5 }]);
  });

  test('at most 80 characters of the user text, and no control characters', () => {
    const [error] = report(`${chat}\n{"messages":[{"role":"${'\\u001b\\u202e'.repeat(500)}","content":"x"}]}\n`).errors;
    expect(error?.places[0]?.found.length).toBeLessThanOrEqual(80);
    expect(error?.places[0]?.found).not.toMatch(/[\u001b\u202e]/);
  });
});

describe('ranges and threads', () => {
  const random = makeRandom(7);
  const rows = Array.from({ length: 400 }, (_, index) => {
    const faults = [
      '',
      '',
      '',
      '{"a":}',
      '{"a":1,"a":2}',
      '[1]',
      '\ufeff{}',
      `{"l":"${index % 7}","n":${index}}`,
      JSON.stringify({ prompt: 'p', completion: 'c' }),
    ];
    return (
      faults[random(faults.length + 4)] ??
      JSON.stringify({ ...conversation('q', 'x'.repeat(random(90))), [`f${random(3)}`]: random(2) ? 's' : 1 })
    );
  });
  const file = write(`\ufeff${rows.join('\n')}`);

  test('any size of range gives the same report', () => {
    const whole = reportInRanges(file);
    expect(whole.errors.length).toBeGreaterThan(3);
    for (const rangeBytes of [50, 777, 5000]) expect(reportInRanges(file, { rangeBytes })).toEqual(whole);
  });

  test('threads give that report too, in plain JSON of the published schema', async () => {
    const content = `\ufeff${rows.join('\n')}\n${`${chat}\n`.repeat(110_000)}${rows.join('\n')}`;
    const large = write(content);
    const found = await validateFile(large, { threads: 2 });
    expect(found.sizeBytes).toBeGreaterThan(8 * 1024 * 1024); // a range
    expect(found).toEqual(reportInRanges(large, { sha256: createHash('sha256').update(content).digest('hex') }));
    const plain = JSON.parse(JSON.stringify(found)) as unknown;
    expect(checkReport.Check(plain)).toBe(true);
    expect(plain).toEqual(found);
  });

  test('100,000 rows over several ranges: progress, the hash, and flat memory', async () => {
    const content = Array.from({ length: 100_000 }, (_, index) =>
      JSON.stringify({ text: `${'some text '.repeat(15)}${index}`, label: `class ${index % 20}` }),
    ).join('\n');
    const large = write(content);
    const progress: number[] = [];
    const before = process.memoryUsage().rss;
    const found = await validateFile(large, { threads: 2, onProgress: ({ bytes }) => progress.push(bytes) });
    expect(found).toMatchObject({ valid: true, examples: 100_000, lines: 100_000, duplicates: 0 });
    expect(found.sha256).toBe(createHash('sha256').update(content).digest('hex'));
    expect(found.fields[1]?.distinct).toHaveLength(20);
    expect(found.fields[0]?.distinct).toBeUndefined();
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
    expect(progress.at(-1)).toBe(found.sizeBytes);
    expect(new Set(progress).size).toBeGreaterThan(1);
    expect(process.memoryUsage().rss - before).toBeLessThan(250e6);
  });

  test('stops at the first row too many, wherever the ranges are cut', async () => {
    const many = write('{"a":"x"}\n'.repeat(1_000_000));
    const { errors, valid, examples } = await validateFile(many, { threads: 2, maxExamples: 900_000 });
    expect([valid, examples, codes(errors)]).toEqual([false, 900_000, [['E_TOO_MANY_ROWS', 1, 900_001]]]);
    expect(errors[0]?.places[0]).toMatchObject({ byteOffset: 9_000_000, expected: 'at most 900000 rows' });
    const exact = await validateFile(write('{"a":"x"}\n\n'.repeat(3)), { maxExamples: 3 });
    expect(exact.valid).toBe(true);
  });

  test('goes on after the parts that were saved, and reads none of them again', async () => {
    const row = (index: number) => JSON.stringify(conversation(`${'some words '.repeat(50)}${index}`, 'Hello'.repeat(80)));
    const rows = `${Array.from({ length: 16_500 }, (_, index) => row(index)).join('\n')}\n`;
    const file = write(rows);
    appendFileSync(file, `{"messages":7}\n${rows}`);
    const parts: ValidatedPart[] = [];
    const options = { sha256: 'known', onPart: async (part: ValidatedPart) => void parts.push(part) };
    const whole = await validateFile(file, options);
    expect([whole.valid, whole.duplicates, parts.length]).toEqual([false, 16_500, 2]);

    // Where it was read already, it is damaged now: a validation that read it again would see that.
    const [first, second] = parts as [ValidatedPart, ValidatedPart];
    const damaged = openSync(file, 'r+');
    writeSync(damaged, Buffer.alloc(second.end - 1, 'x'), 0, second.end - 1, 0);
    closeSync(damaged);
    const progress: number[] = [];
    const onProgress = ({ bytes }: { bytes: number }) => progress.push(bytes);
    expect(await validateFile(file, { sha256: 'known', parts: [first.content, second.content], onProgress })).toEqual(whole);
    expect(progress[0]).toBeGreaterThanOrEqual(second.end);
    // A part that is damaged itself, or does not follow, is not believed.
    const small = write(`${chat}\n`);
    for (const part of [Buffer.from('damaged'), second.content]) {
      expect(await validateFile(small, { parts: [part] })).toEqual(await validateFile(small));
    }
  });

  test('an abort rejects with its reason, a missing file with the system error', async () => {
    const abort = new AbortController();
    const large = write(`${chat}\n`.repeat(10_000));
    const running = validateFile(large, { signal: abort.signal, onProgress: () => abort.abort(new Error('stop it')) });
    await expect(running).rejects.toThrow('stop it');
    await expect(validateFile(file, { signal: AbortSignal.abort(new Error('too late')) })).rejects.toThrow('too late');
    await expect(validateFile('/nowhere/rows.jsonl')).rejects.toThrow('ENOENT');
  });
});

test('random damage: the lines reported are those that are broken, and nothing throws', () => {
  const random = makeRandom(99);
  const valid = Array.from({ length: 8 }, (_, index) => JSON.stringify({ a: `é${index}😀`, b: [index, null], c: { d: 'x' } })).join('\n');
  let damaged = 0;
  for (let round = 0; round < 300; round++) {
    const bytes = round % 10 === 0 ? Buffer.from(Array.from({ length: 200 }, () => random(256))) : Buffer.from(valid);
    for (let change = random(6); change >= 0; change--)
      bytes[random(bytes.length)] = [10, 13, 34, 92, 0xff, 0x80, 32, 123, random(256)][random(9)]!;
    if (bytes.indexOf('\ufeff') === 0) continue;
    const broken = brokenLines(bytes);
    const { errors } = report(bytes);
    // Duplicate keys and the like are broken only for the strict reader; damage this small hardly ever makes them.
    const reported = errors
      .filter(({ code }) => code !== 'E_DUP_KEY' && code !== 'E_EMPTY' && !code.startsWith('E_M'))
      .flatMap(({ places }) => places.map(({ line }) => line));
    if (errors.every(({ count }) => count <= 20))
      expect(
        [...new Set(reported)].sort((a, b) => a - b),
        bytes.toString('latin1'),
      ).toEqual(broken);
    damaged += broken.length;
  }
  expect(damaged).toBeGreaterThan(300);
});

/** The plain way to find the lines that are no JSON object. */
function brokenLines(bytes: Buffer): number[] {
  const lines: number[] = [];
  for (let from = 0, line = 1; from < bytes.length; line++) {
    const newline = bytes.indexOf(10, from);
    const to = newline < 0 ? bytes.length : newline;
    const part = bytes.subarray(from, to);
    const text = part.toString();
    let isObject = false;
    try {
      const value: unknown = JSON.parse(text);
      isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    } catch {
      isObject = false;
    }
    if (!/^[ \t\r]*$/.test(text) && !(isObject && isUtf8(part))) lines.push(line);
    from = to + 1;
  }
  return lines;
}
