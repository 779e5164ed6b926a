import { statSync } from 'node:fs';
import { expect, test } from 'vitest';
import { scanRow, type ScanRow } from '../../../datasets/scanRow.js';
import type { ValidationReport } from '../../../schemas/validationReport.js';
import { makeFileWriter, makeRandom, reportInRanges } from './files.js';

const write = makeFileWriter();
const chat = (...contents: unknown[]) =>
  JSON.stringify({ messages: contents.map((content, index) => ({ role: index % 2 ? 'assistant' : 'user', content })) });

/** The report of a file cut into ranges, and how many rows went the fast way. */
function read(file: string, rangeBytes: number, way: 'fast' | 'exact'): { report: ValidationReport; fast: number } {
  let fast = 0;
  const counted: ScanRow = (...given) => {
    const isScanned = scanRow(...given);
    if (isScanned) fast++;
    return isScanned;
  };
  return { report: reportInRanges(file, { rangeBytes, scan: way === 'fast' ? counted : () => false }), fast };
}

function expectSameReports(content: string | Buffer, rangeBytes = 1e9): number {
  const file = write(content);
  const { report, fast } = read(file, rangeBytes, 'fast');
  expect(report, content.toString('latin1').slice(0, 2000)).toEqual(read(file, rangeBytes, 'exact').report);
  return fast;
}

/** Lines that the scanner must take, must leave alone, or may take. Each has been seen in real files, or breaks a rule. */
const FAST = [
  chat('Hi', 'Hello'),
  chat('a "quoted" text\\ with\nescapes\t/', 'ünïcödé 漢字 😀', 'さようなら', '“curly”'),
  chat('\n\n  indented', ' x', '\u00a0x'.slice(1), '\\"'),
  `{"messages": [{"role": "user", "content": "\\u4f60\\u597d \\ud83d\\ude00"}, {"role": "assistant", "content": "\\/ \\b\\f"}]}`,
  `{"messages":[{"content":"content first","role":"user"},{"content":"yes","role":"assistant"}]}`,
  `{"messages":[{"role":"system","content":"S"},{"role":"user","content":"U"},{"role":"assistant","content":"A"}]}`,
  `{ "messages" : [ { "role" : "user" , "content" : "spaces" } , { "role" : "assistant" , "content" : "all over" } ] }\r`,
  chat('x'.repeat(300), 'y<|eot_id|>z [INST] </s>'),
];
const EXACT = [
  chat('', 'x'),
  chat('x', ' \n\t '),
  chat('x', '\u3000\u2003'),
  chat('x', '\u00a0'),
  chat('x'),
  chat('x', 'y', 'z'),
  chat(null, 'y'),
  chat(['x'], 'y'),
  chat([{ type: 'text', text: 'x' }], 'y'),
  `{"messages":[]}`,
  `{"messages":"x"}`,
  `{"messages":[{"role":"user","content":"x","content":"y"},{"role":"assistant","content":"z"}]}`,
  `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"z","weight":0}]}`,
  `{"messages":[{"role":"user"},{"role":"assistant","content":"z"}]}`,
  `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"z"},]}`,
  `{"messages":[{"role":"assistant","content":"x"},{"role":"user","content":"z"}]}`,
  `{"messages":[{"role":"user","content":"x"},{"role":"system","content":"z"},{"role":"assistant","content":"z"}]}`,
  `{"messages":[{"role":"users","content":"x"},{"role":"assistant","content":"z"}]}`,
  `{"messages":[{"role":"user","content":"\\ud83d"},{"role":"assistant","content":"z"}]}`,
  `{"messages":[{"role":"user","content":"\\ude00\\ud83d"},{"role":"assistant","content":"z"}]}`,
  `{"messages":[{"role":"user","content":"\\u0000"},{"role":"assistant","content":"z"}]}`,
  `{"messages":[{"role":"user","content":"\\x41\\u00g0"},{"role":"assistant","content":"z"}]}`,
  `{"messages":[{"role":"user","content":"tab\there"},{"role":"assistant","content":"z"}]}`,
  `${chat('a', 'b')} `,
  `${chat('a', 'b')}}`,
  ` ${chat('a', 'b')}`,
  `${chat('a', 'b').slice(0, -1)},"messages":[]}`,
  `${chat('a', 'b').slice(0, -1)},"tools":[{}]}`,
  `${chat('a', 'b')}\r{"a":1}`,
  '',
  '\r',
  '{}',
  '[]',
  'null',
];
const FIELDS = [
  `{"text":"a","label":"x"}`,
  `{"label":"y","text":""}`,
  `{"text":"caf\u00e9 \\n","label":"\\u00e9"}`,
  `{"text":"a","label":7}`,
  `{"text":"a","label":-12}`,
  `{"text":"a","label":0}`,
  `{"text":"a","label":-0}`,
  `{"text":"a","label":1.5}`,
  `{"text":"a","label":1e400}`,
  `{"text":"a","label":01}`,
  `{"text":"a","label":123456789012345678}`,
  `{"text":"a","label":null}`,
  `{"text":"${'long '.repeat(80)}","label":"x"}`,
  `{"text":"a"}`,
  `{"text":"a","text":"b"}`,
  `{"prompt":"p","completion":"c"}`,
  `{"prompt":"p"}`,
  `{"caf\u00e9":"x","a\\"b":"y","":"z","__proto__":"w"}`,
  `{"caf\\u00e9":"x"}`,
];

test('rows of common shapes go the fast way, all others the exact way', () => {
  // The first row goes the exact way: it brings the fields.
  const first = chat('a', 'b');
  for (const line of FAST) expect(expectSameReports(`${first}\n${line}\n${line}\n`), line).toBe(2);
  for (const line of EXACT) expect(expectSameReports(`${first}\n${line}\n`), line).toBe(0);
  expect(expectSameReports(`${FIELDS.slice(0, 6).join('\n')}\n`)).toBe(5);
});

test('ranges cut at every place of a file', () => {
  const lines = [...FAST.slice(0, 6), ...EXACT.slice(0, 3), ...FIELDS.slice(0, 3), FAST[0]];
  const file = write(lines.join('\n'));
  const whole = read(file, 1e9, 'exact').report;
  for (let rangeBytes = 20; rangeBytes < statSync(file).size; rangeBytes += rangeBytes < 200 ? 1 : 37) {
    expect(read(file, rangeBytes, 'fast').report, `ranges of ${rangeBytes}`).toEqual(whole);
  }
});

test('mutated rows of every shape: both ways give the same report', () => {
  const random = makeRandom(20);
  const lines = [...FAST, ...EXACT, ...FIELDS];
  let fast = 0;
  for (let round = 0; round < 400; round++) {
    const pick = round % 2 ? FAST : lines;
    const bytes = Buffer.from(Array.from({ length: 3 + random(5) }, () => pick[random(pick.length)]).join('\n') + (random(3) ? '\n' : ''));
    for (let change = random(4); change > 0; change--) {
      bytes[random(bytes.length)] = [0, 10, 13, 32, 34, 44, 58, 92, 0x7f, 0x80, 0xc2, 0xe3, 0xed, 0xf0, random(256)][random(15)]!;
    }
    fast += expectSameReports(bytes, [1e9, 1e9, 200][random(3)]);
  }
  expect(fast).toBeGreaterThan(250);
});
