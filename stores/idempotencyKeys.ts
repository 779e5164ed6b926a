/** Idempotency keys: which request each came with first. */
import type { Database } from './database.js';

/** False when the key is already another request's. */
export async function claimIdempotencyKey(database: Database, accountId: string, key: string, requestHash: string): Promise<boolean> {
  await database
    .insertInto('idempotency_keys')
    .values({ account_id: accountId, key, request_hash: requestHash })
    .onConflict((conflict) => conflict.columns(['account_id', 'key']).doNothing())
    .execute();
  const row = await database
    .selectFrom('idempotency_keys')
    .select('request_hash')
    .where('account_id', '=', accountId)
    .where('key', '=', key)
    .executeTakeFirst();
  return row?.request_hash === requestHash;
}
