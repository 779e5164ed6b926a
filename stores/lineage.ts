/** Who stands on whom, read from the rows themselves, and of what is gone from tombstones and from the lineages of models. */
import { sql } from 'kysely';
import { findBaseModel } from '../schemas/baseModels.js';
import type { Lineage } from '../schemas/lineage.js';
import type { LineageKind } from '../schemas/lineageGraph.js';
import { parseName, resourceName } from '../schemas/names.js';
import type { Database } from './database.js';

/** A step of the graph: what lies beyond it, and what that is to it. */
export interface Neighbour {
  name: string;
  kind: LineageKind;
  relation: string;
  sha256?: string;
}

export interface Tombstone {
  name: string;
  uid: string;
  kind: 'DATASET' | 'MODEL';
  facts: { sha256?: string; lineage?: Lineage };
  deletedBy: string;
}

export async function addTombstone(database: Database, accountId: string, { name, uid, kind, facts, deletedBy }: Tombstone): Promise<void> {
  await database
    .insertInto('tombstones')
    .values({ account_id: accountId, name, uid, kind, facts: JSON.stringify(facts), deleted_by: deletedBy })
    .onConflict((conflict) => conflict.columns(['account_id', 'uid']).doNothing())
    .execute();
}

/** The latest of each of these names. */
export async function findTombstones(database: Database, accountId: string, names: string[]) {
  if (names.length === 0) return new Map<string, { facts: Tombstone['facts']; deleted_by: string; delete_time: Date }>();
  const rows = await database
    .selectFrom('tombstones')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('name', 'in', names)
    .orderBy('delete_time')
    .execute();
  return new Map(rows.map((row) => [row.name, row]));
}

/** Those of these names that are there; of another account or the catalogue, all. */
export async function existing(database: Database, accountId: string, names: string[]): Promise<Set<string>> {
  const found = new Set(names.filter((name) => !name.startsWith(`accounts/${accountId}/`) || findBaseModel(name)));
  for (const [table, collection] of [
    ['datasets', 'datasets'],
    ['jobs', 'fineTuningJobs'],
    ['models', 'models'],
  ] as const) {
    const ids = names.flatMap((name) => parseName(name, collection, accountId)?.id ?? []);
    if (ids.length === 0) continue;
    const rows = await database.selectFrom(table).select('id').where('account_id', '=', accountId).where('id', 'in', ids).execute();
    for (const { id } of rows) found.add(resourceName(accountId, collection, id));
  }
  return found;
}

/** What a resource was made from. Of a job by its row, else by the lineage of the model that it made. */
export async function upstreamOf(database: Database, accountId: string, name: string, kind: LineageKind): Promise<Neighbour[]> {
  if (kind === 'MODEL') return upstreamOfModel(database, accountId, name);
  return kind === 'JOB' ? upstreamOfJob(database, accountId, name) : [];
}

async function upstreamOfModel(database: Database, accountId: string, name: string): Promise<Neighbour[]> {
  const id = parseName(name, 'models', accountId)?.id;
  const model = id
    ? await database.selectFrom('models').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst()
    : undefined;
  const lineage = model ? model.lineage : (await findTombstones(database, accountId, [name])).get(name)?.facts.lineage;
  const job = model?.job_name ?? lineage?.job;
  if (job) return [{ name: job, kind: 'JOB', relation: 'job' }];
  return model?.base_model ? [{ name: model.base_model, kind: 'MODEL', relation: 'base model' }] : [];
}

async function upstreamOfJob(database: Database, accountId: string, name: string): Promise<Neighbour[]> {
  const id = parseName(name, 'fineTuningJobs', accountId)?.id;
  const job = id
    ? await database.selectFrom('jobs').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst()
    : undefined;
  if (job) {
    const { evaluationDataset } = job.settings;
    return [
      { name: job.dataset_name, kind: 'DATASET', relation: 'dataset' },
      ...(evaluationDataset ? [{ name: evaluationDataset, kind: 'DATASET' as const, relation: 'evaluation dataset' }] : []),
      ...(job.warm_start_from ? [{ name: job.warm_start_from, kind: 'MODEL' as const, relation: 'warm start' }] : []),
      { name: job.base_model, kind: 'MODEL', relation: 'base model' },
    ];
  }
  const lineage = await lineageOfJob(database, accountId, name);
  if (!lineage) return [];
  return [
    { name: lineage.dataset.name, kind: 'DATASET', relation: 'dataset', sha256: lineage.dataset.sha256 },
    ...(lineage.evaluationDataset
      ? [
          {
            name: lineage.evaluationDataset.name,
            kind: 'DATASET' as const,
            relation: 'evaluation dataset',
            sha256: lineage.evaluationDataset.sha256,
          },
        ]
      : []),
    ...(lineage.warmStart
      ? [{ name: lineage.warmStart.name, kind: 'MODEL' as const, relation: 'warm start', sha256: lineage.warmStart.sha256 }]
      : []),
    { name: lineage.baseModel.name, kind: 'MODEL', relation: 'base model' },
  ];
}

