/**
 * Random templates with random data, the same for the same seed: half written by a grammar of everything Jinja has, so that most of them
 * mean something; half real templates with pieces of them cut out, doubled or exchanged, so that most of them are nearly right.
 */
import { seededRandom, type Random } from '../../chaos/random.js';

export type FuzzCase = { template: string; context: Record<string, unknown> };

/** `real` are templates to damage; without any, all cases are written by the grammar. */
export function makeFuzzCases(seed: number, count: number, real: string[] = []): FuzzCase[] {
  return Array.from({ length: count }, (_, index) => {
    const dice = new Dice(seed * 1_000_003 + index);
    const context = makeContext(dice);
    if (real.length > 0 && index % 2 === 1) return { template: damage(dice, dice.pick(real)), context };
    return { template: new Writer(dice).body(3), context };
  });
}

class Dice {
  readonly #random: Random;
  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }
  below(limit: number): number {
    return this.#random.integer(0, limit - 1);
  }
  pick<Item>(items: readonly Item[]): Item {
    return this.#random.pick(items);
  }
  isLucky(chance: number): boolean {
    return this.#random.next() < chance;
  }
}

type Kind = (typeof KINDS)[number];
const KINDS = ['text', 'number', 'truth', 'list', 'dict'] as const;

const NAMES = ['t', 'n', 'l', 'm', 'a', 'ns', 'missing', 'item', 'messages'];
const KEYS = ['role', 'content', 'x', 'y', 'items', 'keys', '0', 'tool calls'];
const TEXTS = [
  '',
  ' ',
  'a',
  'Hello, World',
  "it's",
  '"quoted"',
  ' padded\n',
  'a,b,,c',
  'ÄÖß ﬁ ǅ',
  '日本😀',
  '\\n',
  '{{ x }}',
  '<b>&amp;</b>',
  '0',
  '12.5',
  '-3',
  'x\r\ny\u2028z\x1c',
  'aAbB AaBb',
];
const INTEGERS = [0, 1, 2, 3, -1, -2, 7, 10, 255, 1000, 1e6, 9007199254740991];

function makeContext(dice: Dice): Record<string, unknown> {
  const context: Record<string, unknown> = {
    messages: Array.from({ length: 1 + dice.below(3) }, (_, index) => ({
      role: index % 2 ? 'assistant' : 'user',
      content: dice.pick(TEXTS),
    })),
  };
  const item = { x: dice.pick(TEXTS), n: dice.pick(INTEGERS), y: makeValue(dice, 1) };
  const l = Array.from({ length: dice.below(4) }, () => (dice.isLucky(0.5) ? dice.pick(TEXTS) : makeValue(dice, 1)));
  const m = { role: 'user', x: dice.pick(TEXTS), y: makeValue(dice, 2), [dice.pick(KEYS)]: makeValue(dice, 1) };
  return { ...context, t: dice.pick(TEXTS), n: dice.pick(INTEGERS), l, m, item, a: makeValue(dice, 3) };
}

function makeValue(dice: Dice, depth: number): unknown {
  switch (dice.below(depth > 0 ? 9 : 6)) {
    case 0:
      return null;
    case 1:
      return dice.isLucky(0.5);
    case 2:
      return dice.pick(INTEGERS);
    case 3:
      return dice.pick([0.5, -1.25, 3.75, 1e-7, 1.5e300, 0.1]);
    case 4:
    case 5:
      return dice.pick(TEXTS);
    case 6:
    case 7:
      return Array.from({ length: dice.below(4) }, () => makeValue(dice, depth - 1));
    default:
      return Object.fromEntries(Array.from({ length: dice.below(4) }, () => [dice.pick(KEYS), makeValue(dice, depth - 1)]));
  }
}

