"""Writes the golden renderings: what jinja2, set up as `transformers` sets it up, makes of the cases below.

    python3 test/unit/templates/golden/reference.py     (needs jinja2 3.1.6)

It writes semantics.json and conversations.json beside itself. The tests compare the engine with them and need no Python.
"""

import datetime
import json
import pathlib

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
BUILTINS = HERE.parents[3] / "templates" / "builtin"
NOW = datetime.datetime(2026, 3, 4, 5, 6, 7)


class Generation(Extension):
    """The `{% generation %}` block, which notes what stands where."""

    tags = {"generation"}
    rendered: list[str] = []
    spans: list[tuple[int, int]] = []

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("note"), [], [], body).set_lineno(line)

    def note(self, caller):
        text = caller()
        start = len("".join(Generation.rendered))
        Generation.spans.append((start, start + len(text)))
        return text


def raise_exception(message):
    raise jinja2.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = lambda format: NOW.strftime(format)


def render(source, context):
    """The text with its spans, or an error by the name of its class."""
    Generation.rendered, Generation.spans = [], []
    try:
        for piece in environment.from_string(source).generate(**context):
            Generation.rendered.append(piece)
        text = "".join(Generation.rendered)
    except Exception as error:  # whatever Python raises, the engine must refuse too
        return {"error": type(error).__name__}
    return {"text": text, "spans": [span for span in Generation.spans if span[1] > span[0]]}


CONTEXT = {
    "text": "Hello, World",
    "empty": "",
    "lines": "one\ntwo\n\nthree\n",
    "spaced": " \t\x1c\x85\u00a0x y\u2003\ufeff ",
    "emoji": "a😀b日本",
    "number": 7,
    "negative": -7,
    "half": 2.5,
    "big": 9007199254740991,
    "yes": True,
    "none": None,
    "list": [3, 1, 2],
    "words": ["banana", "apple", "Cherry", "apple"],
    "nested": [[1, 2], [3]],
    "table": {"b": 1, "a": {"c": "d"}, "items": "shadowed", "né": "ü"},
    "people": [{"name": "Ann", "age": 30}, {"name": "bob", "age": 25, "role": "dev"}, {"name": "Cid", "age": 30}],
    "markup": "Hello <i>World</i> & you",
    "attributes": {"a": 1, "b": "<x>", "c": None},
    "links": "see http://a.com/x?y=1&z=2 (www.foo.org) mail me@x.de, https://en.wikipedia.org/wiki/A_(b). <http://x.y> mailto:a@b.co",
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
}

