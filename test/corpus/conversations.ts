/** The conversations that every template of the corpus is tried with (conversations.jsonl, one a line): reference.py reads the same. */
import { readFileSync } from 'node:fs';
import { parseExactly } from '../../templates/exactNumbers.js';
import { nameReasoning } from '../../templates/messages.js';
import { CONVERSATIONS } from './reference.js';

/** `prompt`: with the prompt for an answer at the end. */
export type Case = { name: string; prompt: boolean; context: Record<string, unknown> };

const SPECIAL_TOKENS = { bos_token: '<s>', eos_token: '</s>', pad_token: '<pad>', unk_token: '<unk>' };

/** Every conversation with and without the prompt for an answer, as `transformers` hands them to a template. */
export function readConversations(): Case[] {
  const lines = readFileSync(CONVERSATIONS, 'utf8').split('\n').slice(0, -1);
  return lines.flatMap((line) => {
    const { name, context } = parseExactly(line) as { name: string; context: Record<string, unknown> };
    const messages = (context['messages'] as Record<string, unknown>[]).map(nameReasoning);
    return [false, true].map((prompt) => ({
      name,
      prompt,
      context: { tools: null, documents: null, add_generation_prompt: prompt, ...SPECIAL_TOKENS, ...context, messages },
    }));
  });
}