/* Names, and the arguments that are often given to them; what is not here is tried through damaged real templates. */
const FILTERS =
  'abs attr capitalize count d default dictsort escape e first float forceescape format groupby indent int items join last length list lower map max min pprint reject rejectattr replace reverse round safe select selectattr slice batch sort string striptags sum title trim truncate unique upper urlencode wordcount wordwrap tojson xmlattr filesizeformat center urlize'.split(
    ' ',
  );
const TESTS =
  'boolean callable defined divisibleby eq escaped even false float ge gt in integer iterable le lower lt mapping ne none number odd sameas sequence string true undefined upper filter test'.split(
    ' ',
  );
const METHODS =
  'strip lstrip rstrip split rsplit splitlines upper lower title capitalize swapcase startswith endswith replace find rfind index rindex count join items keys values get copy isdigit isalpha isspace isupper islower zfill ljust center partition rpartition removeprefix removesuffix format expandtabs encode append pop casefold isalnum isdecimal istitle isidentifier'.split(
    ' ',
  );
const OPERATORS = ['+', '-', '*', '/', '//', '%', '~', '==', '!=', '<', '>', '<=', '>=', 'and', 'or', 'in', 'not in'];
const LOOP = [
  'index',
  'index0',
  'revindex',
  'revindex0',
  'first',
  'last',
  'length',
  'depth',
  'depth0',
  'previtem',
  'nextitem',
  'cycle("x", "y")',
  'changed(a)',
];

class Writer {
  private loops = 0;
  private blocks = 0;
  constructor(private readonly dice: Dice) {}

  body(depth: number): string {
    return Array.from({ length: 1 + this.dice.below(4) }, () => this.piece(depth)).join('');
  }

