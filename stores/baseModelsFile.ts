/** Base models of the operator's own: a JSON file that TEMPER_BASE_MODELS names, the same for the API and all workers. */
import { readFileSync } from 'node:fs';
import { addBaseModels, defaultTuning, type BaseModel, type ModelSource } from '../schemas/baseModels.js';
import { isId } from '../schemas/names.js';

/** One entry of the file's list; the rest is as for uploaded models. */
interface Entry extends Partial<Omit<BaseModel, 'name' | 'source'>> {
  id: string;
  source: ModelSource;
  parameters: number;
  cutoffLength: number;
}

const FIELDS = [
  'id',
  'source',
  'parameters',
  'cutoffLength',
  'displayName',
  'batchSize',
  'loraRank',
  'epochs',
  'learningRate',
  'quantization',
  'chatFamily',
  'conversationRecommended',
];

/** Adds the file's models to the catalogue, as accounts/temper/models/ID. @throws Error naming the file, the entry and the field */
export function loadBaseModelsFile(path: string | undefined): void {
  if (!path) return;
  const wrong = (what: string) => new Error(`TEMPER_BASE_MODELS: ${path} ${what}`);
  let entries: unknown;
  try {
    entries = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw wrong(`cannot be read: ${(error as Error).message}`);
  }
  if (!Array.isArray(entries)) throw wrong('must be a JSON list of base models.');
  addBaseModels(entries.map((entry, index) => readEntry(entry as Entry, (what) => wrong(`entry ${index + 1}: ${what}`))));
}

function readEntry(entry: Entry, wrong: (what: string) => Error): BaseModel {
  const unknown = Object.keys(entry).find((field) => !FIELDS.includes(field));
  if (unknown) throw wrong(`unknown field ${unknown}; there are ${FIELDS.join(', ')}.`);
  const { id, source, ...rest } = entry;
  if (typeof id !== 'string' || !isId(id)) throw wrong('id must be 1 to 63 characters of a-z, 0-9 and hyphen.');
  const places = ['folder', 'prefix', 'hub'].filter(
    (place) => typeof (source as Record<string, unknown> | undefined)?.[place] === 'string',
  );
  if (places.length !== 1) throw wrong('source must be one of {"folder": PATH}, {"prefix": KEY} and {"hub": "ORG/NAME"}.');
  for (const field of ['parameters', 'cutoffLength'] as const)
    if (!Number.isInteger(entry[field]) || entry[field] < 1) throw wrong(`${field} must be a whole number above 0.`);
  return {
    displayName: id,
    conversationRecommended: false,
    chatFamily: null,
    ...defaultTuning(entry.parameters, false),
    ...rest,
    name: `accounts/temper/models/${id}`,
    source,
  };
}
