/**
 * Which chat template a conversation job uses: its own, else the base model's, else ours for the model's family, else the generic one.
 *
 * Ours are Jinja like all the others, rendered by the same engine: they are stored with the tuned model and must mean the same to
 * whatever serves it.
 */
import { readFileSync } from 'node:fs';
import type { ChatFamily } from '../schemas/baseModels.js';
import { TemplateError, type TemplateErrorCode } from './jinja/errors.js';
import { compileTemplate } from './jinja/template.js';

/** What is wrong with a template itself; `line` and `column` are 1-based. */
export type TemplateMistake = { code: TemplateErrorCode; message: string; line?: number; column?: number };

export type TemplateOrigin = 'job' | 'baseModel' | 'family' | 'generic';
export type ChosenTemplate = { template: string; origin: TemplateOrigin };

/** `modelTemplate` is the base model's own, from its tokenizer files. An empty template is none. */
export function chooseChatTemplate({
  jobTemplate,
  modelTemplate,
  family,
}: {
  jobTemplate?: string;
  modelTemplate?: string;
  family: ChatFamily;
}): ChosenTemplate {
  if (jobTemplate) return { template: jobTemplate, origin: 'job' };
  if (modelTemplate) return { template: modelTemplate, origin: 'baseModel' };
  return { template: readBuiltin(family ?? 'generic'), origin: family ? 'family' : 'generic' };
}

/** Whether a template can be used at all. It is parsed, which takes little whatever it is, and not run: previewRows does that. */
export function checkChatTemplate(template: string): TemplateMistake | undefined {
  try {
    compileTemplate(template);
    return undefined;
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    const { code, message, line, column } = error;
    return { code, message, line, column };
  }
}

export function readBuiltin(name: NonNullable<ChatFamily> | 'generic'): string {
  return readFileSync(new URL(`./builtin/${name}.jinja`, import.meta.url), 'utf8');
}