  private piece(depth: number): string {
    const { dice } = this;
    if (dice.isLucky(0.25)) return dice.pick(['text', ' ', '\n', '  \n  ', '\t', 'é😀', '{ ', '# x\n', '\r\n', '-}']);
    if (dice.isLucky(0.4) || depth === 0) return this.print(dice.isLucky(0.5) ? this.call() : this.expression(2));
    const inner = (): string => this.body(depth - 1);
    const name = dice.pick(NAMES);
    switch (dice.below(21)) {
      case 0:
      case 1:
      case 2: {
        const otherwise = dice.isLucky(0.3)
          ? this.tag('else') + inner()
          : dice.isLucky(0.3)
            ? this.tag(`elif ${this.expression(2)}`) + inner()
            : '';
        return this.tag(`if ${this.expression(3, 'truth')}`) + inner() + otherwise + this.tag('endif');
      }
      case 3:
      case 4:
      case 5: {
        const [target, iterable] = dice.isLucky(0.3)
          ? ['k, v', `(${this.expression(2, 'dict')}).items()`]
          : [name, this.expression(2, 'list')];
        const condition = dice.isLucky(0.2) ? ` if ${this.expression(1)}` : '';
        const jump = dice.isLucky(0.2)
          ? this.tag(`if ${this.expression(1)}`) + this.tag(dice.pick(['break', 'continue'])) + this.tag('endif')
          : '';
        const otherwise = dice.isLucky(0.2) ? this.tag('else') + inner() : '';
        this.loops++;
        const turn = inner();
        this.loops--;
        const recursive = dice.isLucky(0.05) ? ' recursive' : '';
        return this.tag(`for ${target} in ${iterable}${condition}${recursive}`) + turn + jump + otherwise + this.tag('endfor');
      }
      case 6:
      case 7:
        return this.tag(`set ${name} = ${this.expression(3)}`);
      case 8:
        return (
          this.tag(`set ns = namespace(x=${this.expression(1)})`) +
          inner() +
          this.tag(`set ns.x = ${this.expression(2)}`) +
          inner() +
          '{{ ns.x }}'
        );
      case 9:
        return this.tag(`set ${name}${dice.isLucky(0.3) ? ` | ${this.filter(1)}` : ''}`) + inner() + this.tag('endset');
      case 10: {
        const call = dice.isLucky(0.7)
          ? `{{ f(${this.expression(1)}) }}`
          : this.tag(`call f(${this.expression(1)})`) + inner() + this.tag('endcall');
        return this.tag(`macro f(a, b=${this.expression(1)})`) + inner() + this.tag('endmacro') + call;
      }
      case 11:
        return this.tag(`filter ${this.filter(1)}`) + inner() + this.tag('endfilter');
      case 12:
        return this.tag('generation') + inner() + this.tag('endgeneration');
      case 13:
        return this.tag(`with ${name} = ${this.expression(2)}`) + inner() + this.tag('endwith');
      case 14:
        return dice.pick(['{#- note -#}', '{# {{ a }} #}', '{% raw %}{{ a }}{% endraw %}', '{%- raw -%} {% if %} {%- endraw -%}']);
      case 15: {
        const scoped = dice.isLucky(0.3) ? ' scoped' : '';
        const block = `b${this.blocks++}`;
        const again = dice.isLucky(0.3) ? `{{ self.${block}() }}` : '';
        return this.tag(`block ${block}${scoped}`) + inner() + this.tag('endblock') + again;
      }
      case 16:
        return this.tag(`autoescape ${dice.pick(['true', 'true', 'false', 't', 'n'])}`) + inner() + this.tag('endautoescape');
      case 17:
        return (
          this.tag(`for ${name} in ${this.nested()} recursive`) +
          `{{ loop.depth }}:{% if ${name} is string or ${name} is number %}{{ ${name} }}{% else %}[{{ loop(${name}) }}]{% endif %}` +
          this.tag('endfor')
        );
      case 18:
        return (
          this.tag(`macro g(x, y=${this.expression(1)})`) +
          `<{{ x }}|{{ y }}|{{ caller(x, 2) if caller }}|{{ varargs }}|{{ kwargs }}>` +
          this.tag('endmacro') +
          dice.pick([
            `{{ g(${this.atom('text')}, z=1) }}`,
            `{{ g(1, 2, 3) }}`,
            this.tag(`call(p, q=3) g(${this.atom('number')})`) + '{{ p }}{{ q }}' + inner() + this.tag('endcall'),
          ])
        );
      case 19:
        return this.print(this.call());
      default:
        return dice.isLucky(0.9)
          ? inner()
          : this.tag(
              dice.pick([
                'do a',
                'include "x"',
                'endif',
                'block x required',
                'print a',
                'print a, b',
                'else',
                'autoescape true',
                'import "x" as y',
                'set',
              ]),
            );
    }
  }

  /** A list of lists of texts and numbers. */
  private nested(): string {
    return this.dice.pick(["['a', ['<b>', [1, 2.5]], []]", '[[1], [[2]]]', "[t, n, ['x']]", '[]']);
  }

