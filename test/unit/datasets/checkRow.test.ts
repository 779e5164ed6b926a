import { describe, expect, test } from 'vitest';
import { checkConversation } from '../../../datasets/checkRow.js';
import { conversation } from './files.js';

const user = { role: 'user', content: 'Hi' };
const assistant = { role: 'assistant', content: 'Hello' };
const system = { role: 'system', content: 'Be kind' };
const call = { id: 'c1', type: 'function', function: { name: 'add', arguments: '{"a":1}' } };
const calls = { role: 'assistant', content: null, tool_calls: [call] };
const tool = { role: 'tool', content: '2', tool_call_id: 'c1', name: 'add' };

describe('accepted', () => {
  test.each<[string, unknown[], object?]>([
    ['one turn', [user, assistant]],
    ['system first', [system, user, assistant, user, assistant]],
    ['2,048 messages', Array.from({ length: 1024 }, () => [user, assistant]).flat()],
    [
      'text parts',
      [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'a' },
            { type: 'text', text: 'b' },
          ],
        },
        assistant,
      ],
    ],
    ['weights', [user, { ...assistant, weight: 0 }, user, { ...assistant, weight: 1 }]],
    ['tool calls', [user, calls, tool, tool, assistant], { tools: [{ type: 'function', function: { name: 'add' } }] }],
    ['ends with a tool call', [user, { ...calls, tool_calls: [{ function: { name: 'add', arguments: { a: 1 } } }] }]],
    ['an untrained reply may be empty when it calls a tool', [user, { ...calls, content: '' }, tool, assistant]],
    [
      'null means absent',
      [
        { ...user, name: null, tool_calls: null, tool_call_id: null, weight: null },
        { ...assistant, weight: null },
      ],
      { tools: null },
    ],
  ])('%s', (_name, messages, extra = {}) => {
    expect(checkConversation({ messages, ...extra })).toEqual([]);
  });
});