# Every line is a template of its own.
EXPRESSIONS = r"""
{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ negative // 2 }} {{ negative % 3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }}
{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ +3 }} {{ - number }} {{ 10 ** 20 }} {{ big + 1 }} {{ big * big }} {{ -big - 2 }} {{ 2 ** 100 // 3 }} {{ -(2 ** 70) % 7 }}
{{ 1.0 }} {{ 1.5 + 1.5 }} {{ 1e3 }} {{ 1e16 }} {{ 1e-5 }} {{ 123456789.123 }} {{ 0.1 + 0.2 }} {{ 7.0 // 2 }} {{ -7.5 % 2 }} {{ 1_000 }} {{ 0x1f }} {{ 0b11 }} {{ 0o17 }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 1.0 // 0 }}
{{ 'a' + 'b' }} {{ 'a' * 3 }} {{ 3 * 'ab' }} {{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ missing }} {{ [1] + [2] }} {{ [1] * 3 }} {{ (1,) + (2,) }} {{ 'x' * -1 }}|
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [1] + (2,) }}
{{ none + 1 }}
{{ missing + 1 }}
{{ 'a' + missing }}
{{ true + true }} {{ true * 3 }} {{ false == 0 }} {{ 1 == 1.0 }} {{ '1' == 1 }} {{ [] == false }} {{ '' == false }} {{ none == false }} {{ [1] == (1,) }} {{ missing == none }} {{ missing == missing2 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ 'Z' < 'a' }} {{ [1, 2] < [1, 3] }} {{ (1, 'a') < (1, 'b') }} {{ 2 > 1 == true }} {{ 1 < 2.5 }} {{ 1 != 2 != 1 }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ missing < 1 }}
{{ 'ell' in text }} {{ 'x' not in text }} {{ 1 in list }} {{ 'a' in table }} {{ 'z' in table }} {{ 1.0 in list }} {{ 'a' in missing }} {{ '' in text }} {{ [1, 2] in nested }} {{ 2 in range(3) }}
{{ 1 in 'abc' }}
{{ 1 in 5 }}
{{ not missing }} {{ not [] }} {{ not {} }} {{ not '' }} {{ not 0 }} {{ not 0.0 }} {{ not none }} {{ not ' ' }} {{ not range(0) }} {{ not list }} {{ not table.keys() }}
{{ 'a' or 'b' }} {{ '' or 'b' }} {{ '' and 'b' }}| {{ 0 or none }} {{ [] or {} }} {{ 1 and 2 }} {{ not 1 == 2 }} {{ missing or 'd' }}
{{ 'y' if yes else 'n' }} {{ 'y' if not yes }}| {{ 'a' if 0 else 'b' if 0 else 'c' }} {{ ('y' if yes) ~ 1 }} {{ 1 if 1 if 0 else 1 }}
{{ true }} {{ True }} {{ false }} {{ none }} {{ None }} {{ yes }} {{ [true, none, 1.0, 'x'] }} {{ {'a': true, 1: none} }} {{ (1,) }} {{ (1, 2) }} {{ () }} {{ [] }} {{ {} }} {{ [missing] }}
{{ ["it's", 'say "hi"', "both ' and \"", 'back\\slash', 'nl\n', 'tab\t', '\x00\x7f\x85', 'é😀\u200b\ue000\u3000'] }}
{{ 'a\tb\x41\u00e9\101\q\'' }} {{ "a\"b" }} {{ 'con' 'cat' }}
{{ text[0] }} {{ text[-1] }} {{ text[1:4] }} {{ text[:-2] }} {{ text[::-1] }} {{ text[::2] }} {{ text[10:] }} {{ text[5:2] }}| {{ text[-3:-1] }} {{ text[99] }}| {{ text[none:3] }}
{{ emoji[1] }} {{ emoji[-1] }} {{ emoji[::-1] }} {{ emoji[1:3] }} {{ emoji|length }} {{ emoji|list }} {{ emoji.find('b') }} {{ emoji|reverse }} {{ emoji.center(9, '*') }}
{{ list[0] }} {{ list[-1] }} {{ list[1:] }} {{ list[::-1] }} {{ list[5] }}| {{ list[:2] }} {{ (1, 2, 3)[1:] }} {{ range(10)[2:5] }} {{ range(10)[-1] }} {{ list[true] }} {{ nested[0][1] }} {{ nested.0.1 }}
{{ list['a'] }}| {{ list[1.0] }}| {{ table[missing] }}| {{ table[0] }}| {{ {1: 'x'}[1] }} {{ {1: 'x'}[1.0] }} {{ text['upper']() }} {{ table['keys']()|list }}
{{ list[::0] }}
{{ list['a':] }}
{{ table[1:] }}
{{ missing[0] }}
{{ missing.x }}
{{ missing[1:] }}
{{ number.x }}| {{ none.x }}| {{ none['x'] }}| {{ number[0] }}| {{ table.a.c }} {{ table['a']['c'] }} {{ table.items is callable }} {{ table['items'] }} {{ table.né }} {{ table.a.zz }}|
{{ table.a.zz.yy }}
{{ table.get('b') }} {{ table.get('z') }} {{ table.get('z', 5) }} {{ table.a.keys() }} {{ table.a.values() }} {{ table.a.items() }} {{ table.a.items()|list }} {{ table.a.keys()|first }} {{ table.a.copy() }}
{{ table.update({'x': 1}) }}
{{ list.append(4) }}
{{ table.pop }}|
{{ list.index(1) }} {{ words.count('apple') }} {{ [1, 2, 1].index(1, 1) }} {{ list.copy() }}
{{ list.index(9) }}
{{ text() }}
{{ missing() }}
{{ table.nope() }}
{{ ''.__class__ }}| {{ ''.__class__.__mro__ }}
{{ text.upper() }} {{ text.lower() }} {{ 'hELLO wORLD'.title() }} {{ "they're bill's".title() }} {{ 'hELLO'.capitalize() }} {{ 'aBc'.swapcase() }} {{ 'straße'.upper() }} {{ 'ΑΣ'.lower() }} {{ 'ß'.casefold() }}
[{{ spaced.strip() }}] [{{ spaced|trim }}] [{{ spaced.lstrip() }}] [{{ spaced.rstrip() }}] [{{ 'xxabcxx'.strip('x') }}] [{{ 'abcba'.strip('ab') }}] [{{ 'xxa'.lstrip('x') }}] [{{ '😀a😀'.strip('😀') }}] [{{ 'xax'|trim('x') }}] [{{ 'a'.strip(none) }}]
{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ ' a  b c '.split(none, 1) }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ ' a  b c '.rsplit(none, 1) }} {{ 'a--b'.split('--') }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a b'.split(maxsplit=1) }} {{ 'a,b'.split(sep=',') }}
{{ 'abc'.split('') }}
{{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ 'a\r\nb\rc\x0bd\u2028e'.splitlines() }} {{ ''.splitlines() }}
{{ 'abc'.startswith('a') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ ''.startswith('') }}
{{ 'abc'.startswith(1) }}
{{ 'abc'.startswith(['a']) }}
{{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'ab'.replace('', '.') }} {{ 'ab'.replace('', '.', 2) }} {{ 'aaa'.replace('aa', 'b') }} {{ 'a$b'.replace('$', '$&') }} {{ 'abc'|replace('b', 'x') }} {{ 'aab'|replace('a', 'x', 1) }} {{ 121|replace(1, 'x') }} {{ 'aab'|replace('a', 'x', count=1) }}
{{ 'abcabc'.find('c') }} {{ 'abcabc'.rfind('c') }} {{ 'abc'.find('z') }} {{ 'abcabc'.find('a', 1) }} {{ 'abcabc'.index('b') }} {{ 'abcabc'.count('bc') }} {{ 'aaaa'.count('aa') }} {{ 'ab'.count('') }}
{{ 'abc'.index('z') }}
{{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }} {{ 'pre-x'.removeprefix('pre-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'x'.removesuffix('') }}
{{ ', '.join(words) }} {{ ''.join([]) }}| {{ '-'.join('abc') }} {{ '-'.join(table) }}
{{ ','.join(list) }}
{{ 'abc'.isdigit() }} {{ '12'.isdigit() }} {{ '²'.isdigit() }} {{ '½'.isnumeric() }} {{ 'ab1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ''.isalpha() }} {{ ' \t'.isspace() }} {{ 'AB1'.isupper() }} {{ '1'.isupper() }} {{ 'ab'.islower() }} {{ 'Ab Cd'.istitle() }} {{ 'é'.isascii() }} {{ 'a_1'.isidentifier() }}
{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'ab'.ljust(5, '.') }} {{ 'ab'.rjust(5) }} {{ 'ab'.center(5, '*') }} {{ 'abc'.center(6, '*') }} {{ 'a\tb'.expandtabs(4) }}
{{ 'x'.nope }}|
{{ '%s is %d years and %.2f %%' % ('Ann', 30, 1.5) }} {{ '%(a)s' % {'a': 1} }} {{ '%5d|%-5d|%05d|%+d' % (1, 2, 3, 4) }} {{ '%x %X %o' % (255, 255, 8) }} {{ '%r' % 'a' }} {{ '%s' % none }} {{ '%e' % 12345.678 }} {{ '%g %g %g' % (0.0001, 1e10, 100000) }} {{ '%5.1f|' % 3.14159 }} {{ '%s' % (1,) }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ '%s' % (1, 2) }}
{{ '%z' % 1 }}
{{ '{} {}'.format(1, 'a') }} {{ '{1} {0}'.format(1, 2) }} {{ '{a}'.format(a=1) }} {{ '{{}}'.format() }} {{ '{:>5}|{:<5}|{:^5}|{:*^5}'.format('a', 'b', 'c', 'd') }} {{ '{:05d} {:,} {:.2f} {:x} {:b} {:e} {:%}'.format(42, 1234567, 3.14159, 255, 5, 12345.6789, 0.25) }} {{ '{0[a]} {0.b}'.format({'a': 1, 'b': 2}) }} {{ '{!r}'.format('a') }} {{ '{:.3}'.format('abcdef') }} {{ '{:g}'.format(1.0) }} {{ '{}'.format(1.0) }} {{ '{:+}'.format(3) }}
{{ '{'.format() }}
{{ '{}'.format() }}
{{ '{:d}'.format('a') }}
{{ '{0.__class__}'.format('a') }}|
{{ list|length }} {{ text|length }} {{ table|length }} {{ missing|length }} {{ range(5)|length }} {{ table.keys()|length }} {{ list|count }}
{{ number|length }}
{{ none|length }}
{{ list|map('string')|length }}
{{ list|first }} {{ list|last }} {{ ''|first }}| {{ []|first }}| {{ 'abc'|last }} {{ table|first }} {{ table|last }} {{ missing|first }}| {{ list|map('string')|first }} {{ range(3)|last }}
{{ list|map('string')|last }}
{{ none|first }}
{{ list|sort }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ list|sort(reverse=true) }} {{ people|sort(attribute='age')|map(attribute='name')|list }} {{ people|sort(reverse=true, attribute='age')|map(attribute='name')|list }} {{ people|sort(attribute='age,name')|map(attribute='name')|list }} {{ 'bca'|sort }}
{{ [1, 'a']|sort }}
{{ words|unique|list }} {{ words|unique(case_sensitive=true)|list }} {{ [1, 1.0, true]|unique|list }} {{ list|min }} {{ list|max }} {{ words|min }} {{ []|max }}| {{ list|sum }} {{ people|sum(attribute='age') }} {{ [0.5, 1]|sum }} {{ list|sum(start=10) }} {{ []|sum }}
{{ list|join }} {{ list|join(', ') }} {{ people|join('; ', attribute='name') }} {{ 'abc'|join('-') }} {{ missing|join }}| {{ [none, true]|join(',') }} {{ words|join(d='+') }}
{{ 5|join }}
{{ words|map('upper')|list }} {{ people|map(attribute='role', default='-')|list }} {{ people|map(attribute='role')|list }} {{ nested|map('first')|list }} {{ words|map('replace', 'a', 'o')|join(' ') }} {{ nested|map(attribute=0)|list }} {{ missing|map('upper')|list }} {{ nested|map('join', '-')|list }}
{{ words|map('nope')|list }}
{{ words|map|list }}
{{ text|upper(1) }}
{{ text|trim('a', 'b') }}
{{ text.strip('a', 'b') }}
{{ text.strip(missing) }}
{{ text.split(missing) }}
{{ text.ljust(9, missing) }}
{{ text.find('a', missing) }}
{{ text.splitlines(missing) }}
{{ 'a'.join(missing) }} {{ missing is sameas missing }} {{ missing|reverse|list }}
{{ list|length(1) }}
{{ list|select('odd')|list }} {{ list|reject('odd')|list }} {{ [0, 1, '', 'a', none]|select|list }} {{ list|select('gt', 1)|list }} {{ list|select('>=', 2)|list }} {{ people|selectattr('age', 'equalto', 30)|map(attribute='name')|list }} {{ people|rejectattr('role')|list|length }} {{ people|selectattr('role', 'defined')|list|length }} {{ messages|selectattr('role', 'in', ['user', 'system'])|list|length }} {{ list|select('in', [1, 9])|list }} {{ none|select|list }}
{{ list|select('nope')|list }}
{{ 'y' if people|selectattr('name', 'equalto', 'nobody') else 'n' }} {{ 'y' if people|selectattr('name', 'equalto', 'nobody')|list else 'n' }} {{ 'y' if [] else 'n' }}
{{ table|dictsort|length }} {{ {'b': 1, 'A': 2, 'c': 0}|dictsort }} {{ {'b': 1, 'A': 2, 'c': 0}|dictsort(true) }} {{ {'b': 1, 'A': 2, 'c': 0}|dictsort(by='value') }} {{ {'b': 1, 'a': 1}|dictsort(false, 'value', true) }}
{{ table.a|items|list }} {{ missing|items|list }} {% for k, v in {'a': 1, 'b': 2}|items %}{{ k }}{{ v }}{% endfor %}
{{ list|items|list }}
{{ people|groupby('age')|length }} {% for age, group in people|groupby('age') %}{{ age }}:{{ group|map(attribute='name')|join(',') }};{% endfor %} {% for g in people|groupby('role', default='none') %}{{ g.grouper }}{{ g.list|length }}{% endfor %} {{ words|groupby(0) }}
{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ [1, 2, 3, 4, 5]|batch(2, 0)|list }} {{ [1, 2, 3, 4, 5]|slice(2)|list }} {{ [1, 2, 3, 4, 5]|slice(3, 'x')|list }}
{{ list|reverse|list }} {{ 'abc'|reverse }} {{ table.a|reverse|list }} {{ range(3)|reverse|list }} {{ list|list }} {{ 'abc'|list }} {{ table.a|list }} {{ missing|list }}
{{ none|list }}
{{ none|reverse }}
{{ missing|default('d') }} {{ ''|default('d') }}| {{ ''|default('d', true) }} {{ none|default('d') }} {{ none|d('x', boolean=true) }} {{ missing|default }}| {{ 0|default(1, true) }}
{{ missing.x|default('d') }}
{{ table.zz|default('d') }} {{ table.a.zz|default(none) }} {{ missing|default(missing2) }}|
{{ '42'|int }} {{ ' 42 '|int }} {{ '4_2'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ '3.9'|int }} {{ 3.9|int }} {{ -3.9|int }} {{ true|int }} {{ none|int }} {{ '1e3'|int }} {{ 'ff'|int(0, 16) }} {{ '0x1f'|int(base=16) }} {{ ''|int }} {{ '-7'|int }}
{{ missing|int }}
{{ '1.5'|float }} {{ 'x'|float }} {{ '2'|float }} {{ 3|float }} {{ 'nan'|float }} {{ 'inf'|float }} {{ 'x'|float(1) }} {{ none|float }} {{ ' 1e2 '|float }}
{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42.55|round(1) }} {{ 42.4|round }} {{ 42|round }} {{ 42.1|round(method='ceil') }} {{ 42.9|round(0, 'floor') }} {{ -2.5|round }} {{ 0.125|round(2) }} {{ 1234|round(-2) }} {{ 1234.5|round(-2) }} {{ -5|abs }} {{ -2.5|abs }} {{ true|abs }}
{{ 'a'|abs }}
{{ 'hello world-foo (bar) [baz]'|title }} {{ 'hELLO wORLD'|capitalize }} {{ text|upper }} {{ text|lower }} {{ none|upper }} {{ 1.5|upper }} {{ missing|upper }}| {{ true|lower }}
{{ 'a\nb\n\nc'|indent }} | {{ 'a\nb'|indent(2, true) }} | {{ 'a\n\nb'|indent(2, blank=true) }} | {{ 'a\nb'|indent('> ') }} | {{ 'a\nb\n'|indent(1) }} | {{ 'a\r\nb'|indent(1) }} | {{ ''|indent }}|
{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(11, false, '...', 0) }} {{ 'a b-c'|wordcount }} {{ 'x'|center(5) }}|
{{ '<a href="x">\'&</a>'|escape }} {{ '<b>'|e }} {{ '<b>'|safe }} {{ '<b>'|string }} {{ 3|string ~ 4 }} {{ '%s-%s'|format('a', 'b') }} {{ '%(x)s'|format(x=1) }}
{{ ('<b>'|safe) + '<c>' }} {{ '<c>' + ('<b>'|e) }} {{ ('<b>'|safe) ~ '<c>' }} {{ [('<b>'|safe)] }} {{ ('<b>'|safe).upper() + '<' }} {{ ('a'|safe) == 'a' }} {{ ('a,b'|safe).split(',') }} {{ ('<b>'|safe)|trim + '&' }} {{ ('<b>'|safe)|length }} {{ ('%s'|safe) % '<' }} {{ ('ab'|safe)[0] + '<' }} {{ ('<'|e)|tojson }} {{ ('<' |e) in 'a&lt;b' }} {{ ('a'|safe) * 2 + '<' }} {{ (['<']|join(','|safe)) }} {{ ('<'|safe)|replace('<', '>') + '<' }}
{{ table|tojson }} {{ [1, 1.5, 1.0, true, none, 'é"\\\n\x01\x7f']|tojson }} {{ 'é😀'|tojson(ensure_ascii=true) }} {{ {'b': [1, {}], 'a': []}|tojson(indent=2) }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ [1, {'a': 2}]|tojson(separators=(',', ':')) }} {{ '<>&'|tojson }} {{ (1, 2)|tojson }} {{ {1: 2, none: 4}|tojson }} {{ []|tojson(indent=4) }} {{ {'a': [1, 2]}|tojson(indent=4, separators=(',', ': ')) }} {{ 1e100|tojson }}
{{ missing|tojson }}
{{ [missing]|tojson }}
{{ range(3)|tojson }}
{{ table.keys()|tojson }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ missing is defined }} {{ missing is undefined }} {{ none is none }} {{ none is defined }} {{ yes is boolean }} {{ true is true }} {{ 1 is true }} {{ 0 is false }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ 1 is float }} {{ true is number }} {{ 'a' is string }} {{ table is mapping }} {{ list is mapping }}
{{ text is iterable }} {{ list is sequence }} {{ table is sequence }} {{ table.keys() is sequence }} {{ number is iterable }} {{ missing is iterable }} {{ missing is sequence }} {{ list|map('string') is iterable }} {{ list|map('string') is sequence }} {{ range(3) is sequence }} {{ text.upper is callable }} {{ missing is callable }} {{ none is sequence }}
{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 'a1' is lower }} {{ '1' is lower }} {{ 1 is sameas 1 }} {{ none is sameas none }} {{ 2 is in [1, 2] }} {{ 2 is in(list) }} {{ 1 is eq 1 }} {{ 1 is ne(2) }} {{ 1 is lt 2 }} {{ 2 is ge(2) }} {{ 'a' is equalto 'a' }} {{ 1 is not odd }} {{ not 1 is odd }} {{ missing is not defined and true }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }}
{{ 'a' is odd }}
{{ missing is odd }}
{{ 1 is nope }}
{{ 1|nope }}
{% if false %}{{ 1|nope }}{{ 1 is nope }}{% endif %}ok
{% if false %}{% for x in [] %}{{ 1|nope }}{% endfor %}{% endif %}ok
{{ 'x' if true else 1|nope }}
{{ range(3)|list }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ range(3) }} {{ range(1, 5, 2) }} {{ range(0)|list }} {{ range(3) == range(0, 3) }} {{ range(2)|length }}
{{ range(1.5) }}
{{ range(1, 2, 0) }}
{{ range(100001) }}
{{ dict(a=1, b=2) }}
{{ namespace(a=1) }} {{ namespace({'a': 1}).a }} {{ namespace(a=1)['a'] }} {{ namespace().zz }}|
{% set ns = namespace(x=1) %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }} {% set ns.y %}block{% endset %}{{ ns.y }}
{% set ns = namespace() %}{% set ns.a, ns.b = 5, 6 %}{% set ns.c, d = [7, 8] %}{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ d }}
{{ missing|attr('x') is defined }}
{% set d = {} %}{% set d.x = 1 %}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }} {% set j = joiner(', ') %}{{ j() }}|{{ j() }}|{{ j() }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %B %b %A %a %d %j %y %p %I %-d %%') }}
{{ raise_exception('no') }}
{% if messages[0].role != 'user' %}{{ raise_exception('must be user') }}{% endif %}
{{ text | upper | lower | title }} {{ (text | upper)[0] }} {{ -3 | abs }} {{ 1 + 2 | string ~ 'x' }}
{{ 'a' ~ 1 + 2 }}
{{ 'a' ~ 1 * 2 ~ 'b' }} {{ 1 ~ 2 == '12' }} {{ not 'a' in 'b' }} {{ 2 + 3 in [5] }} {{ [1, 2,] }} {{ {'a': 1,} }} {{ (1, 2,) }} {{ 1, 2 }}
{{ table.a.c.upper().lower() }} {{ 'x'.join(['a', 'b']).upper()[0] }} {{ [1, [2, {'a': (3,)}]][1][1].a[0] }} {{ {'a': {'b': 1}}.a.b }}
{{ }}
{{ 1 + }}
{{ 'unclosed }}
{{ (1 }}
{{ [1 }}
{% if %}{% endif %}
{% if true %}
{% endif %}
{% for x in %}{% endfor %}
{% unknown %}
{% set 1 = 2 %}
{% set true = 2 %}
{{ a b }}
{{ @ }}
{{ 1a }}
{% break %}
{% for i in [1] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
{# unclosed
{% raw %}x
{{ 'a' is defined is none }}
{{ f(a=1, 2) }}
{{ text.upper(1) }}
{% include 'x' %}
{% if false %}{% include 'x' %}{% endif %}ok
""".strip("\n").split("\n")