  /** A filter, test or method on a value that it is made for, with every argument it has. */
  private call(): string {
    const { dice } = this;
    const text = (): string => this.atom('text');
    const number = (): string => dice.pick(['0', '1', '2', '3', '-1', '7', 'n', '12', '1.5', 'true', '80']);
    const truth = (): string => dice.pick(['true', 'false']);
    const list = (): string =>
      dice.pick(['l', 'messages', "['b', 'a', 'B']", '[3, 1.5, true]', '[1, [2, 3]]', '(t, t)', 'range(7)', 't', 'm']);
    const records = (): string =>
      dice.pick(['messages', "[{'x': 1, 'y': {'z': 'b'}}, {'x': 2, 'y': {'z': 'A'}}, {'x': 1, 'y': {'z': 'a'}}]"]);
    const long = (): string =>
      dice.pick([
        "'The quick brown-fox jumps--over the well-known lazy dog'",
        "'see http://a.com/x?y=1&z=2 (www.foo.org) me@x.de'",
        '\'<p class="x">a &amp; b<br/> &eacute;</p><!-- c -->\'',
        "'ÄÖß ﬁ ǅ 日本😀 x\\ty\\n z'",
        '(t * 3)',
        't',
      ]);
    return dice.pick([
      () => `${dice.pick([number(), '1234567', "'2e6'", '10 ** 25'])} | filesizeformat(${dice.pick(['', truth()])})`,
      () => `${dice.pick([list(), 'm', 'item', 'a', long(), '[m, l, a] * 3', '{2: l, "k": m, none: t}'])} | pprint`,
      () => `${long()} | striptags`,
      () => `${dice.pick([long(), 'm', number(), "[('a b', t), (1, none)]"])} | urlencode`,
      () => `${long()} | urlize(${dice.pick(['', number(), `nofollow=${truth()}`, "rel='b a', target='_top'", "extra_schemes=['tel:']"])})`,
      () => `${long()} | wordwrap(${dice.pick(['', number(), `9, ${truth()}`, `8, ${truth()}, ${text()}, ${truth()}`])})`,
      () => `${dice.pick(['m', 'item', "{'a': 1, 'b': '<', 'c': none}"])} | xmlattr(${dice.pick(['', truth()])})`,
      () => `${long()} | truncate(${dice.pick(['', '9', `9, ${truth()}`, `12, ${truth()}, '<', ${number()}`])})`,
      () => `${long()} | indent(${dice.pick(['', number(), `'> ', ${truth()}, ${truth()}`])})`,
      () =>
        `${long()} | ${dice.pick(['title', 'capitalize', 'swapcase', 'wordcount', 'center(70)', 'trim', "trim('Tx<')", 'upper', 'lower', 'reverse', 'forceescape', 'e'])}`,
      () => `${long()} | replace(${text()}, ${text()}${dice.pick(['', `, ${number()}`])})`,
      () =>
        `(${long()}).${dice.pick(['title()', 'swapcase()', 'capitalize()', 'casefold()', 'upper()', 'lower()', 'istitle()', 'isupper()', 'isprintable()', 'isascii()', 'isnumeric()', 'isdecimal()', 'isidentifier()', 'encode()', "encode('ascii', 'replace')", "encode('ascii', 'xmlcharrefreplace')[1:4]", 'expandtabs(3)', 'splitlines(true)'])}`,
      () => `(${long()}).${dice.pick(['split', 'rsplit'])}(${dice.pick(["' ', 2", 'none, 1', 'maxsplit=2', "sep='a'", "'--', -1"])})`,
      () => `(${long()}).${dice.pick(['find', 'rfind', 'count', 'startswith', 'endswith'])}(${text()}, ${number()}, ${number()})`,
      () => `(${text()}).${dice.pick(['ljust', 'rjust', 'center'])}(${number()}, ${dice.pick(["'*'", "'é'", "'😀'"])})`,
      () => `${list()} | batch(${dice.pick(['2', '3', "3, 'x'"])}) | list`,
      () => `${list()} | slice(${dice.pick(['2', '3', "4, 'x'"])}) | list`,
      () =>
        `${list()} | ${dice.pick(['first', 'last', 'length', 'list', 'reverse | list', 'unique | list', 'unique(true) | list', 'min', 'max', 'sum', 'sort', 'sort(true)', 'sort(false, true)', "join('<')"])}`,
      () =>
        `${records()} | ${dice.pick(["map(attribute='y.z') | list", "map(attribute='q', default=3) | list", "sum(attribute='x')", "sum('x', 10)", "sort(attribute='y.z')", "sort(true, true, 'x,y.z')", "unique(attribute='x') | list", "groupby('x')", "groupby('y.z', case_sensitive=true)", "groupby('q', default='')", "min(attribute='x')", "max(attribute='y.z')", "join(', ', attribute='x')", "selectattr('x', 'ge', 2) | list", "rejectattr('y.z', 'in', ['a']) | list", "map('length') | list", "map('tojson') | join"])}`,
      () =>
        `${dice.pick(['m', 'item', "{'b': 2, 'a': 'x', 'C': none}", "{'b': 2, 'a': 3}"])} | ${dice.pick(['dictsort', 'dictsort(true)', "dictsort(false, 'value')", 'dictsort(reverse=true)', 'items | list', 'tojson', 'tojson(indent=2, sort_keys=true)', 'list', 'length'])}`,
      () =>
        `${number()} | ${dice.pick(['round', 'round(1)', "round(1, 'ceil')", "round(-1, 'floor')", 'round(-1)', 'abs', 'int', 'float', 'string'])}`,
      () =>
        `${dice.pick([text(), "' 0x1F '", "'1_000'", "'1e3'", "'-7.9'", "'٣'"])} | ${dice.pick(['int', 'int(5)', 'int(0, 16)', 'int(0, 8)', 'float', 'float(2)'])}`,
      () => `${dice.pick([text(), number(), list(), 'm', 'missing', 'none'])} is ${this.test(1)}`,
      () =>
        `${dice.pick(["'%5d|%-5d|%05d|%+d|%x|%o'", "'%s|%r|%5s|%.2s|%c|%%'", "'%e|%g|%5.1f|%G'"])} % (${Array.from({ length: dice.pick([3, 4, 6]) }, number).join(', ')})`,
      () =>
        `'${dice.pick(['{:>8}|{:<8}|{:^8}', '{:05d}|{:+}|{:,}', '{:.2f}|{:e}|{:%}', '{0:x}|{1:#x}|{2:b}', '{!r}|{!s}|{}', '{:*^9}|{:g}|{:n}'])}'.format(${text()}, ${number()}, ${number()})`,
      () =>
        `'${dice.pick(['{:05d}|{:+}|{:,}', '{:.2f}|{:e}|{:%}', '{0:x}|{1:#x}|{2:b}', '{:_}|{:08.3f}|{:<5}'])}'.format(${number()}, ${number()}, 1234567)`,
      () =>
        `(${number()}) ${dice.pick(['//', '%', '/', '*', '-', '+'])} (${dice.pick(['3', '-3', '2.5', '-0.5', '7', '12345678901234567890'])})`,
      () =>
        `(${dice.pick(['t', 'l', 'range(9)', "'日本😀x'"])})[${dice.pick(['1:', ':-1', '::-1', '-3:3', '::2', '5:1:-2', '-1::-3', ':', '9:', 'none:2'])}]`,
      () => `{${dice.pick(['1', 'true', '1.0', "'1'", '(1, 2)', 'none'])}: t, ${dice.pick(['1', 'true', '1.0', '(1.0, 2)', 'none'])}: n}`,
      () => `(${text()} | safe) ${dice.pick(['~', '+'])} ${text()}`,
      () =>
        `(${text()} | e) | ${dice.pick(["replace('<', '>')", 'upper', 'trim', 'title', 'indent(2, true)', 'length', 'list', 'pprint', 'striptags', "format('<')", 'wordwrap(3)', 'reverse', 'tojson', 'urlencode', 'first', 'string | pprint'])}`,
    ])();
  }

