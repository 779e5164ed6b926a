/** What can be tuned: the catalogue's base models, and the READY base models of an account. */
import { BASE_MODELS, defaultTuning, findBaseModel, type BaseModel } from '../schemas/baseModels.js';
import { parseName, resourceName } from '../schemas/names.js';
import type { Database } from './database.js';
import { findModel, type ModelRecord } from './models.js';

/** Tokens of an example where neither the model nor its uploader allows more or less. */
const DEFAULT_CUTOFF_LENGTH = 8192;

/** By full name, or by bare ID: of the account first, else of the catalogue where one model only has it. */
export async function findTunableModel(database: Database, accountId: string, name: string): Promise<BaseModel | undefined> {
  const known = findBaseModel(name);
  if (known) return known;
  const parsed = parseName(name, 'models', accountId);
  const row = parsed?.accountId === accountId ? await findModel(database, accountId, parsed.id) : undefined;
  return (row && asBaseModel(row)) ?? findById(name);
}

export function findById(id: string): BaseModel | undefined {
  const found = BASE_MODELS.filter(({ name }) => name.endsWith(`/models/${id}`));
  return found.length === 1 ? found[0] : undefined;
}

/** Undefined for what is no base model, or not READY. */
export function asBaseModel(row: ModelRecord): BaseModel | undefined {
  if (row.kind !== 'HF_BASE_MODEL' || row.state !== 'READY' || !row.base_details) return undefined;
  const { parameters, maxPositions, mixtureOfExperts } = row.base_details;
  return {
    name: resourceName(row.account_id, 'models', row.id),
    displayName: row.display_name || row.id,
    source: { files: row.files },
    ...defaultTuning(parameters, mixtureOfExperts),
    cutoffLength: Math.min(row.facts.trainingContextLength ?? row.facts.contextLength ?? DEFAULT_CUTOFF_LENGTH, maxPositions),
    conversationRecommended: false,
    chatFamily: null,
    parameters,
    mixtureOfExperts,
  };
}