# Arguments that are given and undefined.
UNDEFINED_ARGUMENTS = [
    "{{ 'a' | trim(missing) }}",
    "{{ 'a' | trim(chars=missing) }}",
    "{{ 'a' | center(missing) }}",
    "{{ 'a\nb' | indent(missing) }}",
    "{{ 'a\nb' | indent(width=missing) }}",
    "{{ 'a\nb' | indent(2, missing) }}",
    "{{ 'a\nb' | indent(2, true, missing) }}",
    "{{ ('abc ' * 100) | truncate(missing) }}",
    "{{ ('abc ' * 100) | truncate(9, missing) }}",
    "{{ ('abc ' * 100) | truncate(9, false, missing) }}",
    "{{ ('abc ' * 100) | truncate(9, false, 'x', missing) }}",
    "{{ 1.55 | round(missing) }}",
    "{{ 1.55 | round(1, missing) }}",
    "{{ 'a b c' | wordwrap(missing) }}",
    "{{ 'aaaa bbbb c' | wordwrap(3, missing) }}",
    "{{ 'aaaa bbbb c' | wordwrap(3, true, missing) }}",
    "{{ 'aaaa bb-bb c' | wordwrap(3, true, '\n', missing) }}",
    "{{ {'a':1} | tojson(indent=missing) }}",
    "{{ {'a':1} | tojson(sort_keys=missing) }}",
    "{{ {'a':1} | tojson(ensure_ascii=missing) }}",
    "{{ {'a':1} | tojson(separators=missing) }}",
    "{{ [2,1] | sort(missing) }}",
    "{{ [2,1] | sort(false, missing) }}",
    "{{ {'b':1,'a':2} | dictsort(missing) }}",
    "{{ {'b':1,'a':2} | dictsort(false, missing) }}",
    "{{ {'b':1,'a':2} | dictsort(false, 'key', missing) }}",
    "{{ [1,2] | sum(missing) }}",
    "{{ [1,2] | sum(start=missing) }}",
    "{{ 'aba' | replace('a','b',missing) }}",
    "{{ 'aba' | replace(missing,'b') }}",
    "{{ 'aba' | replace('a',missing) }}",
    "{{ [1,2] | join(missing) }}",
    "{{ '12' | int(missing) }}",
    "{{ 'x' | int(missing) }}",
    "{{ '12' | int(0, missing) }}",
    "{{ 'x' | float(missing) }}",
    "{{ 12345 | filesizeformat(missing) }}",
    "{{ [{'a':1},{'b':1}] | groupby('a', missing) | list }}",
    "{{ [1,2] | max(missing) }}",
    "{{ ['a','A'] | unique(missing) | list }}",
    "{{ [1] | map(missing) | list }}",
    "{{ [1] | select(missing) | list }}",
    "{{ {'a':1} | xmlattr(missing) }}",
    "{{ 'http://a.com' | urlize(missing) }}",
    "{{ 'http://a.com' | urlize(5, missing) }}",
    "{{ 'http://a.com' | urlize(5, false, missing) }}",
    "{{ 'http://a.com' | urlize(5, false, '_b', missing) }}",
    "{{ '%s' | format(missing) }}",
    "{{ missing | default(missing) }}",
    "{{ 'a,b'.split(missing) }}",
    "{{ 'a'.strip(missing) }}",
    "{{ 'a'.replace('a', missing) }}",
    "{{ 'a'.startswith(missing) }}",
    "{{ range(missing) | list }}",
    "{{ 'a'.join(missing) }}",
    "{{ {'a':1}.get(missing) }}",
    "{{ {'a':1}.get('b', missing) }}",
    "{{ 1 is divisibleby(missing) }}",
    "{{ 'a' is in(missing) }}",
    "{{ 1 is eq(missing) }}",
    "{{ 1 is lt(missing) }}",
]

