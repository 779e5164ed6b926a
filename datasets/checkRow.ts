/**
 * What a conversation row must be. Its shape is a JSON Schema; who may speak when, and what only some roles may carry, is
 * code. Accepted beside plain text messages: content as a list of text parts, `weight` 0 or 1 on assistant messages, `tools`
 * with `tool_calls` and tool messages. Any other key of a message is refused: ignoring it would change what is trained.
 */
import { Ajv, type ErrorObject } from 'ajv';
import type { JsonRow } from './checkJson.js';
import { excerpt, excerptValue, MESSAGES_EXAMPLE, type Finding } from './problems.js';
import { conversationSchema, MAX_MESSAGES, messageSchema, ROLES, type ConversationRow, type Message } from './rowSchemas.js';

// Data is judged as it is, never repaired. One error at a time: a hostile row could have millions.
const ajv = new Ajv({ coerceTypes: false, removeAdditional: false, useDefaults: false, allowUnionTypes: true });
const isConversationRow = ajv.compile<ConversationRow>(conversationSchema);
const isMessage = ajv.compile<Message>(messageSchema);

/** Problems reported of one row, at most. */
const MAX_FINDINGS = 8;

/** All problems of a row that has `messages`, warnings included; none for a good row. */
export function checkConversation(row: JsonRow): Finding[] {
  const findings: Finding[] = [];
  if (!isConversationRow(row)) {
    explainShape(row, findings);
    return findings;
  }
  for (let index = 0; index < row.messages.length && findings.length < MAX_FINDINGS; index++) {
    checkMessage(row.messages[index] as Message, index, findings);
  }
  checkOrder(row.messages, findings);
  return findings;
}

/** Characters of a message's text. */
export function contentLength(content: Message['content']): number {
  if (typeof content === 'string') return content.length;
  return content?.reduce((sum, part) => sum + part.text.length, 0) ?? 0;
}

/** What a schema cannot say of one message. */
function checkMessage(message: Message, index: number, findings: Finding[]): void {
  const { role, content } = message;
  const isAssistant = role === 'assistant';
  const hasCalls = message.tool_calls != null && message.tool_calls.length > 0;
  const field = `messages[${index}]`;
  if (content == null && !(isAssistant && hasCalls)) {
    findings.push({
      code: 'E_CONTENT_TYPE',
      field: `${field}.content`,
      found: excerptValue(content),
      expected: 'text',
      fix: 'write the text, or remove the message',
    });
  } else if (role !== 'tool' && !hasCalls && isBlank(content)) {
    const isTrainedNothing = isAssistant && message.weight !== 0 && contentLength(content) === 0;
    const fix = isAssistant ? 'write the reply, or remove the row' : 'write the text, or remove the message';
    findings.push({
      code: isTrainedNothing ? 'E_EMPTY_REPLY' : 'W_EMPTY_CONTENT',
      field: `${field}.content`,
      found: 'empty text',
      expected: 'text',
      fix,
    });
  }
  if (isAssistant && message.name == null && message.tool_call_id == null) return;
  if (message.weight != null && !isAssistant) {
    const found = `a weight on a ${role} message`;
    findings.push({
      code: 'E_WEIGHT',
      field: `${field}.weight`,
      found,
      expected: 'weights on assistant messages only',
      fix: 'remove the weight: only replies are trained',
    });
  }
  if (message.tool_calls != null && !isAssistant) {
    const found = `tool_calls on a ${role} message`;
    findings.push({
      code: 'E_TOOLS',
      field: `${field}.tool_calls`,
      found,
      expected: 'tool_calls on assistant messages only',
      fix: 'move them to the assistant message',
    });
  }
  for (const key of ['name', 'tool_call_id'] as const) {
    if (message[key] == null || role === 'tool') continue;
    const found = `${key} on a ${role} message`;
    findings.push({
      code: 'E_UNKNOWN_KEY',
      field: `${field}.${key}`,
      found,
      expected: 'role and content',
      fix: `remove ${key}, or put it into the text`,
    });
  }
}

function isBlank(content: Message['content']): boolean {
  if (typeof content === 'string') return !/\S/.test(content);
  return content?.every((part) => !/\S/.test(part.text)) ?? true;
}

/** The first break of the order: system, then user and assistant in turn (a tool call is answered by tool messages), assistant last. */
function checkOrder(messages: Message[], findings: Finding[]): void {
  let previous: 'start' | 'user' | 'assistant' | 'calls' | 'tool' = 'start';
  let trained = 0;
  for (let index = 0; index < messages.length; index++) {
    const { role, tool_calls: calls, weight } = messages[index] as Message;
    const field = `messages[${index}].role`;
    if (role === 'system') {
      if (index === 0) continue;
      const found = `system as message ${index + 1}`;
      findings.push({
        code: 'E_SYSTEM_POSITION',
        field,
        found,
        expected: 'at most one system message, the first',
        fix: 'move its text into the first message',
      });
      return;
    }
    const allowed: Message['role'][] = NEXT_ROLES[previous];
    if (!allowed.includes(role)) {
      const found = `${role} after ${previous === 'start' ? 'the start' : previous === 'calls' ? 'assistant with tool_calls' : previous}`;
      findings.push({ code: 'E_ALTERNATION', field, found, expected: allowed.join(' or '), fix: ORDER_FIXES[role] });
      return;
    }
    previous = role === 'assistant' && calls != null && calls.length > 0 ? 'calls' : role;
    if (role === 'assistant' && weight !== 0) trained++;
  }
  if (previous !== 'assistant' && previous !== 'calls') {
    const found = previous === 'start' ? 'no assistant message' : `${previous} as the last message`;
    const field = `messages[${messages.length - 1}].role`;
    findings.push({
      code: 'E_NO_FINAL_ASSISTANT',
      field,
      found,
      expected: 'assistant',
      fix: 'add the reply to train on, or remove what follows the last reply',
    });
  } else if (trained === 0) {
    const fix = 'set the weight of a reply to 1, or remove the row';
    findings.push({
      code: 'E_NO_TRAINABLE_TOKENS',
      field: 'messages',
      found: 'weight 0 on every reply',
      expected: 'a reply with weight 1',
      fix,
    });
  }
}