  private print(expression: string): string {
    const dash = (): string => (this.dice.isLucky(0.25) ? '-' : '');
    return `{{${dash()} ${expression} ${dash()}}}`;
  }

  private dash(): string {
    return this.dice.isLucky(0.25) ? '-' : this.dice.isLucky(0.05) ? '+' : '';
  }

  private tag(content: string): string {
    return `{%${this.dash()} ${content} ${this.dash()}%}`;
  }

  /** Of a kind mostly, so that what is done with it mostly makes sense. */
  private expression(depth: number, kind: Kind = this.dice.pick(KINDS)): string {
    const { dice } = this;
    const wanted = dice.isLucky(0.06) ? dice.pick(KINDS) : kind;
    if (depth === 0 || dice.isLucky(0.2)) return this.atom(wanted);
    const inner = (of: Kind): string => this.expression(depth - 1, of);
    const any = (): Kind => dice.pick(KINDS);
    const shared = dice.below(12);
    if (shared === 0) return `(${inner(wanted)} if ${inner('truth')} else ${inner(wanted)})`;
    if (shared === 1) return `(${inner(wanted)} ${dice.pick(['or', 'and'])} ${inner(wanted)})`;
    if (shared === 2) return `${inner(any())} | ${this.filter(depth - 1)}`;
    if (shared === 3)
      return `(${inner(any())}).${dice.pick([...METHODS, ...KEYS.slice(0, 5), 'real', '__class__'])}${dice.isLucky(0.6) ? `(${this.arguments(depth - 1)})` : ''}`;
    if (shared === 4) return `(${inner(any())} ${dice.pick(OPERATORS)} ${inner(any())})`;
    switch (wanted) {
      case 'text':
        return dice.pick([
          () => `(${inner('text')} ${dice.pick(['+', '~'])} ${inner('text')})`,
          () => `${inner(any())} ~ ${inner(any())}`,
          () => `(${inner('text')}).${dice.pick(['strip', 'lstrip', 'rstrip', 'upper', 'lower', 'title', 'capitalize', 'swapcase'])}()`,
          () => `(${inner('text')}).${dice.pick(['strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix'])}(${inner('text')})`,
          () => `(${inner('text')}).replace(${inner('text')}, ${inner('text')}${dice.isLucky(0.2) ? ', 1' : ''})`,
          () => `(${inner('text')}).${dice.pick(['zfill', 'ljust', 'rjust', 'center'])}(${inner('number')} % 20)`,
          () => `${inner('list')} | join(${inner('text')})`,
          () => `(${inner('text')}).join(${inner('list')} | map('string'))`,
          () =>
            `${inner(any())} | ${dice.pick(['string', 'tojson', 'tojson(indent=2)', 'tojson(ensure_ascii=true, sort_keys=true)', "tojson(separators=(',', ':'))"])}`,
          () =>
            `${inner('text')} | ${dice.pick(['trim', 'upper', 'title', 'capitalize', 'indent', 'indent(2, true)', "replace('a', 'b')", 'truncate(8)', 'escape', 'reverse', 'safe', 'center(9)', "default('x', true)"])}`,
          () => `(${inner('text')})[${this.index()}]`,
          () => `'%s-%r-%5.2f|%d' % (${inner('text')}, ${inner(any())}, ${inner('number')}, ${inner('number')})`,
          () => `'{} {!r:>8} {x}'.format(${inner(any())}, ${inner('text')}, x=${inner('text')})`,
          () => `'{0} {x:.3}'.format(${inner(any())}, x=${inner('text')})`,
        ])();
      case 'number':
        return dice.pick([
          () => `(${inner('number')} ${dice.pick(['+', '-', '*', '/', '//', '%'])} ${this.atom('number')})`,
          () => `-${inner('number')}`,
          // Small ones only: Python works on a large power for ever.
          () => `${dice.pick(['2', '-3', '2.5', '0', '10'])} ** ${dice.pick(['0', '3', '-1', '0.5', '60'])}`,
          () => `${inner('number')} | ${dice.pick(['abs', 'int', 'float', 'round', 'round(1)', "round(0, 'ceil')"])}`,
          () => `${inner('text')} | ${dice.pick(['int', 'float', 'int(7)', 'int(0, 16)', 'length', 'wordcount'])}`,
          () => `${inner('list')} | ${dice.pick(['length', 'count'])}`,
          () => `(${inner('text')}).${dice.pick(['find', 'count', 'rfind'])}(${inner('text')})`,
          () => `[${inner('number')}, ${inner('number')}] | ${dice.pick(['sum', 'max', 'min', 'first', 'last'])}`,
          () => (this.loops > 0 ? `loop.${dice.pick(LOOP)}` : '7'),
        ])();
      case 'truth':
        return dice.pick([
          () => `not ${inner(any())}`,
          () => `(${inner('number')} ${dice.pick(['<', '>', '<=', '>='])} ${inner('number')})`,
          () => `(${inner('number')} < ${inner('number')} <= ${inner('number')})`,
          () => `(${inner(any())} ${dice.pick(['==', '!='])} ${inner(any())})`,
          () => `(${inner('text')} ${dice.pick(['in', 'not in'])} ${inner('text')})`,
          () => `(${inner(any())} ${dice.pick(['in', 'not in'])} ${inner(dice.isLucky(0.5) ? 'list' : 'dict')})`,
          () => `(${inner(any())} is ${dice.isLucky(0.2) ? 'not ' : ''}${this.test(depth - 1)})`,
          () => `(${inner('text')}).${dice.pick(['startswith', 'endswith'])}(${inner('text')})`,
          () => `(${inner('text')}).${dice.pick(['isdigit', 'isalpha', 'isspace', 'isupper', 'islower', 'isalnum', 'istitle'])}()`,
        ])();
      case 'list':
        return dice.pick([
          () => `[${inner(any())}, ${inner(any())}]`,
          () => `(${inner(any())}, ${inner(any())})`,
          () => `(${inner('list')} + ${inner('list')})`,
          () => `(${inner('list')})[${dice.pick(['1:', ':-1', '::-1', '1:2', ':', '-2:', '::2'])}]`,
          () =>
            `(${inner('text')}).${dice.pick(['split()', "split(',')", 'splitlines()', "rsplit(' ', 1)", "partition(',')", "split('a', 1)"])}`,
          () => `range(${inner('number')} % 5)`,
          () =>
            `${inner('list')} | ${dice.pick(['list', 'sort', 'reverse | list', 'unique | list', 'sort(reverse=true)', "map('string') | list", 'batch(2) | list', 'slice(2) | list', "select('string') | list", "map('upper') | list", 'reject | list'])}`,
          () => `${inner('dict')} | ${dice.pick(['items', 'list', 'dictsort', "dictsort(by='value')"])}`,
          () => `(${inner('dict')}).${dice.pick(['keys() | list', 'items() | list', 'values() | list'])}`,
          () =>
            `messages | ${dice.pick(["map(attribute='content') | list", "selectattr('role', 'equalto', 'user') | list", "rejectattr('role', '==', 'user') | list", "groupby('role')", "sort(attribute='content')", "selectattr('x', 'undefined') | list"])}`,
        ])();
      default:
        return dice.pick([
          () => `{'x': ${inner(any())}, 'y': ${inner(any())}}`,
          () => `dict(x=${inner(any())})`,
          () => `dict(${inner('dict')}, y=${inner(any())})`,
          () => `{${inner('text')}: ${inner(any())}, 1: ${inner(any())}}`,
          () => `(${inner('dict')}).copy()`,
          () => `messages[${this.index()}]`,
        ])();
    }
  }

