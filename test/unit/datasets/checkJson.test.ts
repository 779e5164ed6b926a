import { describe, expect, test } from 'vitest';
import { checkJson } from '../../../datasets/checkJson.js';
import { explainJson } from '../../../datasets/explainJson.js';
import { conversation, makeRandom } from './files.js';

const nested = (depth: number) => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth);

describe('each fault has its code and its place', () => {
  test.each([
    // line, code, byte in the line, field, part of the advice
    ['{"a":1,}', 'E_JSON', 7, undefined, 'trailing comma'],
    ['{"a":[1,]}', 'E_JSON', 8, 'a[1]', 'trailing comma'],
    ['{"a":1 // one\n}', 'E_JSON', 7, undefined, 'no comments'],
    ["{'a':1}", 'E_JSON', 1, undefined, 'single quotes'],
    ['{a:1}', 'E_JSON', 1, undefined, '"key"'],
    ['{"a":NaN}', 'E_JSON', 5, 'a', 'no NaN'],
    ['{"a":-Infinity}', 'E_JSON', 5, 'a', 'no Infinity'],
    ['{"a":None}', 'E_JSON', 5, 'a', 'json.dumps'],
    ['{"a":01}', 'E_JSON', 5, 'a', 'leading zero'],
    ['{"a":+1}', 'E_JSON', 5, 'a', 'double quotes'],
    ['{"a":1.}', 'E_JSON', 5, 'a', '-12.5e3'],
    ['{"a":1}{"a":2}', 'E_JSON', 7, undefined, 'own line'],
    ['{"a":1}\r{"a":2}', 'E_JSON', 8, undefined, 'carriage return'],
    ['{"a":1} x', 'E_JSON', 8, undefined, 'what follows'],
    ['{"ä":1,\ufeff"b":2}', 'E_JSON', 8, undefined, 'byte order mark'],
    ['{"a":"\t"}', 'E_JSON', 6, 'a', '\\t'],
    ['{"a":"\\x"}', 'E_JSON', 6, 'a', '\\\\'],
    ['{"a":"\\u12g4"}', 'E_JSON', 6, 'a', '\\\\'],
    ['{"a" 1}', 'E_JSON', 5, 'a', 'value'],
    ['{"a":1 "b":2}', 'E_JSON', 7, undefined, 'comma'],
    ['{"a":,"b":2}', 'E_JSON', 5, 'a', 'missing value'],
    ['hello', 'E_JSON', 0, undefined, 'double quotes'],
    ['[1,2]', 'E_TOP_LEVEL', 0, undefined, "jq -c '.[]'"],
    ['[', 'E_TOP_LEVEL', 0, undefined, 'jq'],
    ['{', 'E_TOP_LEVEL', 0, undefined, 'jq -c .'],
    ['"text"', 'E_TOP_LEVEL', 0, undefined, 'into an object'],
    ['12', 'E_TOP_LEVEL', 0, undefined, 'into an object'],
    ['null', 'E_TOP_LEVEL', 0, undefined, 'into an object'],
    ['{"a":{"b":[{"c":1,"c":2}]}}', 'E_DUP_KEY', 18, 'a.b[0].c', 'remove or rename'],
    ['{"a":1,"\\u0061":2}', 'E_DUP_KEY', 7, 'a', 'remove or rename'],
    ['{"__proto__":1,"__proto__":2}', 'E_DUP_KEY', 15, '__proto__', 'remove or rename'],
    ['{"a":1e400}', 'E_NUMBER', 5, 'a', 'double quotes'],
    [`{"a":[${'9'.repeat(5000)}]}`, 'E_NUMBER', 6, 'a[0]', 'double quotes'],
    ['{"a":"é\\ud83d"}', 'E_SURROGATE', 8, 'a', 'emoji'],
    ['{"a":"\\ude00"}', 'E_SURROGATE', 6, 'a', 'emoji'],
    ['{"a":"\\ud83d\\ud83d\\ude00"}', 'E_SURROGATE', 6, 'a', 'emoji'],
    ['{"\\ud83d":1}', 'E_SURROGATE', 2, undefined, 'emoji'],
    ['{"a":"\\u0000"}', 'E_NUL', 6, 'a', 'remove'],
    ['{"a":"\0"}', 'E_NUL', 6, 'a', 'remove'],
    [nested(65), 'E_DEPTH', 320, undefined, 'flatten'],
    [`{"a":${'['.repeat(100_000)}`, 'E_DEPTH', 68, undefined, 'flatten'],
    [`{"a":[${'0,'.repeat(250_000)}0]}`, 'E_TOO_MANY_VALUES', 500_002, undefined, 'split'],
  ])('%.40s', (text, code, byteInLine, field, advice) => {
    const { problem } = checkJson(text);
    expect(problem).toMatchObject({ code, byteInLine });
    if (field !== undefined) expect(problem?.field).toBe(field);
    expect(problem?.fix).toContain(advice);
    expect(problem?.found).not.toMatch(/[\0-\x1f]/);
  });
});

