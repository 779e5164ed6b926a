/** Aliases of models: which model each points at, and every move of it. A move is one transaction under the alias's lock. */
import { sql, type Selectable } from 'kysely';
import { TemperError } from '../schemas/errors.js';
import { EARLIER_MODELS_KEPT } from '../schemas/limits.js';
import type { AliasesTable, AliasMovesTable, Database } from './database.js';

export type AliasRecord = Selectable<AliasesTable>;
export type AliasMoveRecord = Selectable<AliasMovesTable>;

export interface Move {
  accountId: string;
  id: string;
  modelId: string;
  kind: 'MOVE' | 'PROMOTION' | 'VERSION';
  /** Names the move for ever: a second one of the same key changes nothing. */
  key: string;
  by: string;
  reason: string;
  /** Only if the alias points at this model (null: at none yet); undefined: wherever it points. */
  expected?: string | null;
}

export function findAlias(database: Database, accountId: string, id: string): Promise<AliasRecord | undefined> {
  return database.selectFrom('aliases').selectAll().where('account_id', '=', accountId).where('id', '=', id).executeTakeFirst();
}

/** IDs of the aliases that point at a model. */
export async function aliasesOf(database: Database, accountId: string, modelId: string): Promise<string[]> {
  const rows = await database
    .selectFrom('aliases')
    .select('id')
    .where('account_id', '=', accountId)
    .where('model_id', '=', modelId)
    .orderBy('id')
    .execute();
  return rows.map(({ id }) => id);
}

/** The alias as it is, for the rest of the transaction; the lock also holds for one that is not there yet. */
async function lockAlias(transaction: Database, accountId: string, id: string): Promise<AliasRecord | undefined> {
  await sql`select pg_advisory_xact_lock(hashtext(${`alias ${accountId}/${id}`}))`.execute(transaction);
  return findAlias(transaction, accountId, id);
}

/** Makes the alias where there is none. Null when it is not where it was expected: then nothing has moved. */
export function moveAlias(database: Database, move: Move): Promise<AliasRecord | null> {
  return database.transaction().execute((transaction) => moveAliasIn(transaction, move));
}

async function moveAliasIn(transaction: Database, move: Move): Promise<AliasRecord | null> {
  const { accountId, id, modelId } = move;
  const alias = await lockAlias(transaction, accountId, id);
  const made = await transaction
    .selectFrom('alias_moves')
    .select('sequence')
    .where('account_id', '=', accountId)
    .where('alias_id', '=', id)
    .where('key', '=', move.key)
    .executeTakeFirst();
  if (alias && made) return alias;
  if (move.expected !== undefined && (alias?.model_id ?? null) !== move.expected) return null;
  const target = await transaction
    .selectFrom('models')
    .select('state')
    .where('account_id', '=', accountId)
    .where('id', '=', modelId)
    .forShare()
    .executeTakeFirst();
  if (target?.state !== 'READY') throw notReady(accountId, modelId, target?.state);
  if (alias?.model_id === modelId) return alias;
  if (alias?.is_version)
    throw new TemperError('ILLEGAL_STATE', `${id} is a version: it stays with ${alias.model_id}. Move an alias, or add a version.`);
  const moves = (alias?.moves ?? 0) + 1;
  const earlier = alias ? [...alias.earlier, alias.model_id].slice(-EARLIER_MODELS_KEPT) : [];
  const moved = await transaction
    .insertInto('aliases')
    .values({
      account_id: accountId,
      id,
      model_id: modelId,
      earlier: JSON.stringify(earlier),
      moves,
      created_by: move.by,
      is_version: move.kind === 'VERSION',
    })
    .onConflict((conflict) =>
      conflict
        .columns(['account_id', 'id'])
        .doUpdateSet({ model_id: modelId, earlier: JSON.stringify(earlier), moves, update_time: sql`now()` }),
    )
    .returningAll()
    .executeTakeFirstOrThrow();
  await transaction
    .insertInto('alias_moves')
    .values({
      account_id: accountId,
      alias_id: id,
      sequence: moves,
      key: move.key,
      kind: move.kind,
      from_model: alias?.model_id ?? null,
      to_model: modelId,
      moved_by: move.by,
      reason: move.reason,
    })
    .execute();
  return moved;
}

