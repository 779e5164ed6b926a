/** The small files of a base model (config, tokenizer, chat template), read where they are without bringing the weights. */
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { ModelFile, ModelSource } from '../schemas/baseModels.js';
import { readHubFile } from './hub.js';
import type { ObjectStore } from './objects.js';

/** Where the evaluation of a registered model lies: metrics and samples of its job. */
export function evaluationKey(modelUid: string): string {
  return `models/${modelUid}/evaluation.json`;
}

/** The files that say how a model's text is made; absent ones are null. */
export interface TokenizerFiles {
  tokenizerConfig: Record<string, unknown> | null;
  chatTemplate: string | null;
}

export async function readTokenizerFiles(source: ModelSource, objects: ObjectStore): Promise<TokenizerFiles> {
  const [config, template, reference] = await Promise.all([
    readModelFile(source, 'tokenizer_config.json', objects),
    readModelFile(source, 'chat_template.jinja', objects),
    // The reference's own file for a model's conversations goes before the tokenizer's template.
    'files' in source ? readModelFile(source, 'fireworks.json', objects) : null,
  ]);
  const tokenizerConfig = config === null ? null : (JSON.parse(config) as Record<string, unknown>);
  return { tokenizerConfig, chatTemplate: conversationTemplate(reference) ?? template ?? templateText(tokenizerConfig?.['chat_template']) };
}

/** The template of a fireworks.json. */
function conversationTemplate(text: string | null): string | null {
  if (text === null) return null;
  const { conversation_config: config } = JSON.parse(text) as { conversation_config?: { args?: { template?: unknown } } };
  return typeof config?.args?.template === 'string' ? config.args.template : null;
}

/** One template, or several by name, of which the one for everything is `default`. */
export function templateText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  const named = Array.isArray(value) ? (value as { name?: string; template?: string }[]) : [];
  return named.find(({ name }) => name === 'default')?.template ?? null;
}

/** The text of one file; null when the model has none of the name. @throws TemperError HUB_UNREACHABLE, MODEL_GATED, OBJECT_STORE_UNAVAILABLE */
export async function readModelFile(source: ModelSource, name: string, objects: ObjectStore): Promise<string | null> {
  if ('folder' in source) return readFile(path.join(source.folder, name), 'utf8').catch(nullIfMissing);
  if ('hub' in source) return readHubFile(source.hub, source.revision ?? 'main', name);
  const key = await keyOf(source, name, objects);
  return key === null ? null : objects.getText(key);
}

/** Several files by name; null for those that the model does not have. @throws TemperError as above */
export async function readModelFiles<Name extends string>(
  source: ModelSource,
  names: readonly Name[],
  objects: ObjectStore,
): Promise<Record<Name, string | null>> {
  const texts = await Promise.all(names.map((name) => readModelFile(source, name, objects)));
  return Object.fromEntries(names.map((name, index) => [name, texts[index]])) as Record<Name, string | null>;
}

/** Whether a model that is not on the hub has a file. */
export async function hasModelFile(source: Exclude<ModelSource, { hub: string }>, name: string, objects: ObjectStore): Promise<boolean> {
  if (!('folder' in source)) return (await keyOf(source, name, objects)) !== null;
  return stat(path.join(source.folder, name)).then(
    () => true,
    () => false,
  );
}

async function keyOf(source: { prefix: string } | { files: ModelFile[] }, name: string, objects: ObjectStore): Promise<string | null> {
  if ('files' in source) return source.files.find((file) => file.name === name)?.key ?? null;
  return (await objects.head(`${source.prefix}/${name}`)) ? `${source.prefix}/${name}` : null;
}

function nullIfMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}
