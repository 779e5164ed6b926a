/**
 * The reasoning before an answer goes by three names. As `transformers` does, templates get it under the two that they read:
 * `reasoning_content`, and `thinking`.
 */
const FIELDS = ['reasoning_content', 'thinking', 'reasoning'];

export function nameReasoning<Message extends Record<string, unknown>>(message: Message): Message {
  const field = FIELDS.find((name) => message[name] !== undefined && message[name] !== null);
  return field === undefined ? message : { thinking: message[field], ...message, reasoning_content: message[field] };
}
