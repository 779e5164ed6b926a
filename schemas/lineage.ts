/**
 * `lineage.json`, which lies beside every model that a job made: what went into it, with what it was made, and what came out.
 * Enough to make the same bytes once more where hardware and versions are the same. The API serves this schema at /schemas/lineage.json.
 */
import { Type, type Static } from 'typebox';

export const LINEAGE_VERSION = 2;
export const LINEAGE_SCHEMA_PATH = '/schemas/lineage.json';

const Sha256 = (description?: string) => Type.String({ pattern: '^[0-9a-f]{64}$', description });
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(type: T) => Type.Union([type, Type.Null()]);

const DatasetOrigin = Type.Object({
  name: Type.String(),
  sha256: Sha256('Of the JSONL file'),
  examples: Type.Integer(),
});

export const Lineage = Type.Object({
  version: Type.Literal(LINEAGE_VERSION),
  model: Type.String({ description: 'accounts/ACCOUNT/models/ID' }),
  job: Type.String({ description: 'accounts/ACCOUNT/fineTuningJobs/ID' }),
  baseModel: Type.Object({
    name: Type.String(),
    source: Type.Object({}, { additionalProperties: true, description: 'A folder, a prefix or a repository; empty for an account’s own' }),
    content: Nullable(Type.String({ description: 'The hub’s commit, or a hash of the files; null for a folder that anyone may change' })),
  }),
  warmStart: Nullable(Type.Object({ name: Type.String(), sha256: Sha256('Of the adapter’s weights that training began with') })),
  dataset: DatasetOrigin,
  evaluationDataset: Nullable(DatasetOrigin),
  prepared: Type.Object({
    hash: Type.String({ description: 'Of everything that the rendered text depends on' }),
    time: Type.String({ format: 'date-time', description: 'What a template that prints the date printed' }),
    templateSha256: Nullable(Sha256('Of the chat template')),
    setSha256: Sha256('Of the description of the rendered set, which has the hashes of all of its examples'),
    evaluationSha256: Nullable(Sha256('Of the rendered examples that were held back')),
    trainExamples: Type.Integer(),
    evalExamples: Type.Integer(),
    labels: Nullable(Type.Integer()),
  }),
  settings: Type.Object({}, { additionalProperties: true, description: 'Every setting as resolved, the seed among them' }),
  settingOrigins: Type.Record(Type.String(), Type.String(), { description: 'given, baseModel, default or derived' }),
  training: Type.Object({
    steps: Type.Integer(),
    tokens: Type.Integer(),
    trainedTokens: Type.Integer(),
    finalLoss: Type.Number(),
    bestStep: Type.Optional(Type.Integer()),
    bestLoss: Type.Optional(Type.Number()),
    attempts: Type.Integer(),
    microBatchTokens: Nullable(Type.Integer({ description: 'Most tokens of one forward pass, as the device’s memory allowed' })),
  }),
  hardware: Type.Object({ device: Nullable(Type.String({ description: '`cpu: 2 threads`, `cuda: NVIDIA H100 80GB HBM3`' })) }),
  versions: Type.Record(Type.String(), Type.String(), { description: 'Of the trainer, torch, transformers, peft and what they stand on' }),
  evaluation: Nullable(Type.Object({ metric: Type.String(), base: Type.Number(), tuned: Type.Number(), examples: Type.Integer() })),
  verification: Nullable(
    Type.Object({
      rows: Type.Integer({ description: 'That were repeated after loading the adapter again with PEFT' }),
      largestDifference: Type.Number({ description: 'Of a mean loss a token' }),
    }),
  ),
  files: Type.Array(Type.Object({ name: Type.String(), sha256: Sha256(), sizeBytes: Type.Integer() })),
});
export type Lineage = Static<typeof Lineage>;

export const LINEAGE_SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: LINEAGE_SCHEMA_PATH,
  title: 'Where a tuned model came from',
  ...Lineage,
};

/** The files whose bytes must be the same when a model is made once more; the others tell names and times. */
export const REPRODUCED_FILES = ['adapter_config.json', 'adapter_model.safetensors'];

/** Of a job that makes a model once more. */
export interface Reproduction {
  /** Of the first model. */
  first: Lineage;
  /** Once the new model is there. */
  outcome?: ReproductionOutcome;
}
export interface ReproductionOutcome {
  equal: boolean;
  differingFiles: string[];
  /** In sentences: why the bytes may differ. Empty when they are equal. */
  reasons: string[];
}

/** Holds a model that was made once more against the first. */
export function compareReproduction(first: Lineage, again: Lineage): ReproductionOutcome {
  const sha256Of = (lineage: Lineage, name: string) => lineage.files.find((file) => file.name === name)?.sha256;
  const differingFiles = REPRODUCED_FILES.filter((name) => sha256Of(first, name) !== sha256Of(again, name));
  return { equal: differingFiles.length === 0, differingFiles, reasons: differingFiles.length === 0 ? [] : reasonsToDiffer(first, again) };
}

function reasonsToDiffer(first: Lineage, again: Lineage): string[] {
  const reasons: string[] = [];
  const differ = (what: string, was: unknown, is: unknown) => {
    if (was !== is) reasons.push(`${what} was ${String(was ?? 'not recorded')} then and is ${String(is ?? 'not recorded')} now.`);
  };
  differ('The device', first.hardware.device, again.hardware.device);
  differ('The content of the base model', first.baseModel.content, again.baseModel.content);
  differ('The SHA-256 of the rendered examples', first.prepared.setSha256, again.prepared.setSha256);
  differ('microBatchTokens', first.training.microBatchTokens, again.training.microBatchTokens);
  for (const name of Object.keys({ ...first.versions, ...again.versions })) differ(name, first.versions[name], again.versions[name]);
  if (reasons.length > 0) return reasons;
  return again.hardware.device?.startsWith('cuda')
    ? ['On a GPU sums are added in no fixed order: the last digits may differ from run to run.']
    : ['Device, versions and data are the same: this should not be, and is worth a look.'];
}
