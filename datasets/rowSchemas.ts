/**
 * The shape of a conversation row: types, and the JSON Schemas that check them. Plain JSON Schema, because every validation
 * thread loads this file and a schema builder would triple its start-up time. Order and meaning of messages: `checkRow.ts`.
 *
 * Optional keys may be null, which means absent: exports of tables write a null wherever another row has the key.
 */

export const MAX_MESSAGES = 2048;

export const ROLES = ['system', 'user', 'assistant', 'tool'] as const;

export interface Message {
  role: (typeof ROLES)[number];
  content?: string | TextPart[] | null;
  /** Assistant only: 0 leaves the message out of the loss. */
  weight?: 0 | 1 | null;
  /** Assistant only. */
  tool_calls?: ToolCall[] | null;
  /** Tool only, both. */
  tool_call_id?: string | null;
  name?: string | null;
}

export interface TextPart {
  type: 'text';
  text: string;
}

export interface ToolCall {
  id?: string | null;
  type?: 'function';
  /** `arguments`: JSON text, as the chat protocol has it, or the object itself. */
  function: { name: string; arguments?: string | Record<string, unknown> };
}

export interface ConversationRow {
  messages: Message[];
  /** Function definitions offered to the model, for templates that render them. */
  tools?: Record<string, unknown>[] | null;
}

const textPart = {
  type: 'object',
  required: ['type', 'text'],
  properties: { type: { const: 'text' }, text: { type: 'string' } },
  additionalProperties: false,
};

const toolCall = {
  type: 'object',
  required: ['function'],
  properties: {
    id: { type: ['string', 'null'] },
    type: { const: 'function' },
    function: {
      type: 'object',
      required: ['name'],
      properties: { name: { type: 'string', minLength: 1 }, arguments: { type: ['string', 'object'] } },
    },
  },
};

// Choices are type lists and enums rather than unions of schemas, which validate several times slower.
export const messageSchema = {
  type: 'object',
  required: ['role'],
  properties: {
    role: { enum: ROLES },
    content: { type: ['string', 'array', 'null'], items: textPart },
    weight: { enum: [0, 1, null] },
    tool_calls: { type: ['array', 'null'], items: toolCall },
    tool_call_id: { type: ['string', 'null'] },
    name: { type: ['string', 'null'] },
  },
  additionalProperties: false,
};

export const conversationSchema = {
  type: 'object',
  required: ['messages'],
  properties: {
    messages: { type: 'array', items: messageSchema, minItems: 1, maxItems: MAX_MESSAGES },
    tools: { type: ['array', 'null'], items: { type: 'object' } },
  },
};
