/** The small files of a base model (config, tokenizer, chat template), read where they are without bringing the weights. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { ModelSource } from '../schemas/baseModels.js';
import { TemperError } from '../schemas/errors.js';
import type { ObjectStore } from './objects.js';

/** The files that say how a model's text is made; absent ones are null. */
export interface TokenizerFiles {
  tokenizerConfig: Record<string, unknown> | null;
  chatTemplate: string | null;
}

export async function readTokenizerFiles(source: ModelSource, objects: ObjectStore): Promise<TokenizerFiles> {
  const [config, template] = await Promise.all([
    readModelFile(source, 'tokenizer_config.json', objects),
    readModelFile(source, 'chat_template.jinja', objects),
  ]);
  const tokenizerConfig = config === null ? null : (JSON.parse(config) as Record<string, unknown>);
  return { tokenizerConfig, chatTemplate: template ?? templateText(tokenizerConfig?.['chat_template']) };
}

/** One template, or several by name, of which the one for everything is `default`. */
function templateText(value: unknown): string | null {
  if (typeof value === 'string') return value;
  const named = Array.isArray(value) ? (value as { name?: string; template?: string }[]) : [];
  return named.find(({ name }) => name === 'default')?.template ?? null;
}

/** The text of one file; null when the model has none of the name. @throws TemperError HUB_UNREACHABLE, MODEL_GATED, OBJECT_STORE_UNAVAILABLE */
export async function readModelFile(source: ModelSource, name: string, objects: ObjectStore): Promise<string | null> {
  if ('folder' in source) return readFile(path.join(source.folder, name), 'utf8').catch(nullIfMissing);
  if ('prefix' in source) return (await objects.head(`${source.prefix}/${name}`)) ? objects.getText(`${source.prefix}/${name}`) : null;
  return readHubFile(source.hub, source.revision ?? 'main', name);
}

async function readHubFile(repository: string, revision: string, name: string): Promise<string | null> {
  const endpoint = process.env['HF_ENDPOINT'] ?? 'https://huggingface.co';
  const token = process.env['HF_TOKEN'];
  const reply = await fetch(`${endpoint}/${repository}/resolve/${encodeURIComponent(revision)}/${name}`, {
    headers: token ? { authorization: `Bearer ${token}` } : {},
    signal: AbortSignal.timeout(30_000),
  }).catch(() => {
    throw new TemperError('HUB_UNREACHABLE', `The Hugging Face hub (${endpoint}) does not answer; the step is tried again.`);
  });
  if (reply.ok) return reply.text();
  if (reply.status === 404) return null;
  if (reply.status === 401 || reply.status === 403) {
    throw new TemperError(
      'MODEL_GATED',
      `The hub does not give ${repository} to this deployment (HTTP ${reply.status}). Accept its licence and set HF_TOKEN on the workers.`,
    );
  }
  throw new TemperError('HUB_UNREACHABLE', `The hub answered ${reply.status} for ${repository}; the step is tried again.`);
}

function nullIfMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}
