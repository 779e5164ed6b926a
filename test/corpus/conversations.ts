/** The conversations that every template of the corpus is tried with (conversations.jsonl, one a line): reference.py reads the same. */
import { readFileSync } from 'node:fs';
import { Float } from '../../templates/jinja/values.js';
import { nameReasoning } from '../../templates/reasoning.js';
import { CONVERSATIONS } from './reference.js';

/** `prompt`: with the prompt for an answer at the end. */
export type Case = { name: string; prompt: boolean; context: Record<string, unknown> };

const SPECIAL_TOKENS = { bos_token: '<s>', eos_token: '</s>', pad_token: '<pad>', unk_token: '<unk>' };

/** Every conversation with and without the prompt for an answer, as `transformers` hands them to a template. */
export function readConversations(): Case[] {
  const lines = readFileSync(CONVERSATIONS, 'utf8').split('\n').slice(0, -1);
  return lines.flatMap((line) => {
    const { name, context } = readWithNumbers(line) as { name: string; context: Record<string, unknown> };
    const messages = (context['messages'] as Record<string, unknown>[]).map(nameReasoning);
    return [false, true].map((prompt) => ({
      name,
      prompt,
      context: { tools: null, documents: null, add_generation_prompt: prompt, ...SPECIAL_TOKENS, ...context, messages },
    }));
  });
}

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;

/** JSON with its numbers as Python reads them: 1.0 is a float, and integers have any length. */
function readWithNumbers(json: string): unknown {
  const marked = json.replace(STRING_OR_NUMBER, (token) => (token.startsWith('"') ? token : JSON.stringify(`\0${token}`)));
  return JSON.parse(marked, (_key, value: unknown) =>
    typeof value === 'string' && value.startsWith('\0') ? toNumber(value.slice(1)) : value,
  );
}

function toNumber(lexeme: string): unknown {
  const number = Number(lexeme);
  if (/[.eE]/.test(lexeme)) return Number.isInteger(number) ? new Float(number) : number;
  return Number.isSafeInteger(number) ? number + 0 : BigInt(lexeme);
}