# Filters for pages, blocks, autoescape, bytes; every line is a template of its own.
PAGES = r"""
{{ 0|filesizeformat }},{{ 1|filesizeformat }},{{ 999|filesizeformat }},{{ 1000|filesizeformat }},{{ 1000|filesizeformat(true) }},{{ 1234567|filesizeformat }},{{ '13.5e3'|filesizeformat }},{{ -5.5|filesizeformat }},{{ 1e30|filesizeformat }},{{ 1e30|filesizeformat(binary=true) }},{{ true|filesizeformat }}
{{ (10**3)|filesizeformat }},{{ (10**6)|filesizeformat }},{{ (10**9)|filesizeformat }},{{ (10**12)|filesizeformat }},{{ (10**15)|filesizeformat }},{{ (10**18)|filesizeformat }},{{ (10**21)|filesizeformat }},{{ (10**24)|filesizeformat }},{{ (10**27)|filesizeformat }},{{ (10**24-10**10)|filesizeformat }}
{{ 'x'|filesizeformat }}
{{ none|filesizeformat }}
{{ nope|filesizeformat }}
{{ 'inf'|filesizeformat }} {{ 'nan'|filesizeformat }} {{ '-inf'|int }}
{{ (10**400)|filesizeformat }}
{{ (10**400)|float }}
{{ messages|pprint }}
{{ (messages*3)|pprint }}
{{ {'zeta':[1,2,3]*12, 'alpha':{'x':'word '*30,'y':(1,)}, 3:'x', none:1, true:2.5}|pprint }}
{{ ('lorem ipsum dolor sit amet '*8)|pprint }}
{{ ['lorem ipsum dolor sit amet '*8, 'a\nb\n'*20]|pprint }}
{{ ('x'*200)|pprint }}
{{ markup|safe|pprint }} {{ nope|pprint }} {{ 3|pprint }} {{ range(3)|pprint }}
{{ (('abc'*40).encode())|pprint }}
{{ [('abc'*40).encode(), ('a b'*4).encode()]|pprint }}
{{ messages|groupby('role')|pprint }}
{{ [[], {}, (), [[1]*30], ((2,)*40,)]|pprint }}
{{ markup|striptags }} {{ '<b>x</b> &amp; &lt;y&gt; &eacute;&notit; &#x41;&#65;&#128;&#0;&#xd800;&#1;z &nosuch; &am &amp;amp'|striptags }}
{{ ('a <!-- c > --> b <br/> \n  c < d')|striptags }}|{{ 'x <!-- un'|striptags }}|{{ markup|safe|striptags }}|{{ 3|striptags }}|{{ nope|striptags }}|{{ '&#x80;&#x9f;&#xfdd0;&#11;&#xFFFF;&#13;&#99999999;'|striptags|length }}
{{ markup|urlencode }} {{ 'a/b c+d~é日😀!()*\''|urlencode }} {{ attributes|urlencode }} {{ [('a','b/c d'),(1,none)]|urlencode }} {{ 3.5|urlencode }} {{ none|urlencode }} {{ nope|urlencode }}| {{ 'a b'|safe|urlencode }}
{{ ['abc']|urlencode }}
{{ ['ab', 'cd']|urlencode }}
{{ 'é'.encode()|urlencode }}
{{ [('é'.encode(), 1)]|urlencode }}
{{ links|urlize }}
{{ links|urlize(10, true, target='_blank', rel='a b') }}
{{ links|urlize(extra_schemes=['foo:', 'tel://']) }}{{ 'tel://12 foo:x foo: xx foo:bar&'|urlize(extra_schemes=['foo:', 'tel://']) }}
{{ links|urlize(extra_schemes=['f']) }}
{{ links|urlize(extra_schemes='foo') }}
{{ links|urlize(rel=3) }}
{{ links|urlize(rel='') }} {{ links|urlize(none, false, none, none, none) }}
{{ 'www.a.b http://[::1]:80/x http://1.2.3.4 x.com a.b.museum @a@b.c www.x@y.z (((http://a.b/((c)))))) &lt;http://x.y&gt; http://ſ.com ftp://a.b a@b.c.d.'|urlize }}
{{ 3|urlize }} {{ nope|urlize }} {{ '<a>'|safe|urlize }} {{ ('http://x.com/<'|escape)|urlize }}
{{ markup|wordwrap(5) }}
{{ ('The quick brown-fox jumps--over the well-known lazy dog -- 2001-02-03 a--b foo-bar-baz x- -y ---- z--- ' * 3)|wordwrap(12) }}
{{ ('The quick brown-fox jumps--over the well-known lazy dog'*3)|wordwrap(7, false) }}
{{ ('The quick brown-fox jumps--over supercalifragilistic'*3)|wordwrap(7, true, '<br>', false) }}
{{ ('The quick brown-fox jumps--over <b>'*3)|wordwrap(7, wrapstring='<br>'|safe) }}
{{ 'abc'|wordwrap(0) }}
{{ ''|wordwrap(0) }}
{{ 'abc def'|wordwrap(2.5) }}
{{ 'abc def'|wordwrap(5.5) }}
{{ 3|wordwrap }}
{{ 'äöü日本語のテキスト 😀😀😀😀😀😀 x'|wordwrap(4) }} {{ '  lead  and   trail  \n\n x'|wordwrap(6) }}|{{ 'a\tb c'|wordwrap(3) }}
{{ 'a b'|wordwrap(1, break_on_hyphens=1) }}|{{ 'aa-bb cc-dd'|wordwrap(4, break_on_hyphens=1) }}|{{ ('a b'|safe)|wordwrap(1)|pprint }}
{{ attributes|xmlattr }}|{{ attributes|xmlattr(false) }}|{{ {}|xmlattr }}|{{ {'a':nope, 'b':[1,'<']}|xmlattr }}|{{ {'x':'<'|safe}|xmlattr(autospace=false) }}
{{ {'a b':1}|xmlattr }}
{{ {'a b':none}|xmlattr }}
{{ {1:1}|xmlattr }}
{{ [1]|xmlattr }}
{{ nope|xmlattr }}
{% autoescape true %}{{ attributes|xmlattr }} {{ markup }} {{ '<' }} {{ markup|safe }} {{ markup ~ '<b>' }} {{ (markup|safe) ~ markup }} {{ [markup]|join('<') }} {{ [markup|safe, '<']|join('&') }} {{ markup|replace('i','<') }} {{ (markup|safe)|replace('i','<') }} {{ links|urlize }} {{ 3 }} {{ none }} {{ nope }} {{ [markup] }} {{ markup|upper }} {{ markup|tojson }} {{ markup|title }} {{ markup|e }} {{ markup|forceescape }} {{ (markup|safe)|truncate(9, true, '<') }}{% endautoescape %} {{ markup }}
{% set x = true %}{% autoescape x %}{{ markup }} {{ (markup|safe) ~ '<' }} {% set y %}<b>{{ markup }}{% endset %}{{ y }}{% filter upper %}<b>{{ markup }}{% endfilter %}{% endautoescape %}
{% autoescape true %}{% macro m(a) %}<b>{{ a }}</b>{% endmacro %}{{ m('<') }}{% set y %}<i>{{ '<' }}{% endset %}{{ y }}{% set z | upper %}<i>{{ '<' }}{% endset %}{{ z }}{% filter upper %}<i>{{ '<' }}{% endfilter %}{% endautoescape %}
{% macro m(a) %}<b>{{ a }}{{ caller() if caller }}</b>{% endmacro %}{% autoescape true %}{{ m('<') }}{% call m('<') %}<{{ '<' }}{% endcall %}{% endautoescape %}{{ m('<') }}
{% autoescape true %}{% for x in [['<',['>']]] recursive %}{% if x is string %}{{ x }}{% else %}{{ loop(x) }}{% endif %}{% endfor %}{% endautoescape %}
{% macro m() %}<{% endmacro %}{% for x in [1,2] %}{% autoescape true %}{% if x == 1 %}{% break %}{% endif %}{% endautoescape %}{% endfor %}{{ markup }}{{ [m(), '<']|join }}
{% autoescape false %}{{ markup }}{% endautoescape %}{% autoescape 0 %}{{ markup }}{% endautoescape %}{% autoescape 'x' %}{{ markup }}{% endautoescape %}{% autoescape nope %}{{ markup }}{% endautoescape %}
{% autoescape %}x{% endautoescape %}
{% autoescape true %}{% generation %}<{{ markup }}{% endgeneration %}{% endautoescape %}
{% autoescape true %}{% set q = 1 %}{% endautoescape %}{{ q }}
{% block a %}x{{ n }}{% endblock %}y{% block b %}{{ self.a() }}{% endblock b %}
{% set n = 5 %}{% block a %}{{ n }}{% set n = 6 %}{{ n }}{% endblock %}{{ n }}
{% for n in [1,2] %}{% block a %}{{ n }}{{ loop }}{% endblock %}{% endfor %}
{% for n in [1,2] %}{% set k = n*2 %}{% block a scoped %}{{ n }}{{ k }}{{ loop.index }}{% endblock %}{% endfor %}
{% block a required %}  {# x #}{% endblock %}
{% block a required %}x{% endblock %}
{% if false %}{% block a required %}{% endblock %}{% endif %}ok
{% block a %}{% endblock %}{% block a %}{% endblock %}
{% block a %}{{ super() }}{% endblock %}
{% block a %}[{{ super }}]{% endblock %}
{{ self }} {{ self.x }} {{ self.a is defined }} {{ self['a']() }} {{ self.a.name }} {% block a %}A{% endblock %}
{{ self.nope() }}
{{ self.a(1) }}{% block a %}A{% endblock %}
{% macro m(x) %}[{{ x }}{% block a %}{{ n }}{{ x }}{% endblock %}]{% endmacro %}{{ m(1) }}
{% macro m(x) %}[{{ x }}{% block a scoped %}{{ n }}{{ x }}{% endblock %}]{% endmacro %}{{ m(1) }}
{% block a %}{% generation %}gen{% endgeneration %}{% endblock %}xx{% block b %}b{% generation %}gen{% endgeneration %}{% endblock %}
{% for x in [1,2] %}{% block b scoped %}b{% generation %}gen{{ x }}{% endgeneration %}{% endblock %}{% endfor %}
{% for x in [1] %}{% block b %}{% break %}{% endblock %}{% endfor %}
{% set f %}{% block a %}{{ markup }}{% endblock %}{% endset %}{{ f|upper }}{{ self.a() }}
{% if true %}{% set zz = 3 %}{% endif %}{% for i in [1] %}{% set zz = 4 %}{% endfor %}{% macro mm() %}M{% endmacro %}{% block a %}{{ zz }}{{ mm() }}{{ ww }}{% endblock %}{% set ww = 1 %}
{% block a %}{% block b %}inner{{ markup }}{% endblock %}{% set markup = 1 %}{{ markup }}{{ self.b() }}{% endblock %}
{% block a-b %}{% endblock %}
{% block %}{% endblock %}
{% block a %}{{ self.a() }}{% endblock %}
{% autoescape true %}{% block a %}{{ markup }}{{ [markup|safe, markup]|join }}{% endblock %}{{ self.a() }}{% endautoescape %}
{% include 'x' %}
{% include 'x' ignore missing %}
{% include [] ignore missing %}ok{% include none ignore missing with context %}ok{% include 0 ignore missing without context %}
{% include nope ignore missing %}
{% include [] %}
{% include '' ignore missing %}
{% if false %}{% include 'x' %}{% import 'x' as y %}{% from 'x' import a, b as c with context %}{% extends 'x' %}{% endif %}ok{{ y }}{{ a }}
{% import 'x' as y %}
{% import 'x' %}
{% from 'x' import _a %}
{% from 'x' import a b %}
{% from 'x' import a, %}
{% from 'x' import with context %}
{% from 'x' import a, with context %}
{% extends 'x' %}
{% for i in [] %}{% extends 'x' %}{% endfor %}
{% include 'x' foo %}
{{ 'é日😀'.encode('utf-8')|length }} {{ 'é日\n\'"'.encode() }} {{ 'abc'.encode()[0] }} {{ 'abc'.encode()[1:] }} {{ 'abc'.encode().decode() }} {{ 'abc'.encode()|list }} {{ 'é'.encode('latin-1') }} {{ 'é'.encode('ascii', 'ignore') }} {{ 'é'.encode('ascii', errors='replace') }} {{ 'é日😀'.encode('ascii', 'xmlcharrefreplace') }} {{ 'é日😀'.encode('ascii', 'backslashreplace') }} {{ 'é'.encode().hex() }} {{ 'a'.encode() == 'a'.encode() }} {{ 'a'.encode() == 'a' }} {{ 97 in 'a'.encode() }} {{ 'é'.encode() is sequence }} {{ 'é'.encode() is string }} {{ ('<'|safe).encode() }}
{{ 'é'.encode('ascii') }}
{{ 'é'.encode('nope') }}
{{ 'a'.encode()|tojson }}
{{ 'a'.encode() ~ 'b' }}{{ 'a'.encode() if ''.encode() else 'empty' }}{{ 'a' in 'a' }}
{{ 'a'.isprintable() }}{{ 'a\n'.isprintable() }}{{ ''.isprintable() }}{{ '\\'.isprintable() }}
{{ '\é|\日|\😀|\x41\101\q\\' }}
{{ {1:'a', true:'b', 1.0:'c'} }} {{ {true:'a', 1:'b'} }} {{ {1.0:'a'}[1] }} {{ {(1,2):'x'}[(1,2)] }} {{ {(1,'a'):1, (1.0,'a'):2} }} {{ 1 in {true: 1} }} {{ {none:1}[none] }} {{ dict([(1,2),(true,3)]) }} {{ {2**70: 1}[2.0**70] }}
{{ {[1]:2} }}
{{ {(1,[2]):2} }}
{% call dict() %}x{% endcall %}
{% macro (f)() %}x{% endmacro %}{{ f() }}
{% macro true() %}x{% endmacro %}
{{ '%F' % 1e400 }} {{ '%f' % 1e400 }} {{ '%E' % -1e400 }}
{{ 'abc'.find('', 80, 12) }} {{ 'abc'.find('', 4) }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('', 2, 1) }} {{ 'abc'.rfind('', 4) }} {{ 'abc'.rfind('', 1) }} {{ 'abc'.count('', 4) }} {{ 'abc'.count('', 3) }} {{ 'abc'.count('', 2, 1) }} {{ 'abc'.startswith('', 4) }} {{ 'abc'.startswith('', 3) }} {{ 'abc'.endswith('', 2, 1) }}
{{ '{:n} {:n} {:#x} {:#010b} {:+#o}'.format(1.5, 3, 255, 5, 8) }} {{ '%#x %#o' % (255, 8) }} {{ '{:5}'.format(true) }}
{{ '{:.3}'.format(3) }}
{{ 'a\nb'|indent(-1) }}
{% for x in [1] %}{{ x }}{% break %}{% else %}E{% endfor %}{% for x in [1] %}{% continue %}{% else %}E{% endfor %}{% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif %}{% else %}E{% endfor %}{% for x in [1] %}{{ loop.index }}{% break %}{% else %}E{% endfor %}
{{ '٣' | int }} {{ '٣.٥' | float }} {{ 'x' | int(missing) }}|{{ 'x' | int(base=16) }} {{ 'abc' | truncate(3, leeway=0.5) }} {% set g = [1] | map('nope') %}ok
""".strip("\n").split("\n")