  private index(): string {
    return this.dice.pick(['0', '-1', '1:', ':-1', '::-1', '1:2', ':', '-2:', '::2', '5']);
  }

  private atom(kind: Kind): string {
    const { dice } = this;
    if (dice.isLucky(0.15)) return dice.pick(NAMES);
    switch (kind) {
      case 'text':
        return dice.pick([
          quote(dice.pick(TEXTS), dice.isLucky(0.5) ? "'" : '"'),
          't',
          'messages[0].content',
          "messages[-1]['role']",
          'item.x',
        ]);
      case 'number':
        return dice.pick([
          String(dice.pick(INTEGERS)),
          'n',
          '1.0',
          '2.5',
          '1e3',
          '0.1',
          '1_000',
          '0x1F',
          '1e-7',
          '12345678901234567890',
          'loop.index',
          'item.n',
        ]);
      case 'truth':
        return dice.pick([
          'true',
          'false',
          'none',
          'True',
          'False',
          'None',
          this.loops > 0 ? 'loop.first' : 'false',
          'missing is defined',
          't',
        ]);
      case 'list':
        return dice.pick(['l', 'messages', '[]', '[1, 2.0, true]', "['b', 'a', 'B']", '()', '(1,)', 'l', 'range(3)', 'missing']);
      default:
        return dice.pick(['m', '{}', "{'a': 1, 'b': none}", 'messages[0]', 'm', "{'x': 'y'}", 'item']);
    }
  }