const NEXT_ROLES: Record<'start' | 'user' | 'assistant' | 'calls' | 'tool', Message['role'][]> = {
  start: ['user'],
  user: ['assistant'],
  assistant: ['user'],
  calls: ['tool'],
  tool: ['tool', 'assistant'],
};

const ORDER_FIXES: Record<Message['role'], string> = {
  system: '',
  user: 'join messages of one speaker into one, or add the reply between them',
  assistant: 'join replies into one, or add the user message before it',
  tool: 'a tool message answers an assistant message with tool_calls',
};

/** Finds which messages break the schema, one problem a message. */
function explainShape(row: JsonRow, findings: Finding[]): void {
  const { messages } = row;
  const expected = `a list of 1 to ${MAX_MESSAGES} messages`;
  if (!Array.isArray(messages) || messages.length === 0 || messages.length > MAX_MESSAGES) {
    const isTooLong = Array.isArray(messages) && messages.length > 0;
    const fix = isTooLong ? 'split the conversation' : `write ${MESSAGES_EXAMPLE}`;
    findings.push({ code: 'E_MESSAGES', field: 'messages', found: excerptValue(messages), expected, fix });
    return;
  }
  for (const [index, message] of messages.entries()) {
    if (isMessage(message)) continue;
    if (isMessage.errors?.[0] !== undefined) findings.push(shapeFinding(isMessage.errors[0], message, index));
    if (findings.length === MAX_FINDINGS) return;
  }
  if (findings.length > 0) return;
  const fix = 'write a list of function definitions, or remove tools';
  findings.push({ code: 'E_TOOLS', field: 'tools', found: excerptValue(row.tools), expected: 'a list of objects', fix });
}

/** A schema error of one message, in the catalogue's terms. */
function shapeFinding(error: ErrorObject, message: unknown, index: number): Finding {
  const field = `messages[${index}]`;
  if (typeof message !== 'object' || message === null || Array.isArray(message)) {
    return {
      code: 'E_MESSAGES',
      field,
      found: excerptValue(message),
      expected: 'an object with role and content',
      fix: 'write {"role": "user", "content": "…"}',
    };
  }
  const [, key = '', ...rest] = error.instancePath.split('/');
  const value = Object.hasOwn(message, key) ? (message as JsonRow)[key] : undefined;
  const inner = field + [key, ...rest].map((step) => (/^[0-9]+$/.test(step) ? `[${step}]` : `.${step}`)).join('');
  if (key === '' && error.keyword === 'additionalProperties') {
    const unknown = String(error.params.additionalProperty);
    return {
      code: 'E_UNKNOWN_KEY',
      field: `${field}.${excerpt(unknown)}`,
      found: excerpt(unknown),
      expected: 'role and content',
      fix: keyFix(unknown),
    };
  }
  if (key === '' || key === 'role') {
    const fix = value === undefined ? missingRoleFix(message) : roleFix(value);
    return { code: 'E_ROLE', field: `${field}.role`, found: excerptValue(value), expected: ROLES.join(', '), fix };
  }
  if (key === 'content') {
    const fix =
      rest.length > 0 || Array.isArray(value) ? 'keep text parts only: {"type": "text", "text": "…"}' : 'write the text in double quotes';
    const found = Array.isArray(value) ? excerptValue(value[Number(rest[0])]) : excerptValue(value);
    return { code: 'E_CONTENT_TYPE', field: inner, found, expected: 'text, or a list of text parts', fix };
  }
  if (key === 'weight') {
    return {
      code: 'E_WEIGHT',
      field: inner,
      found: excerptValue(value),
      expected: '0 or 1',
      fix: 'use 1 to train on the reply, 0 to leave it out',
    };
  }
  const fix = 'write {"type": "function", "function": {"name": "…", "arguments": "…"}}';
  return { code: 'E_TOOLS', field: inner, found: excerptValue(value), expected: error.message ?? 'tool calls', fix };
}

const ROLE_NAMES: Record<string, (typeof ROLES)[number]> = {
  human: 'user',
  customer: 'user',
  bot: 'assistant',
  gpt: 'assistant',
  chatgpt: 'assistant',
  ai: 'assistant',
  model: 'assistant',
  agent: 'assistant',
  developer: 'system',
  function: 'tool',
};

function roleFix(value: unknown): string {
  const lower = typeof value === 'string' ? value.trim().toLowerCase() : '';
  const role = ROLES.find((known) => known === lower) ?? (Object.hasOwn(ROLE_NAMES, lower) ? ROLE_NAMES[lower] : undefined);
  return role === undefined ? `use one of ${ROLES.join(', ')}` : `write "${role}"`;
}

function missingRoleFix(message: object): string {
  return Object.hasOwn(message, 'from')
    ? 'rename from to role (human is user, gpt is assistant) and value to content'
    : 'add "role": "user" or "assistant"';
}

function keyFix(key: string): string {
  if (key === 'function_call') return 'write it as tool_calls';
  if (key === 'from') return 'rename from to role (human is user, gpt is assistant)';
  if (key === 'value' || key === 'text') return `rename ${key} to content`;
  return 'remove the key, or put its text into content';
}
