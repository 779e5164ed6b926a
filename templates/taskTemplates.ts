/** What the rows of a task are rendered with: the job's own templates, and for conversations a chat template with the tokenizer's tokens. */
import type { ChatFamily } from '../schemas/baseModels.js';
import type { Task } from '../schemas/task.js';
import { chooseChatTemplate } from './chat.js';
import type { RowTemplates } from './renderRow.js';

export interface TaskTemplates {
  template: RowTemplates;
  /** Whose the template is; see chat.ts. */
  origin: string;
}

/** Of the base model: `tokenizer_config.json` and the chat template that comes with it, where it has them. */
export interface ModelTemplates {
  tokenizerConfig: Record<string, unknown> | null;
  chatTemplate: string | null;
  family: ChatFamily;
  /** What `strftime_now` says. */
  now: Date;
}

export function taskTemplates(task: Exclude<Task, { kind: 'conversation' }>): TaskTemplates;
export function taskTemplates(task: Task, model: ModelTemplates): TaskTemplates;
export function taskTemplates(task: Task, model?: ModelTemplates): TaskTemplates {
  const { kind } = task;
  if (kind === 'textCompletion')
    return { template: { kind, inputTemplate: task.inputTemplate, outputTemplate: task.outputTemplate }, origin: 'job' };
  if (kind === 'textClassification') return { template: { kind, textField: task.text, labelField: task.label }, origin: 'job' };
  const { tokenizerConfig, chatTemplate, family, now } = model!;
  const chosen = chooseChatTemplate({ jobTemplate: task.jinjaTemplate, modelTemplate: chatTemplate ?? undefined, family });
  const config = tokenizerConfig ?? {};
  const chat = {
    template: chosen.template,
    bosToken: tokenText(config['bos_token']),
    eosToken: tokenText(config['eos_token']),
    specialTokens: specialTokens(config),
    now: now.toISOString(),
  };
  return { template: { kind, chat }, origin: chosen.origin };
}

/** `"<s>"` or `{ "content": "<s>", … }`, as tokenizer_config.json writes it. */
function tokenText(value: unknown): string {
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : '';
}

function specialTokens(config: Record<string, unknown>): string[] {
  const added = Object.values((config['added_tokens_decoder'] ?? {}) as Record<string, { content?: string; special?: boolean }>);
  const named = ['bos_token', 'eos_token', 'pad_token', 'unk_token'].map((name) => tokenText(config[name]));
  const listed = [config['additional_special_tokens'], config['extra_special_tokens']].flatMap((list) =>
    Array.isArray(list) ? list.map(tokenText) : [],
  );
  const all = [...added.filter((token) => token.special !== false).map((token) => token.content ?? ''), ...named, ...listed];
  return [...new Set(all.filter((token) => token !== ''))].sort();
}
