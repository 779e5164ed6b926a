/** `{field}` templates: what is literal, what is a field, and what is said about mistakes. */
import { describe, expect, it } from 'vitest';
import { compileFieldTemplate } from '../../../templates/fields.js';

const row = {
  a: 'A',
  b: 'say {a} and {{x}}',
  'sp ace': 'S',
  'a-b': 'D',
  é: 'E',
  '0': 'zero',
  n: 3,
  f: 1.5,
  t: true,
  z: null,
  l: [1, 'x'],
  o: { k: 'v' },
};

describe('rendering', () => {
  it.each([
    ['{a}', 'A'],
    ['<{a}|{a}>', '<A|A>'],
    ['{{a}}{a}', '{a}A'],
    ['{{{a}}}', '{A}'],
    ['{a}{{', 'A{'],
    ['}}{a}', '}A'],
    ['{b}', 'say {a} and {{x}}'],
    ['{sp ace}{a-b}{é}{0}', 'SDEzero'],
    ['### Q: {a}\n### A: ', '### Q: A\n### A: '],
  ])('%j gives %j', (template, text) => {
    expect(compileFieldTemplate(template).render(row)).toEqual({ text });
  });

  it('means a field where a template without a placeholder equals its name', () => {
    const template = compileFieldTemplate('a', ['a', 'b']);
    expect(template.fields).toEqual(['a']);
    expect(template.render(row)).toEqual({ text: 'A' });
  });

  it('names each field once, in order', () => expect(compileFieldTemplate('{b}{a}{b}').fields).toEqual(['b', 'a']));
});

describe('mistakes in a row', () => {
  it.each([
    ['n', 'number 3'],
    ['f', 'number 1.5'],
    ['t', 'boolean true'],
    ['z', 'null'],
    ['l', 'array [1,"x"]'],
    ['o', 'object {"k":"v"}'],
  ])('{%s} is %s', (field, found) => {
    expect(compileFieldTemplate(`{${field}}`).render(row)).toEqual({ problem: { code: 'FIELD_NOT_TEXT', field, found } });
  });

  it.each(['zz', ' a ', '__class__', '__proto__', 'constructor', 'toString'])('{%s} is missing', (field) => {
    expect(compileFieldTemplate(`{${field}}`).render({ a: 'A' })).toEqual({ problem: { code: 'FIELD_MISSING', field, found: "only 'a'" } });
  });

  it('finds a field named __proto__ that a row really has', () => {
    const strange = JSON.parse('{"__proto__": "P"}') as Record<string, unknown>;
    expect(compileFieldTemplate('{__proto__}').render(strange)).toEqual({ text: 'P' });
  });
});

describe('mistakes in a template', () => {
  it.each([
    ['ab{a', 3, /never closed/],
    ['é a}', 4, /write '}}'/],
    ['x{}', 2, /names no field/],
    ['{a.upper}', 1, /only plain field names/],
    ['{a.__class__}', 1, /only plain field names/],
    ['{o[k]}', 1, /only plain field names/],
    ['{a!r}', 1, /only plain field names/],
    ['{a:>5}', 1, /only plain field names/],
    ['{ {a} }', 1, /only plain field names/],
  ])('%j at column %i', (template, column, message) => {
    expect(() => compileFieldTemplate(template)).toThrow(
      expect.objectContaining({ column, message: expect.stringMatching(message) as string }),
    );
  });

  it('refuses a constant', () => {
    expect(() => compileFieldTemplate('always the same', ['a'])).toThrow(/names no field/);
    expect(() => compileFieldTemplate('{{a}}', ['a'])).toThrow(/names no field/);
  });
});