BLOCKS = [
    "{{ 'line\\\njoined' }}",
    "{% for x in list %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in list %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.depth }} {% endfor %}",
    "{% for x in list %}{{ loop.previtem }}<{{ x }}<{{ loop.nextitem }} {{ loop.cycle('a', 'b') }} {{ loop.changed(x > 1) }} {% endfor %}",
    "{% for x in list %}{{ loop }}{% endfor %}",
    "{% for x in [] %}x{% else %}none{% endfor %} {% for x in missing %}x{% else %}none{% endfor %}",
    "{% for x in none %}x{% endfor %}",
    "{% for x in 5 %}x{% endfor %}",
    "{% for c in 'aé😀' %}[{{ c }}]{% endfor %} {% for k in table %}{{ k }};{% endfor %} {% for k, v in table.a.items() %}{{ k }}={{ v }}{% endfor %}",
    "{% for a, b in nested %}{{ a }}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %} {% for a, b in ['xy'] %}{{ a }}{{ b }}{% endfor %}",
    "{% for x in list if x > 1 %}{{ loop.index }}:{{ x }} {% endfor %}{% for x in list if x > 9 %}{% else %}nothing{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for x in list if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ x }}{% endfor %}",
    "{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in range(3) %}{% for y in range(3) %}{% if y > x %}{% break %}{% endif %}{{ y }}{% endfor %};{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 10 %}{{ x }} {% endfor %}{{ x }}",
    "{% for i in [1, 2] %}{% if i == 1 %}{% set y = 'set' %}{% endif %}{{ y }}|{% endfor %}{{ y }}",
    "{% if true %}{% set z = 1 %}{% endif %}{{ z }} {% set a, b = 1, 2 %}{{ a }}{{ b }} {% set t = 1, %}{{ t }}",
    "{% set a, b = [1] %}",
    "{% for i in list %}{% set text = text ~ i %}{{ text }} {% endfor %}{{ text }}",
    "{% set s %}a{{ 1 }}b{% endset %}[{{ s }}] {% set s | upper %}abc{% endset %}{{ s }} {% set q %}{% set inner = 1 %}{{ inner }}{% endset %}{{ q }}{{ inner }}",
    "{% filter upper %}abc{{ text }}{% endfilter %} {% filter replace('a', 'b') | trim %} aa {% endfilter %}|",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{{ c }}{% endwith %}{{ a }}{{ c }} {% with %}{% set d = 1 %}{{ d }}{% endwith %}",
    "{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c='y') }}{{ m(a=0) }}{{ m() }}{{ m(missing, none) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=1) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }} {{ m.name }} {{ m.arguments }} {{ m.catch_kwargs }} {{ m }}",
    "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(5) }} {{ m(1)|length }} {{ m(2) + 'x' }}",
    "{% macro outer() %}{% macro inner() %}in{{ x }}{% endmacro %}{% set x = 7 %}{{ inner() }}{% endmacro %}{{ outer() }}",
    "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}",
    "{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * fact(n - 1)|int }}{% endif %}{% endmacro %}{{ fact(5) }}",
    "{% macro box(t) %}[{{ t }}:{{ caller() }}]{% endmacro %}{% call box('a') %}body{{ text }}{% endcall %}",
    "{% macro each(l) %}{% for x in l %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(v, i) each(list) %}{{ i }}={{ v }} {% endcall %}",
    "{% macro plain() %}x{% endmacro %}{% call plain() %}y{% endcall %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(5, **{'b': 6}) }}",
    "{% macro tree(n) %}({{ n.v }}{% for c in n.kids %}{{ tree(c) }}{% endfor %}){% endmacro %}{{ tree({'v': 1, 'kids': [{'v': 2}, {'v': 3, 'kids': [{'v': 4}]}]}) }}",
    "{% for item in [{'v': 1, 'k': [{'v': 2, 'k': []}]}, {'v': 3, 'k': []}] recursive %}{{ loop.depth }}{{ item.v }}{{ loop(item.k) }}{% endfor %}",
    "{% print 1 %}{% print 'a', 2 %}",
    "{% macro m() %}{{ number }}{% endmacro %}{{ m() }}{% set number = 1 %}{{ m() }}",
    "{% for x in list %}{{ number }}{% endfor %}{% set number = 1 %}{{ number }}",
    "{{ number }}{% for x in list %}{{ number }}{% endfor %}{% set number = 1 %}{% for x in list %}{{ number }}{% endfor %}",
    "{% macro m() %}{{ number }}{% endmacro %}{% if false %}{% set number = 1 %}{% endif %}{{ m() }}{% set number = number + 1 %}{{ m() }}",
    "{% filter wordcount %}a b{% endfilter %}",
    "{% filter list %}a b{% endfilter %}",
    "{{ text is string(1) }}",
    "{{ text is eq }}",
    "{{ self.message }}|{{ self['message'] }}|{{ self is defined }}|{% if self %}yes{% endif %}",
    "{{ self.message.more }}",
    "{{ table is filter }}",
    "{{ 'lower' is filter }} {{ 'nosuch' is filter }} {{ 'odd' is test }} {{ 1 is test }}",
    "{{ table[] }}|{{ text[] }}|{{ table[] is defined }}",
    "{{ list|select('in')|list }}",
    "{{ text|replace('a') }}",
    "{{ list|batch|list }}",
    "{{ number|indent }}",
    "{{ number|truncate }}",
    "{{ list|truncate }} {{ missing|truncate }}|{{ missing|last }}|",
    "{{ list|truncate(2, leeway=0) }}",
    "{{ people|unique|list }}",
    "{{ table.get() }}",
    "{{ list.copy(1) }}",
    "{{ text.strip(chars='x') }}",
    "{{ 'a,b,c'.split(sep=',', maxsplit=1) }}",
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}  \n  b\n  {%- endif -%}  \n c\n\n",
    "a\n  {{ 1 }}\n  {{- 2 -}}  \n b",
    "  {# comment #}\nx\n {#- c -#} \n y {# z #}\n",
    "\t{%+ if true %}x{% endif +%}\ny{%- if true +%}\nz{% endif %}",
    "{% raw %}{{ x }} {% y %}{% endraw %}\n{% raw -%}\n  a  \n{%- endraw %}|\n  {% raw %}\nb\n  {% endraw %}\nc",
    "a\r\nb\rc\n{% if true %}\r\nd\r\n{% endif %}\r\n",
    "{{ 'a\nb' }}\n\n",
    "x {%- set a = 1 %} y {%- if a -%} z {%- endif %}\n\n\n{% set b = 1 %}\n\n w",
    "\x1c {%- if true %}x{% endif -%} \u00a0\x85y\ufeff {{- 1 }}",
    "{{ '}}' }} {{ '%}' }} {% set x = '{{ }}' %}{{ x }} {{ {'a': {'b': 1}}['a']['b'] }} {{ {'a': {}}}}",
    "<p>{ x } {{ '{' }} # {% if '#}' %}ok{% endif %}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<end>{% endgeneration %}{% else %}{{ m.content }}\n{% endif %}{% endfor %}tail",
    "{% for m in messages %}\n  {%- generation %}\n  {{ m.content }}\n  {%- endgeneration %}\n{% endfor %}",
    "{% generation %}{% set inside = 1 %}{{ emoji }}{% endgeneration %}{{ inside }}{% generation %}{% endgeneration %}",
    "{%- for m in messages[1:] -%}{{ m['role'] | upper }}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}!{% endif %}{%- endfor -%}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ loop_messages|length }}{{ sys }}",
    "{% set content = messages[0].content %}{% if content is string %}{{ content }}{% else %}{% for part in content %}{{ part.text }}{% endfor %}{% endif %}",
    "{{ messages|map(attribute='content')|join('|') }} {{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|first }} {{ (messages|last).content }} {{ messages[-1]['content'] }}",
    "{% set ns = namespace(found=false) %}{% for m in messages[::-1] %}{% if not ns.found and m.role == 'user' %}{% set ns.found = true %}{{ messages|length - 1 - loop.index0 }}{% endif %}{% endfor %}",
]

