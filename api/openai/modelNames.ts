/** Models by the names that OpenAI's clients use: a base model's bare ID, `ft:BASE:ACCOUNT:SUFFIX:ID` of a tuned one, or an alias that the deployment set. */
import { BASE_MODELS } from '../../schemas/baseModels.js';
import { fieldError } from '../../schemas/errors.js';
import { isId, parseName } from '../../schemas/names.js';
import { didYouMean } from '../../schemas/suggest.js';
import type { Database } from '../../stores/database.js';
import { findModel, findModelByOpenaiName, type ModelRecord } from '../../stores/models.js';

/** The last part of a resource name: the ID. */
export const idOf = (name: string): string => name.slice(name.lastIndexOf('/') + 1);

/** Of a tuned model. One that another route made has no suffix. */
export function tunedModelName(model: { accountId: string; baseModel: string; suffix?: string; id: string }): string {
  return `ft:${idOf(model.baseModel)}:${model.accountId}:${model.suffix ?? ''}:${model.id}`;
}

export function modelName(model: ModelRecord): string {
  const base = model.peft?.baseModel ?? model.base_model;
  return model.openai_name ?? (base ? tunedModelName({ accountId: model.account_id, baseModel: base, id: model.id }) : model.id);
}

/** A suffix as it stands in a model's name: no colons, which part the name, and nothing to quote. */
export function cleanSuffix(suffix: string | null | undefined): string {
  return (suffix ?? '').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^-+|-+$/g, '');
}

/** One of the account's own models by any of its names, READY or not. */
export async function findOwnModel(database: Database, accountId: string, name: string): Promise<ModelRecord | undefined> {
  const named = await findModelByOpenaiName(database, accountId, name);
  if (named) return named;
  const parts = name.split(':');
  const id = parts[0] === 'ft' && parts.length === 5 && parts[2] === accountId && parts[3] === '' ? parts[4]! : name;
  const parsed = parseName(id, 'models', accountId);
  const model = parsed?.accountId === accountId ? await findModel(database, accountId, parsed.id) : undefined;
  return model && (id === name || modelName(model) === name) ? model : undefined;
}

/** What a new job goes on from. @throws TemperError MODEL_NOT_FOUND, with what there is */
export async function resolveModel(
  database: Database,
  accountId: string,
  aliases: Record<string, string>,
  name: string,
): Promise<{ shown: string; baseModel: string } | { shown: string; warmStartFrom: string; baseModel: string }> {
  const wanted = Object.hasOwn(aliases, name) ? aliases[name]! : name;
  const base = BASE_MODELS.find((model) => model.name === wanted || idOf(model.name) === wanted);
  if (base) return { shown: idOf(base.name), baseModel: base.name };
  const own = await findOwnModel(database, accountId, wanted);
  if (own?.kind === 'HF_BASE_MODEL') return { shown: own.id, baseModel: `accounts/${accountId}/models/${own.id}` };
  if (own)
    return {
      shown: modelName(own),
      warmStartFrom: `accounts/${accountId}/models/${own.id}`,
      baseModel: own.peft?.baseModel ?? own.base_model ?? '',
    };
  const known = [...Object.keys(aliases), ...BASE_MODELS.map((model) => idOf(model.name))];
  throw fieldError(
    'MODEL_NOT_FOUND',
    'model',
    `The model ${JSON.stringify(name.slice(0, 100))} does not exist, or you have no access to it${didYouMean(name, known)}. ` +
      `Base models here: ${known.join(', ')}. Tuned models are those of client.models.list() that begin with ft:.`,
  );
}

/**
 * `NAME=BASE_MODEL,…` (TEMPER_OPENAI_MODELS).
 * @throws Error for what is not that, or names no base model of the catalogue
 */
export function readModelAliases(text: string): Record<string, string> {
  const aliases: Record<string, string> = {};
  for (const pair of text.split(',').filter((part) => part.trim() !== '')) {
    const [name = '', target = '', ...rest] = pair.split('=').map((part) => part.trim());
    const model = BASE_MODELS.find((candidate) => candidate.name === target || idOf(candidate.name) === target);
    if (name === '' || rest.length > 0 || !model || (!isId(target) && !target.includes('/')))
      throw new Error(`TEMPER_OPENAI_MODELS: "${pair.trim()}" must be NAME=BASE_MODEL, as in gpt-4o-mini=llama-v3p1-8b-instruct.`);
    aliases[name] = model.name;
  }
  return aliases;
}
