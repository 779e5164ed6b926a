/** Templates that want out, and templates that want everything: an error each, quickly, and nothing else. */
import { describe, expect, it } from 'vitest';
import { TemplateError } from '../../../templates/jinja/errors.js';
import { compileTemplate } from '../../../templates/jinja/template.js';

const context = () => ({
  messages: [{ role: 'user', content: 'hi' }],
  s: 'x',
  n: 1,
  a: [1, 2],
  o: { k: 1 },
  bare: Object.assign(Object.create(null) as object, { k: 1 }),
});

const code = 'return globalThis.escaped = 1';
const ESCAPES = [
  ...[
    'range',
    'raise_exception',
    'namespace',
    'cycler',
    'joiner',
    'dict',
    'strftime_now',
    'self',
    's.upper',
    'o.items',
    'a.index',
    'o',
    'a',
    's',
    'n',
  ].flatMap((object) => [
    `{{ ${object}.constructor('${code}')() }}`,
    `{{ ${object}.constructor.constructor('${code}')() }}`,
    `{{ ${object}.__proto__.x }}`,
  ]),
  `{{ ""["con" ~ "structor"]["con" ~ "structor"]('${code}')() }}`,
  `{{ o["constructor"]["constructor"]('${code}')() }}`,
  `{{ bare.constructor('${code}')() }}`,
  `{{ messages[0].content.sub.constructor('${code}')() }}`,
  `{% for x in a %}{{ loop.constructor.constructor('${code}')() }}{% endfor %}`,
  `{{ s | constructor }}`,
  `{% if s is constructor %}x{% endif %}`,
  `{{ o.valueOf.call.constructor('${code}')() }}`,
  `{{ ("" | attr("constructor") | attr("constructor"))('${code}')() }}`,
  `{{ (["x"] | map(attribute="constructor") | list)[0].constructor('${code}')() }}`,
  `{% set x = o.__proto__ %}{% set x.polluted = "yes" %}`,
  `{{ o.__proto__.update({"polluted": "yes"}) }}`,
  `{{ "".__class__.__mro__ }}`,
  `{% macro m() %}x{% endmacro %}{{ m.constructor('${code}')() }}`,
  `{{ m.invoke() }}{% macro m() %}{% endmacro %}`,
  `{% macro m() %}{{ caller.constructor('${code}')() }}{% endmacro %}{% call m() %}x{% endcall %}`,
  `{{ '{0.constructor.constructor}'.format(s)('${code}') }}`,
  `{% include "/etc/passwd" %}`,
  `{% import "/etc/passwd" as x %}{{ x }}`,
  `{% set __x"];process.exit(9);// = 1 %}`,
  `{{ lipsum() }}`,
];
/** These render, to nothing or to plain text, as they do in Jinja's sandbox. */
const HARMLESS = [
  [`{{ o.constructor }}{{ a.length }}{{ s.length }}{{ o.hasOwnProperty }}{{ o['__proto__'] }}{{ messages.map }}|`, '|'],
  [`{% set ns = namespace(__proto__={"polluted": "y"}) %}{{ ns.polluted }}|`, '|'],
  [`{% set ns = namespace() %}{% set ns.__proto__ = {"polluted": "yes"} %}{{ ns.polluted }}{{ a.polluted }}|`, '|'],
  [`{{ {'__proto__': {'polluted': 1}}.polluted }}{{ dict(__proto__=1).x }}|`, '|'],
  [`{{ "{{ 7 * 7 }}" }}{{ 'a\\'+process.exit(9)+\\'' }}`, "{{ 7 * 7 }}a'+process.exit(9)+'"],
  [`{{ lipsum.__globals__ }}{{ '{0.__class__}'.format(s) }}|`, '|'],
  [`{% for k in o %}{{ k }}{% endfor %}{{ 'constructor' in o }}{{ 'toString' in bare }}`, 'kFalseFalse'],
] as const;

function run(template: string): string {
  return compileTemplate(template).render(context(), new Date(0)).text;
}

describe('escapes', () => {
  it.each(ESCAPES)('%s', (template) => {
    expect(() => run(template)).toThrow(TemplateError);
    expect(globalThis).not.toHaveProperty('escaped');
    expect({}).not.toHaveProperty('polluted');
  });

  it.each(HARMLESS)('%s', (template, text) => {
    expect(run(template)).toBe(text);
    expect({}).not.toHaveProperty('polluted');
  });
});