EXAMPLE = """{%- set _mode = mode | default('generate', true) -%}
{%- set ns = namespace(answers=0) -%}
{%- if _mode == 'generate' -%}
{{ bos_token }}
{%- endif -%}
{%- for message in messages -%}
{%- if (message['role'] | upper == 'USER') and loop.index0 > 0 and messages[loop.index0 - 1]['role'] == 'user' -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
{%- if message['role'] == 'assistant' and _mode == 'train' -%}
{%- set ns.answers = ns.answers + 1 -%}
{{ unk_token + message['content'] + '<|eot_id|>' + unk_token }}
{%- else -%}
{{ message['content'] + '<|eot_id|>' }}
{%- endif -%}
{%- endfor -%}
{%- if _mode == 'generate' and messages[-1]['role'] != 'assistant' -%}
{{ '<|start_header_id|>assistant<|end_header_id|>' }}
{%- endif -%}
"""

CONVERSATIONS = [
    [("user", "What is 1+1?"), ("assistant", "2")],
    [("system", "Be brief."), ("user", "Hi"), ("assistant", " Hello! \n"), ("user", "“Quotes” & <b>é😀</b>"), ("assistant", "{{ done }}")],
    [("user", ""), ("assistant", "empty question")],
    [("user", "open question")],
    [("user", "a"), ("user", "b"), ("assistant", "c")],
    [("system", "only"), ("user", "x\r\ny"), ("assistant", "\x1c\x85 z")],
]


def main():
    semantics = [{"template": source, **render(source, CONTEXT)} for source in EXPRESSIONS + UNDEFINED_ARGUMENTS + PAGES + BLOCKS]
    write("semantics.json", {"context": CONTEXT, "cases": semantics})

    templates = {path.stem: path.read_text() for path in sorted(BUILTINS.glob("*.jinja"))}
    templates["marked"] = EXAMPLE
    cases = []
    for name, source in templates.items():
        for turns in CONVERSATIONS:
            for prompt in (False, True):
                for mode in ("train", None) if name == "marked" else (None,):
                    context = {
                        "messages": [{"role": role, "content": content} for role, content in turns],
                        "add_generation_prompt": prompt,
                        "bos_token": "<s>",
                        "eos_token": "</s>",
                        "unk_token": "<unk>",
                        **({"mode": mode} if mode else {}),
                    }
                    cases.append({"name": name, "context": context, **render(source, context)})
    write("conversations.json", {"marked": EXAMPLE, "cases": cases})


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


main()
