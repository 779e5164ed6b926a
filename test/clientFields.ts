/** The fields that the published client can send (fireworks-ai 1.2.30), read from its own types. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TSchema } from 'typebox';
import { CreateDatasetRequest, Dataset } from '../schemas/dataset.js';
import { SupervisedFineTuningJob } from '../schemas/job.js';
import { CreateModelRequest, Model, NewModel } from '../schemas/model.js';

/** A type of the client, the schema that reads it here, and its fields that go into the path or the query; of an update, those that can change. */
export const CLIENT_TYPES: { title: string; type: string; schema: TSchema; elsewhere: string[]; mutable?: string[] }[] = [
  {
    title: 'Create a supervised fine-tuning job',
    type: 'supervised_fine_tuning_job_create_params:SupervisedFineTuningJobCreateParams',
    schema: SupervisedFineTuningJob,
    elsewhere: ['accountId', 'supervisedFineTuningJobId'],
  },
  { title: 'Create a dataset', type: 'dataset_create_params:DatasetCreateParams', schema: CreateDatasetRequest, elsewhere: ['accountId'] },
  { title: 'Its `dataset`', type: 'dataset_param:DatasetParam', schema: Dataset, elsewhere: [] },
  {
    title: 'Update a dataset',
    type: 'dataset_update_params:DatasetUpdateParams',
    schema: Dataset,
    elsewhere: ['accountId'],
    mutable: ['displayName'],
  },
  { title: 'Create a model', type: 'model_create_params:ModelCreateParams', schema: CreateModelRequest, elsewhere: ['accountId'] },
  { title: 'Its `model`', type: 'model_param:ModelParam', schema: NewModel, elsewhere: [] },
  { title: 'Update a model', type: 'model_update_params:ModelUpdateParams', schema: Model, elsewhere: ['accountId'] },
];

/** In camelCase. @param packages the folder that has the client's package */
export function readClientFields(packages: string, type: string): string[] {
  const [file, name] = type.split(':') as [string, string];
  const source = readFileSync(join(packages, 'fireworks', 'types', `${file}.py`), 'utf8');
  const [, after] = source.split(new RegExp(`^class ${name}\\(.*\\):$`, 'm'));
  const body = (after ?? '').split(/^\S/m)[0]!;
  return [...body.matchAll(/^ {4}(\w+): /gm)].map(([, field]) =>
    field!.replace(/_([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase()),
  );
}

/** What becomes of a field that a client sends. */
export function fateOf(schema: TSchema, field: string, mutable?: string[]): string {
  const { properties } = schema as unknown as { properties: Record<string, Record<string, unknown>> };
  if (!Object.hasOwn(properties, field)) return 'refused: an unknown field';
  const { readOnly, description, 'x-ignored': ignored, 'x-expected': expected, maxLength, const: only } = properties[field]!;
  if (ignored !== undefined) return `ignored. ${String(ignored)}`;
  if (readOnly) return 'shown only; ignored when it is sent';
  if (maxLength === 0 || only !== undefined) return `must be ${String(expected)}`;
  if (mutable && !mutable.includes(field)) return 'does not change; not read';
  return description === undefined ? 'supported' : `supported. ${String(description)}`;
}

/** The tables of docs/api-fields.md. */
export function describeClientFields(packages: string): string {
  const tables = CLIENT_TYPES.map(({ title, type, schema, elsewhere, mutable }) => {
    const fields = readClientFields(packages, type).filter((field) => !elsewhere.includes(field));
    const rows = fields.map((field) => `| \`${field}\` | ${fateOf(schema, field, mutable).replaceAll('|', '\\|')} |`);
    return [`## ${title}`, '', '| field | here |', '| --- | --- |', ...rows, ''].join('\n');
  });
  return [
    '# Fields of the published client',
    '',
    'Every field that `fireworks-ai` 1.2.30 can send, and what becomes of it. Made from the client’s types and the schemas of the API by',
    '`npm test -- test/integration/api/publishedClient.test.ts -u`. A field that is not here is refused by its name.',
    '',
    ...tables,
  ].join('\n');
}