describe('what is only unusual is accepted', () => {
  test.each([
    ['{}'],
    [' {"a" :\t[ ] }\r'],
    ['{"a":-0.5e-3,"b":1E5}'],
    ['{"a":"\\ud83d\\ude00 \\\\ud83d \\\\u0000 \\u00e9"}'],
    ['{"a":"\u2028\u2029\u0085\ufeff"}'],
    ['{"__proto__":{"x":1},"constructor":2,"hasOwnProperty":3,"":4}'],
    ['{"a":{"x":1},"b":{"x":1}}'],
    [nested(64)],
    [`{"a":${'9'.repeat(300)}}`],
  ])('%.60s', (text) => {
    expect(checkJson(text)).toEqual({ row: JSON.parse(text) });
  });
});

test('on mutated rows, the strict reader refuses all that JSON.parse refuses, and more only for its own reasons', () => {
  const random = makeRandom(20_26);
  const seeds = [
    JSON.stringify(conversation('What is "x"?\n', 'C:\\dir \u00e9 😀', 'more', 'end')),
    '{"a":[1,-2.5e3,true,false,null,{"b":"\\ud83d\\ude00","c":[[],{}]}],"text":"x\\\\"}',
  ];
  const bits = [
    '"',
    '\\',
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '\\u',
    'd83d',
    '\\ude00',
    '0',
    '-',
    'e400',
    '.',
    'null',
    'NaN',
    '\r',
    '\0',
    ' ',
    '\ufeff',
    '"a":1,',
    '"a":1,',
    '"text":{},',
  ];
  const strict = ['E_DUP_KEY', 'E_NUMBER', 'E_SURROGATE', 'E_NUL', 'E_DEPTH', 'E_TOP_LEVEL'];
  const seen = new Map<string, number>();
  for (let round = 0; round < 20_000; round++) {
    let text = seeds[random(seeds.length)]!;
    for (let change = random(3); change >= 0; change--) {
      const at = random(text.length + 1);
      text = text.slice(0, at) + bits[random(bits.length)] + text.slice(at + random(3));
    }
    const slow = explainJson(text);
    const { row, problem } = checkJson(text);
    if (JSON.stringify(problem) !== JSON.stringify(slow)) expect(problem, text).toEqual(slow);
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch {
      parsed = undefined;
    }
    const agrees =
      parsed === undefined
        ? slow !== undefined
        : slow === undefined
          ? JSON.stringify(row) === JSON.stringify(parsed)
          : strict.includes(slow.code);
    if (!agrees) expect.fail(`${text} gave ${slow?.code ?? 'no problem'}`);
    seen.set(slow?.code ?? 'accepted', (seen.get(slow?.code ?? 'accepted') ?? 0) + 1);
  }
  // The fuzz reached what it is for.
  for (const code of ['accepted', 'E_JSON', ...strict.filter((name) => name !== 'E_DEPTH')])
    expect(seen.get(code), code).toBeGreaterThan(3);
});