describe('refused, with the field and what to do', () => {
  test.each<[string, unknown, string, string, string]>([
    ['no list', 'Hi', 'E_MESSAGES', 'messages', '"role"'],
    ['null', null, 'E_MESSAGES', 'messages', '"role"'],
    ['empty list', [], 'E_MESSAGES', 'messages', '"role"'],
    ['too many', Array.from({ length: 2050 }, (_, index) => (index % 2 ? assistant : user)), 'E_MESSAGES', 'messages', 'split'],
    ['a message that is text', ['Hi', assistant], 'E_MESSAGES', 'messages[0]', '"role"'],
    ['a message that is a list', [user, [assistant]], 'E_MESSAGES', 'messages[1]', '"role"'],
    ['human', [{ ...user, role: 'human' }, assistant], 'E_ROLE', 'messages[0].role', 'write "user"'],
    ['wrong case', [user, { ...assistant, role: 'Assistant' }], 'E_ROLE', 'messages[1].role', 'write "assistant"'],
    ['unknown role', [user, { ...assistant, role: 'narrator' }], 'E_ROLE', 'messages[1].role', 'use one of'],
    ['a role like an object internal', [user, { ...assistant, role: 'constructor' }], 'E_ROLE', 'messages[1].role', 'use one of'],
    ['no role', [{ content: 'Hi' }, assistant], 'E_ROLE', 'messages[0].role', 'add "role"'],
    ['from and value', [{ from: 'human', value: 'Hi' }, assistant], 'E_ROLE', 'messages[0].role', 'rename from'],
    ['second system', [system, user, assistant, system, user, assistant], 'E_SYSTEM_POSITION', 'messages[3].role', 'first message'],
    ['system second', [user, system, assistant], 'E_SYSTEM_POSITION', 'messages[1].role', 'first message'],
    ['user twice', [user, user, assistant], 'E_ALTERNATION', 'messages[1].role', 'join'],
    ['assistant first', [assistant, user, assistant], 'E_ALTERNATION', 'messages[0].role', 'user message before'],
    ['assistant twice', [user, assistant, assistant], 'E_ALTERNATION', 'messages[2].role', 'join'],
    ['tool without a call', [user, tool, assistant], 'E_ALTERNATION', 'messages[1].role', 'tool_calls'],
    ['call without its tool message', [user, calls, user, assistant], 'E_ALTERNATION', 'messages[2].role', 'add the reply'],
    ['ends with user', [user, assistant, user], 'E_NO_FINAL_ASSISTANT', 'messages[2].role', 'add the reply'],
    ['ends with tool', [user, calls, tool], 'E_NO_FINAL_ASSISTANT', 'messages[2].role', 'add the reply'],
    ['system alone', [system], 'E_NO_FINAL_ASSISTANT', 'messages[0].role', 'add the reply'],
    ['content null', [user, { role: 'assistant', content: null }], 'E_CONTENT_TYPE', 'messages[1].content', 'write the text'],
    ['content missing', [{ role: 'user' }, assistant], 'E_CONTENT_TYPE', 'messages[0].content', 'write the text'],
    ['content a number', [{ role: 'user', content: 5 }, assistant], 'E_CONTENT_TYPE', 'messages[0].content', 'double quotes'],
    ['content an object', [{ role: 'user', content: { text: 'Hi' } }, assistant], 'E_CONTENT_TYPE', 'messages[0].content', 'double quotes'],
    [
      'an image part',
      [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }, assistant],
      'E_CONTENT_TYPE',
      'messages[0].content[0]',
      'text parts',
    ],
    ['empty reply', [user, { role: 'assistant', content: '' }], 'E_EMPTY_REPLY', 'messages[1].content', 'write the reply'],
    [
      'empty reply in parts',
      [user, { role: 'assistant', content: [{ type: 'text', text: '' }] }],
      'E_EMPTY_REPLY',
      'messages[1].content',
      'write the reply',
    ],
    ['unknown key', [user, { ...assistant, reasoning: 'x' }], 'E_UNKNOWN_KEY', 'messages[1].reasoning', 'remove the key'],
    ['old function call', [user, { ...assistant, function_call: {} }], 'E_UNKNOWN_KEY', 'messages[1].function_call', 'tool_calls'],
    [
      '__proto__ as a key',
      [user, JSON.parse('{"role":"assistant","content":"x","__proto__":{}}')],
      'E_UNKNOWN_KEY',
      'messages[1].__proto__',
      'remove the key',
    ],
    ['name on a user', [{ ...user, name: 'Ann' }, assistant], 'E_UNKNOWN_KEY', 'messages[0].name', 'remove name'],
    ['weight 0.5', [user, { ...assistant, weight: 0.5 }], 'E_WEIGHT', 'messages[1].weight', '0 to leave it out'],
    ['weight true', [user, { ...assistant, weight: true }], 'E_WEIGHT', 'messages[1].weight', '0 to leave it out'],
    ['weight on a user', [{ ...user, weight: 1 }, assistant], 'E_WEIGHT', 'messages[0].weight', 'remove the weight'],
    ['all weights 0', [user, { ...assistant, weight: 0 }], 'E_NO_TRAINABLE_TOKENS', 'messages', 'weight of a reply to 1'],
    [
      'a call without a name',
      [user, { ...calls, tool_calls: [{ function: {} }] }],
      'E_TOOLS',
      'messages[1].tool_calls[0].function',
      '"function"',
    ],
    ['a call on a user', [{ ...user, tool_calls: [call] }, assistant], 'E_TOOLS', 'messages[0].tool_calls', 'assistant message'],
  ])('%s', (_name, messages, code, field, advice) => {
    const [first] = checkConversation({ messages });
    expect(first).toMatchObject({ code, field });
    expect(first?.fix).toContain(advice);
  });

  test('tools that are no list of objects', () => {
    expect(checkConversation({ messages: [user, assistant], tools: 'add' })[0]).toMatchObject({ code: 'E_TOOLS', field: 'tools' });
  });
});

test('every broken message of a row is named, up to a bound', () => {
  const row = conversation('a', 'b', 'c', 'd');
  const roles = row.messages.map((message) => ({ ...message, role: 'bot' }));
  expect(checkConversation({ messages: roles }).map(({ field }) => field)).toEqual([
    'messages[0].role',
    'messages[1].role',
    'messages[2].role',
    'messages[3].role',
  ]);
  expect(checkConversation({ messages: Array(2000).fill(5) }).length).toBeLessThan(10);
});

test('empty text that is not trained on is only a warning', () => {
  const codes = (messages: unknown[]) => checkConversation({ messages }).map(({ code }) => code);
  expect(codes([{ role: 'system', content: '' }, { role: 'user', content: ' ' }, assistant])).toEqual([
    'W_EMPTY_CONTENT',
    'W_EMPTY_CONTENT',
  ]);
  expect(codes([user, { role: 'assistant', content: '', weight: 0 }, user, assistant])).toEqual(['W_EMPTY_CONTENT']);
  expect(codes([user, { role: 'assistant', content: '\n' }])).toEqual(['W_EMPTY_CONTENT']);
});