  private filter(depth: number): string {
    const { dice } = this;
    const name = dice.pick(FILTERS);
    if (name === 'map')
      return dice.pick([
        `map('${dice.pick(FILTERS)}')`,
        `map(attribute='${dice.pick(KEYS)}')`,
        `map(attribute='${dice.pick(KEYS)}', default='?') | list`,
      ]);
    if (/^(select|reject)attr$/.test(name))
      return `${name}('${dice.pick(KEYS)}'${dice.isLucky(0.6) ? `, '${dice.pick(TESTS)}', ${this.expression(depth)}` : ''}) | list`;
    if (/^(select|reject)$/.test(name)) return `${name}('${dice.pick(TESTS)}') | list`;
    return dice.isLucky(0.6) ? name : `${name}(${this.arguments(depth)})`;
  }

  private test(depth: number): string {
    const name = this.dice.pick(TESTS);
    if (/^(divisibleby|eq|ge|gt|in|le|lt|ne|sameas)$/.test(name))
      return this.dice.isLucky(0.95) ? `${name}(${this.expression(depth)})` : name;
    return this.dice.isLucky(0.95) ? name : `${name}(${this.expression(depth)})`;
  }

  private arguments(depth: number): string {
    const list = Array.from({ length: this.dice.below(3) }, () => this.expression(Math.min(depth, 1)));
    if (this.dice.isLucky(0.15))
      list.push(
        `${this.dice.pick(['attribute', 'reverse', 'default', 'width', 'sep', 'maxsplit', 'chars', 'first', 'd'])}=${this.atom(this.dice.pick(KINDS))}`,
      );
    if (this.dice.isLucky(0.03)) list.push(this.dice.pick(['*l', '**m']));
    return list.join(', ');
  }
}

