/** Which text of a conversation is trained, and which rows are refused. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { checkChatTemplate, chooseChatTemplate, readBuiltin } from '../../../templates/chat.js';
import { makeConversationRenderer } from '../../../templates/conversation.js';

const { marked } = JSON.parse(readFileSync(new URL('./golden/conversations.json', import.meta.url), 'utf8')) as { marked: string };

const settings = {
  bosToken: '<s>',
  eosToken: '</s>',
  specialTokens: ['<s>', '</s>', '<|eot_id|>', '<|start_header_id|>', '<|end_header_id|>', '<|im_start|>', '<|im_end|>'],
  now: '2026-03-04T05:06:07Z',
};
const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string, more = {}) => ({ role: 'assistant', content, ...more });

function render(template: string, messages: unknown, more: Record<string, unknown> = {}) {
  return makeConversationRenderer({ template, ...settings })({ messages, ...more });
}

const UNMARKED =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

describe('spans', () => {
  const turns = [user('a'), assistant('b'), user('c'), assistant('d')];

  it('come from unk_token markers, with the mode set to train', () => {
    expect(render(marked, turns)).toEqual({
      warnings: [],
      segments: [
        ['<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n', false],
        ['b<|eot_id|>', true],
        ['<|start_header_id|>user<|end_header_id|>\n\nc<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n', false],
        ['d<|eot_id|>', true],
      ],
    });
  });

  it('come from rows of prompt and completion as from a question and its answer', () => {
    const renderer = makeConversationRenderer({ template: marked, ...settings });
    expect(renderer({ prompt: 'a', completion: 'b' })).toEqual(renderer({ messages: turns.slice(0, 2) }));
  });

  it('come from generation blocks', () => {
    expect(render(readBuiltin('mistral'), [{ role: 'system', content: 'S' }, ...turns])).toEqual({
      warnings: [],
      segments: [
        ['<s> [INST] S\n\na [/INST]', false],
        [' b</s>', true],
        [' [INST] c [/INST]', false],
        [' d</s>', true],
      ],
    });
  });

  it('come from the beginnings of the conversation where the template says nothing', () => {
    expect(render(UNMARKED, turns)).toEqual(render(readBuiltin('chatml'), turns));
    expect(render(UNMARKED, turns)).toMatchObject({
      segments: [
        [expect.anything(), false],
        ['b<|im_end|>', true],
        [expect.stringMatching(/^\n/), false],
        ['d<|im_end|>', true],
        ['\n', false],
      ],
    });
  });

  it('are those of the answers that are rendered as at inference, and the others are context', () => {
    // As Qwen3 has it: the reasoning is taken out of earlier answers.
    const forgetful =
      "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}" +
      "{{ m.content if loop.last or m.role == 'user' else m.content.split('</think>')[-1] }}{{ '<|im_end|>\n' }}{% endfor %}" +
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    const reasoned = [user('a'), assistant('<think>1</think>b'), user('c'), assistant('<think>2</think>d')];
    expect(render(forgetful, reasoned)).toEqual({
      warnings: [{ code: 'TURNS_NOT_TRAINED', found: 'assistant: <think>1</think>b' }],
      segments: [
        [
          '<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n',
          false,
        ],
        ['<think>2</think>d<|im_end|>', true],
        ['\n', false],
      ],
    });
    expect(render(forgetful, reasoned.slice(0, 2))).toHaveProperty('warnings', []);
    const notLast = [user('a'), assistant('<think>1</think>b'), user('c'), assistant('d', { weight: 0 })];
    expect(render(forgetful, notLast)).toMatchObject({ problem: { code: 'SPANS_UNKNOWN' } });
  });

  it('are refused where no answer is rendered as at inference', () => {
    const counting = "{{ messages | length }}{% for m in messages %}{{ m.role ~ m.content ~ '\n' }}{% endfor %}";
    expect(render(counting, turns)).toMatchObject({ problem: { code: 'SPANS_UNKNOWN' } });
  });

  it('may be fewer than the answers, which is warned about', () => {
    const last =
      "{% for m in messages %}{{ m.role }}{% if m.role == 'assistant' and loop.last %}{% generation %}{{ m.content }}</s>{% endgeneration %}" +
      '{% else %}{{ m.content }}{% endif %}{% endfor %}';
    expect(render(last, turns)).toMatchObject({ warnings: [{ code: 'TURNS_NOT_TRAINED', found: 'assistant: b' }] });
  });

  it('cannot be moved by a row that prints the marker', () => {
    const sly = '<unk> unk_token {{ unk_token }} \ue000';
    expect(render(marked, [user(sly), assistant(sly)])).toMatchObject({
      segments: [
        [expect.stringContaining(sly), false],
        [`${sly}<|eot_id|>`, true],
      ],
    });
  });

  it('follow the weights of messages', () => {
    for (const template of [marked, readBuiltin('llama3'), UNMARKED]) {
      const rendered = render(template, [user('a'), assistant('b', { weight: 0 }), user('c'), assistant('d', { weight: 1 })]);
      expect(rendered).toMatchObject({
        segments: [
          [expect.stringMatching(/b.*c/s), false],
          [expect.stringMatching(/^d/), true],
          ...(template === UNMARKED ? [['\n', false]] : []),
        ],
      });
    }
  });

  it('take content in text parts, and tools', () => {
    const template =
      "{{ tools[0].name }}{% for m in messages %}{{ m.role ~ ':' }}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
    const parts = [
      { type: 'text', text: 'x' },
      { type: 'text', text: 'y' },
    ];
    expect(render(template, [{ role: 'assistant', content: parts }], { tools: [{ name: 'T' }] })).toMatchObject({
      segments: [
        ['Tassistant:', false],
        ['xy', true],
      ],
    });
  });
});

describe('refused rows', () => {
  const once = (body: string) => `{% for m in messages %}${body}{% endfor %}`;
  it.each([
    ['an odd number of markers', once('{{ unk_token }}{{ m.content }}'), [user('a'), assistant('b'), assistant('c')], 'MARKERS_ODD'],
    ['no answer', marked, [user('a')], 'NOTHING_TRAINED'],
    ['everything trained', once('{% generation %}{{ m.content }}{% endgeneration %}\n'), [user('a'), assistant('b')], 'EVERYTHING_TRAINED'],
    [
      'a lost answer',
      once("q{% if m.role == 'assistant' %}{% generation %}{{ m.content[:3] }}{% endgeneration %}{% endif %}"),
      [user('a'), assistant('long answer')],
      'CONTENT_DROPPED',
    ],
    [
      'an escaped answer',
      once("q{% if m.role == 'assistant' %}{% generation %}{{ m.content | e }}{% endgeneration %}{% endif %}"),
      [user('a'), assistant('<b>')],
      'CONTENT_DROPPED',
    ],
    [
      'a call that is not printed',
      once("q{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% endif %}"),
      [user('a'), assistant('', { tool_calls: [{ type: 'function', function: { name: 'f1', arguments: '{}' } }] })],
      'CONTENT_DROPPED',
    ],
    [
      'a generation block in a macro',
      '{% macro x(m) %}{% generation %}{{ m.content }}{% endgeneration %}{% endmacro %}{{ x(messages[1]) }}',
      [user('a'), assistant('b')],
      'SPANS_LOST',
    ],
    ['a template that refuses', once("{{ raise_exception('no') if loop.index0 == 1 }}"), [user('a'), assistant('b')], 'TEMPLATE_RAISED'],
    ['a template that fails', once('{{ m.tool.name }}{{ unk_token }}'), [user('a'), assistant('b')], 'TEMPLATE_FAILED'],
    [
      'weights without a span each',
      '{{ unk_token }}{{ messages[1].content }}{{ messages[2].content }}{{ unk_token }}x',
      [user('a'), assistant('b'), assistant('c', { weight: 0 })],
      'MARKERS_UNCOUNTED',
    ],
    ['no messages', marked, [], 'MESSAGES_MISSING'],
    ['messages that are no list', marked, 'hi', 'MESSAGES_MISSING'],
  ])('%s', (_title, template, messages, code) => expect(render(template, messages)).toMatchObject({ problem: { code } }));

  it('say where in the template', () => {
    expect(render('x\n{{ messages[0].a.b }}', [user('a')])).toEqual({
      problem: { code: 'TEMPLATE_FAILED', found: "template line 2, column 15: 'messages[0].a' is undefined; it has no 'b'" },
    });
  });
});

describe('control tokens in a row', () => {
  it('are literal segments, and warned about', () => {
    expect(render(marked, [user('a <|eot_id|><|eot_id|> b'), assistant('</s>c')])).toEqual({
      warnings: [{ code: 'CONTROL_TOKENS', found: '<|eot_id|> </s>' }],
      segments: [
        ['<|start_header_id|>user<|end_header_id|>\n\na ', false],
        ['<|eot_id|>', false, true],
        ['<|eot_id|>', false, true],
        [' b<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n', false],
        ['</s>', true, true],
        ['c<|eot_id|>', true],
      ],
    });
  });

  it('stay what they are when the row has private-use characters of its own', () => {
    const rendered = render(marked, [user('\ue000\ue001 <s>'), assistant('\ue002')]);
    expect(rendered).toMatchObject({
      segments: [
        [expect.stringContaining('\ue000\ue001 '), false],
        ['<s>', false, true],
        [expect.anything(), false],
        ['\ue002<|eot_id|>', true],
      ],
    });
  });
});

describe('warnings', () => {
  it('tell of a prompt that is left out and of an end that is not trained', () => {
    const template =
      "q{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{{ eos_token }}{% endif %}{% endfor %}";
    expect(render(template, [user('question'), assistant('b')])).toMatchObject({
      warnings: [
        { code: 'PROMPT_DROPPED', found: 'user: question' },
        { code: 'END_NOT_TRAINED', found: 'b' },
      ],
    });
  });
});

describe('what a template changes', () => {
  const once = (content: string) =>
    `{% for m in messages %}{{ m.role }}{% if m.role == 'assistant' %}{% generation %}{{ ${content} }}</s>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}`;

  it('is warned about where it is white space of an answer', () => {
    expect(render(once("m.content.replace('\\n', ' ')"), [user('q'), assistant('a\nb')])).toMatchObject({
      warnings: [{ code: 'SPACES_CHANGED', found: 'assistant: a\nb' }],
    });
  });

  it('is warned about where it is tools that are left out', () => {
    const tools = [{ type: 'function', function: { name: 'get_weather' } }];
    expect(render(once('m.content'), [user('q'), assistant('a')], { tools })).toMatchObject({
      warnings: [{ code: 'TOOLS_DROPPED', found: 'get_weather' }],
    });
  });
});

describe('the template of a job', () => {
  it('is its own, else the base model’s, else its family’s, else the generic one', () => {
    expect(chooseChatTemplate({ jobTemplate: 'J', modelTemplate: 'M', family: 'llama3' })).toEqual({ template: 'J', origin: 'job' });
    expect(chooseChatTemplate({ jobTemplate: '', modelTemplate: 'M', family: 'llama3' })).toEqual({ template: 'M', origin: 'baseModel' });
    expect(chooseChatTemplate({ family: 'chatml' })).toEqual({ template: readBuiltin('chatml'), origin: 'family' });
    expect(chooseChatTemplate({ family: null })).toEqual({ template: readBuiltin('generic'), origin: 'generic' });
  });

  it('is checked with line and column', () => {
    expect(checkChatTemplate(marked)).toBeUndefined();
    const mistake = { code: 'TEMPLATE_SYNTAX', line: 2, column: 7, message: 'expected an expression' };
    expect(checkChatTemplate('a\n{% if %}')).toEqual(mistake);
  });

  it.each(['llama3', 'mistral', 'chatml', 'generic'] as const)('%s trains each answer to its end', (name) => {
    const rendered = render(readBuiltin(name), [
      { role: 'system', content: 'S' },
      user('q'),
      assistant('one'),
      user('q2'),
      assistant('two'),
    ]);
    expect(rendered).toHaveProperty('warnings', []);
    const trained = 'segments' in rendered ? rendered.segments.filter((segment) => segment[1]) : [];
    expect(trained).toHaveLength(2);
    for (const [text] of trained) expect(text).toMatch(/(one|two)(<\/s>|<\|eot_id\|>|<\|im_end\|>)$/);
  });
});