const BOMBS: Record<string, string> = {
  'a long range': '{% for i in range(1000000000) %}{% endfor %}',
  'nested loops': '{% for i in range(2000) %}{% for j in range(2000) %}{% for k in range(2000) %}{% endfor %}{% endfor %}{% endfor %}',
  'a flood of output': `{% set s %}${'y'.repeat(1024)}{% endset %}{% for i in range(3000) %}{% for j in range(3000) %}{{ s }}{% endfor %}{% endfor %}`,
  'doubling strings': "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
  'doubling lists': '{% set ns = namespace(s=[1, 2]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}',
  'doubling nested lists': '{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}',
  'a comparison of doubled lists':
    '{% set ns = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}',
  'JSON of doubled lists':
    '{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}',
  'a repeated string': "{{ 'x' * 2000000000 }}",
  'a repeated list': '{{ ([1] * 1000000000) | length }}',
  'endless recursion': '{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}',
  'recursion that fans out': '{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}',
  'an endless recursive loop': '{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}',
  'a block in itself': '{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}',
  'doubled lists, printed prettily':
    '{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | pprint }}',
  'a key of doubled tuples':
    '{% set ns = namespace(s=(1,)) %}{% for i in range(60) %}{% set ns.s = (ns.s, ns.s) %}{% endfor %}{{ {ns.s: 1} }}',
  'a row of dashes to wrap': "{{ ('a' ~ '-' * 4000000) | wordwrap }}",
  'wide characters to wrap': "{{ ('😀' * 1000000) | wordwrap(1) }}",
  'a text that encoding triples': "{{ ('ä' * 4000000) | urlencode }}",
  'a wide indent': '{{ "a\\nb\\nc" | indent(900000000) }}',
  'a wide field': "{{ '%999999999d' % 1 }}",
  'a wide format': "{{ '{:>999999999}'.format('a') }}",
  'a wide center': "{{ 'a'.center(999999999) }}",
  'many zeros': "{{ '1'.zfill(999999999) }}",
  'growing replacements':
    "{% set ns = namespace(s='aaaaaaaaaa') %}{% for i in range(20) %}{% set ns.s = ns.s.replace('a', 'aaaaaaaaaa') %}{% endfor %}{{ ns.s }}",
  'growing joins': "{% set ns = namespace(s='ab') %}{% for i in range(30) %}{% set ns.s = ns.s.join(ns.s) %}{% endfor %}{{ ns.s }}",
  'a huge power': '{{ 2 ** 100000000 }}',
  'a power of powers': '{% set ns = namespace(n=3) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n }}',
  'deep parentheses': `{{ ${'('.repeat(30000)}1${')'.repeat(30000)} }}`,
  'deep lists': `{{ ${'['.repeat(30000)}1${']'.repeat(30000)} }}`,
  'deep ifs': '{% if 1 %}'.repeat(3000) + '{% endif %}'.repeat(3000),
  'deep nots': `{{ ${'not '.repeat(15000)}1 }}`,
  'a long sum': `{{ ${'1+'.repeat(30000)}1 }}`,
  'long filters': `{{ 1 ${'|string'.repeat(9000)} }}`,
  'a huge template': ' '.repeat(400000),
  'many spaces': `{{${' '.repeat(60000)}`,
  'many openings': '{% raw '.repeat(9000),
};

/** The longest take five seconds on two busy cores; what grows with the square of its text takes minutes, and what has no limit takes for ever. */
const MOST_CPU_MICROSECONDS = 20_000_000;

describe('bombs', () => {
  it.each(Object.entries(BOMBS))('%s', (_name, template) => {
    const start = process.cpuUsage();
    expect(() => run(template)).toThrow(TemplateError);
    expect(process.cpuUsage(start).user).toBeLessThan(MOST_CPU_MICROSECONDS);
  });

  it('says the limit and the place', () => {
    expect(() => run('a\n  {% for i in range(1000000000) %}{% endfor %}')).toThrow(
      expect.objectContaining({ code: 'TEMPLATE_LIMIT', line: 2, message: expect.stringContaining('100000') as string }),
    );
  });
});

it('reads long texts that are no addresses, tags or words in no time', () => {
  const start = process.cpuUsage();
  const long = ["'(' * 500000 ~ 'a.b' ~ ')' * 500000 ~ 'x'", "'www.' ~ 'a.' * 500000 ~ '!'", "'a@' ~ 'a.' * 500000 ~ '!'", "'<' * 500000"];
  for (const text of long) expect(run(`{{ (${text}) | urlize | length > 0 }} {{ (${text}) | striptags | length > 0 }}`)).toMatch(/^True/);
  expect(run("{{ ('a-' * 500000) | wordwrap | length > 0 }} {{ ('a' * 1000000) | wordwrap(1) | length > 0 }}")).toBe('True True');
  expect(process.cpuUsage(start).user).toBeLessThan(MOST_CPU_MICROSECONDS);
});

it('reads long texts that are no numbers in no time', () => {
  const start = process.cpuUsage();
  expect(run("{{ ('1' * 1000000 ~ '!') | float }} {{ ('1' * 60 ~ '!') | int }} {{ ('1_' * 100000) | int(7) }}")).toBe('0.0 0 7');
  expect(process.cpuUsage(start).user).toBeLessThan(2_000_000);
});

describe('messages', () => {
  it.each([
    ['{{ messages[0].tool.name }}', 1, "'messages[0].tool' is undefined; it has no 'name'"],
    ['\n{{ nope.x }}', 2, "'nope' is undefined; it has no 'x'"],
    ['{{ nope() }}', 1, "'nope' is undefined, so it cannot be called"],
    ["x\n{{ 'a' + nope }}", 2, "'nope' is undefined"],
    ['{{ 1 | nope }}', 1, "No filter named 'nope'."],
    ['\n\n {% if a %}', 3, 'the template ends where {% elif %} or {% else %} or {% endif %} was expected'],
    ['{% endif %}', 1, "unknown tag 'endif'"],
    ['{{ (1 }}', 1, "unexpected '}', expected ')'"],
    ['{% macro m() %}\n{{ nope.x }}{% endmacro %}\n\n{{ m() }}', 2, "'nope' is undefined; it has no 'x'"],
    ["{{ raise_exception('Only user!') }}", 1, 'Only user!'],
  ])('%j', (template, line, message) => {
    expect(() => run(template)).toThrow(expect.objectContaining({ line, message: expect.stringContaining(message) as string }));
  });
});