function quote(text: string, mark: string): string {
  const escapes: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\\': '\\\\', [mark]: `\\${mark}` };
  return mark + text.replace(/[\n\r\\'"]/g, (character) => escapes[character] ?? character) + mark;
}

/** One to three pieces of the template cut out, doubled, exchanged or replaced. */
function damage(dice: Dice, template: string): string {
  let pieces = template.split(/(\{[%{#]-?|-?[%}#]\}|\s+|\b)/).filter((piece) => piece !== '');
  for (let times = 1 + dice.below(3); times > 0; times--) {
    const at = dice.below(pieces.length);
    const other = dice.below(pieces.length);
    switch (dice.below(5)) {
      case 0:
        pieces.splice(at, 1);
        break;
      case 1:
        pieces.splice(at, 0, pieces[other]!);
        break;
      case 2:
        [pieces[at], pieces[other]] = [pieces[other]!, pieces[at]!];
        break;
      case 3:
        pieces[at] = dice.pick([
          '-',
          '%}',
          '{{',
          '}}',
          "'",
          '"',
          '(',
          ')',
          '[',
          '|',
          '.',
          ',',
          'not',
          'none',
          '0',
          '+',
          ' ',
          '#}',
          '{%',
          ':',
          '=',
        ]);
        break;
      default:
        pieces = pieces.slice(0, at + 1);
    }
    if (pieces.length === 0) return '';
  }
  return pieces.join('');
}