/** Back to the model before, as far as it still exists. @throws TemperError ILLEGAL_STATE when there is none */
export async function rollBackAlias(
  database: Database,
  { accountId, id, key, by, reason }: { accountId: string; id: string; key: string; by: string; reason: string },
): Promise<AliasRecord | null> {
  return database.transaction().execute(async (transaction) => {
    const alias = await lockAlias(transaction, accountId, id);
    if (!alias) return null;
    const earlier = [...alias.earlier];
    let target: string | undefined;
    while (target === undefined && earlier.length > 0) {
      const candidate = earlier.pop()!;
      const model = await transaction
        .selectFrom('models')
        .select('state')
        .where('account_id', '=', accountId)
        .where('id', '=', candidate)
        .forShare()
        .executeTakeFirst();
      if (model?.state === 'READY' && candidate !== alias.model_id) target = candidate;
    }
    if (target === undefined)
      throw new TemperError('ILLEGAL_STATE', `${id} has pointed at no other model that still exists: there is nothing to roll back to.`);
    const moves = alias.moves + 1;
    await transaction
      .insertInto('alias_moves')
      .values({
        account_id: accountId,
        alias_id: id,
        sequence: moves,
        key,
        kind: 'ROLLBACK',
        from_model: alias.model_id,
        to_model: target,
        moved_by: by,
        reason,
      })
      .execute();
    return transaction
      .updateTable('aliases')
      .set({ model_id: target, earlier: JSON.stringify(earlier), moves, update_time: sql`now()` })
      .where('account_id', '=', accountId)
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
  });
}

/** The next version of a name: `support-bot@v3`. The same model twice in a row is one version. */
export async function addVersion(
  database: Database,
  { accountId, name, modelId, by, reason }: { accountId: string; name: string; modelId: string; by: string; reason: string },
): Promise<AliasRecord> {
  return database.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(hashtext(${`version ${accountId}/${name}`}))`.execute(transaction);
    const latest = await transaction
      .selectFrom('aliases')
      .selectAll()
      .where('account_id', '=', accountId)
      .where('is_version', '=', true)
      .where(sql<boolean>`split_part(id, '@', 1) = ${name}`)
      .orderBy('create_time', 'desc')
      .limit(1)
      .executeTakeFirst();
    if (latest?.model_id === modelId) return latest;
    for (;;) {
      const { last } = await transaction
        .insertInto('version_numbers')
        .values({ account_id: accountId, model_name: name, last: 1 })
        .onConflict((conflict) => conflict.columns(['account_id', 'model_name']).doUpdateSet({ last: sql`version_numbers.last + 1` }))
        .returning('last')
        .executeTakeFirstOrThrow();
      const id = `${name}@v${last}`;
      // An alias that somebody has called so before.
      if (await findAlias(transaction, accountId, id)) continue;
      return (await moveAliasIn(transaction, { accountId, id, modelId, kind: 'VERSION', key: 'version', by, reason }))!;
    }
  });
}

export function listMoves(database: Database, accountId: string, id: string): Promise<AliasMoveRecord[]> {
  return database
    .selectFrom('alias_moves')
    .selectAll()
    .where('account_id', '=', accountId)
    .where('alias_id', '=', id)
    .orderBy('sequence', 'desc')
    .execute();
}

export async function deleteAlias(database: Database, accountId: string, id: string): Promise<void> {
  await database.deleteFrom('aliases').where('account_id', '=', accountId).where('id', '=', id).execute();
}

function notReady(accountId: string, modelId: string, state: string | undefined): TemperError {
  const name = `accounts/${accountId}/models/${modelId}`;
  return state === undefined
    ? new TemperError('MODEL_NOT_FOUND', `${name} was not found, or you have no access to it.`)
    : new TemperError('MODEL_NOT_READY', `${name} is ${state}: an alias can only point at a READY model.`);
}
