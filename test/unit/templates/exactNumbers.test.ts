/** Numbers in tools and their calls print as Python prints them. What is expected is what json.loads and json.dumps give. */
import { expect, it } from 'vitest';
import { makeConversationRenderer } from '../../../templates/conversation.js';
import { parseExactly, withExactNumbers } from '../../../templates/exactNumbers.js';
import { compileTemplate } from '../../../templates/jinja/template.js';

const numbers = String.raw`[1, 1.0, -1.0, 1e20, 1E5, 1.50, 0.1e-6, 12345678901234567890, 9007199254740993, -0, -0.0, 0, 1e16, "1.0 \" -0 1e5", {"1.0": 2.0}]`;

it('are read as Python reads them', () => {
  const { render } = compileTemplate('{{ x | tojson }}\n{{ x }}');
  expect(render({ x: parseExactly(numbers) }, new Date(0)).text).toBe(
    String.raw`[1, 1.0, -1.0, 1e+20, 100000.0, 1.5, 1e-07, 12345678901234567890, 9007199254740993, 0, -0.0, 0, 1e+16, "1.0 \" -0 1e5", {"1.0": 2.0}]` +
      '\n' +
      String.raw`[1, 1.0, -1.0, 1e+20, 100000.0, 1.5, 1e-07, 12345678901234567890, 9007199254740993, 0, -0.0, 0, 1e+16, '1.0 " -0 1e5', {'1.0': 2.0}]`,
  );
});

it('are kept through a whole conversation', () => {
  const text =
    '{"tools": [{"name": "f", "limit": 1.0}], "messages": [{"role": "user", "content": "<s> 1.0"}, {"role": "assistant", "weight": 1.0, ' +
    '"tool_calls": [{"function": {"name": "f", "arguments": {"x": 1e20, "y": 12345678901234567890}}}]}]}';
  const template =
    '{{ tools | tojson }}{% for m in messages %}{% if m.tool_calls %}{% generation %}{{ m.tool_calls[0].function | tojson }}</s>{% endgeneration %}' +
    '{% else %}{{ m.content }}{% endif %}{% endfor %}';
  const render = makeConversationRenderer({
    template,
    bosToken: '<s>',
    eosToken: '</s>',
    specialTokens: ['<s>'],
    now: '2026-01-01T00:00:00Z',
  });
  expect(render(withExactNumbers(JSON.parse(text) as Record<string, unknown>, text))).toMatchObject({
    segments: [
      ['[{"name": "f", "limit": 1.0}]', false],
      ['<s>', false, true],
      [' 1.0', false],
      ['{"name": "f", "arguments": {"x": 1e+20, "y": 12345678901234567890}}</s>', true],
    ],
  });
});

it('cost nothing where there are none', () => {
  const rows = ['{"messages": [{"role": "user", "content": "1.0"}], "x": 1.0}', '{"tools": [{"a": 10}], "messages": []}'];
  for (const text of rows) {
    const row = JSON.parse(text) as Record<string, unknown>;
    expect(withExactNumbers(row, text)).toBe(row);
  }
});
