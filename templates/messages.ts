/**
 * Messages as `apply_chat_template` hands them to a template: without the keys that are null (`"content": null` beside tool calls would be
 * printed as None), and the reasoning before an answer, which goes by three names, under the two that templates read.
 */
const REASONING = ['reasoning_content', 'thinking', 'reasoning'];

export function normalizeMessage<Message extends Record<string, unknown>>(message: Message): Message {
  const given = Object.values(message).includes(null)
    ? (Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null)) as Message)
    : message;
  return nameReasoning(given);
}

export function nameReasoning<Message extends Record<string, unknown>>(message: Message): Message {
  const field = REASONING.find((name) => message[name] !== undefined && message[name] !== null);
  return field === undefined ? message : { thinking: message[field], ...message, reasoning_content: message[field] };
}
