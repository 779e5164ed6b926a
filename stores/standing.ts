/** What would lose its origin if a dataset or a model were deleted: models that were made from it, and schedules that are to use it. */
import { sql } from 'kysely';
import { resourceName } from '../schemas/names.js';
import type { Database } from './database.js';
import type { DatasetRecord } from './datasets.js';
import { schedulesNaming, type Neighbour } from './lineage.js';
import type { ModelRecord } from './models.js';

/** Told by content: another file under the same name is another origin. */
export async function standingOnDataset(database: Database, { account_id: account, id, sha256 }: DatasetRecord): Promise<Neighbour[]> {
  const name = resourceName(account, 'datasets', id);
  const { rows } = await sql<Neighbour>`
    select 'accounts/' || account_id || '/models/' || id as name, 'MODEL' as kind, 'model' as relation from models
    where account_id = ${account} and state = 'READY' and (
      (lineage -> 'dataset' ->> 'name' = ${name} and lineage -> 'dataset' ->> 'sha256' = ${sha256})
      or (lineage -> 'evaluationDataset' ->> 'name' = ${name} and lineage -> 'evaluationDataset' ->> 'sha256' = ${sha256})
    ) order by 1`.execute(database);
  return [...rows, ...(await schedulesNaming(database, account, 'datasets', name))];
}

export async function standingOnModel(database: Database, { account_id: account, id, uid, files }: ModelRecord): Promise<Neighbour[]> {
  const name = resourceName(account, 'models', id);
  const hashes = files.map(({ sha256 }) => sha256);
  const { rows } = await sql<Neighbour>`
    select 'accounts/' || account_id || '/models/' || id as name, 'MODEL' as kind, 'model' as relation from models
    where account_id = ${account} and uid <> ${uid} and state = 'READY' and (
      base_model = ${name} or (lineage -> 'warmStart' ->> 'name' = ${name} and lineage -> 'warmStart' ->> 'sha256' = any(${hashes}::text[]))
    ) order by 1`.execute(database);
  return [...rows, ...(await schedulesNaming(database, account, 'models', name))];
}