/** Of a job that is gone: what its model, or that one's tombstone, remembers. */
async function lineageOfJob(database: Database, accountId: string, name: string): Promise<Lineage | null> {
  const model = await database
    .selectFrom('models')
    .select('lineage')
    .where('account_id', '=', accountId)
    .where('job_name', '=', name)
    .executeTakeFirst();
  if (model) return model.lineage;
  const tombstone = await database
    .selectFrom('tombstones')
    .select('facts')
    .where('account_id', '=', accountId)
    .where(sql<boolean>`facts -> 'lineage' ->> 'job' = ${name}`)
    .executeTakeFirst();
  return tombstone?.facts.lineage ?? null;
}

/** What stands on a resource, one step on. */
export async function downstreamOf(database: Database, accountId: string, name: string, kind: LineageKind): Promise<Neighbour[]> {
  if (kind === 'DATASET') return downstreamOfDataset(database, accountId, name);
  if (kind === 'JOB') return downstreamOfJob(database, accountId, name);
  return kind === 'MODEL' ? downstreamOfModel(database, accountId, name) : [];
}

async function downstreamOfDataset(database: Database, accountId: string, name: string): Promise<Neighbour[]> {
  const { rows } = await sql<Neighbour>`
    select 'accounts/' || account_id || '/fineTuningJobs/' || id as name, 'JOB' as kind, 'job' as relation from jobs
    where account_id = ${accountId} and (dataset_name = ${name} or settings ->> 'evaluationDataset' = ${name})
    union
    select job_name, 'JOB', 'job' from models where account_id = ${accountId} and job_name is not null
      and (lineage -> 'dataset' ->> 'name' = ${name} or lineage -> 'evaluationDataset' ->> 'name' = ${name})
    order by name`.execute(database);
  return [...rows, ...(await schedulesNaming(database, accountId, 'datasets', name))];
}

async function downstreamOfJob(database: Database, accountId: string, name: string): Promise<Neighbour[]> {
  const models = await database
    .selectFrom('models')
    .select('id')
    .where('account_id', '=', accountId)
    .where('job_name', '=', name)
    .where('state', '=', 'READY')
    .execute();
  return models.map(({ id }) => ({ name: resourceName(accountId, 'models', id), kind: 'MODEL', relation: 'model' }));
}

async function downstreamOfModel(database: Database, accountId: string, name: string): Promise<Neighbour[]> {
  const id = parseName(name, 'models', accountId)?.id ?? '';
  const { rows } = await sql<Neighbour>`
    select 'accounts/' || account_id || '/aliases/' || id as name, 'ALIAS' as kind, 'alias' as relation from aliases
    where account_id = ${accountId} and model_id = ${id}
    union all
    select 'accounts/' || account_id || '/models/' || model_id || '/exports/' || id, 'EXPORT', 'export' from exports
    where account_id = ${accountId} and model_id = ${id}
    union
    select 'accounts/' || account_id || '/fineTuningJobs/' || id, 'JOB', 'job' from jobs
    where account_id = ${accountId} and (warm_start_from = ${name} or base_model = ${name})
    union
    select job_name, 'JOB', 'job' from models where account_id = ${accountId} and job_name is not null
      and (lineage -> 'warmStart' ->> 'name' = ${name} or lineage -> 'baseModel' ->> 'name' = ${name})
    order by kind, name`.execute(database);
  return [...rows, ...(await schedulesNaming(database, accountId, 'models', name))];
}

/** Schedules whose runs are to use it, by ID or by name. */
export async function schedulesNaming(
  database: Database,
  accountId: string,
  collection: 'datasets' | 'models',
  name: string,
): Promise<Neighbour[]> {
  const id = parseName(name, collection, accountId)?.id ?? name;
  const fields =
    collection === 'datasets'
      ? ['$.data.dataset', '$.data.merge.datasets[*]', '$.**.evaluationDataset']
      : ['$.fineTuning.baseModel', '$.fineTuning.warmStartFrom', '$.variants[*].baseModel', '$.variants[*].warmStartFrom'];
  const names = sql.join(
    fields.map(
      (field) =>
        sql`jsonb_path_exists(retraining, ${`${field} ? (@ == $name || @ == $id)`}::jsonpath, ${JSON.stringify({ name, id })}::jsonb)`,
    ),
    sql` or `,
  );
  const { rows } = await sql<{ id: string }>`
    select id from schedules where account_id = ${accountId} and not deleting and (${names}) order by id`.execute(database);
  return rows.map((row) => ({ name: resourceName(accountId, 'schedules', row.id), kind: 'SCHEDULE', relation: 'schedule' }));
}
