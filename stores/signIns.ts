/** People who sign in: which of an account's users they are. Bound to the provider's subject at the first sign-in, by verified address. */
import { sql } from 'kysely';
import type { Caller } from './apiKeys.js';
import type { Database } from './database.js';
import type { UserRecord } from './users.js';

/** What the identity provider vouches for. */
export interface Identity {
  issuer: string;
  subject: string;
  /** In small letters; null when the provider gave none, or has not verified it. */
  verifiedEmail: string | null;
}

/** In place of an API key's ID. */
export const SIGN_IN_KEY_ID = 'sign-in';

/**
 * The users that a person is, the longest known first. One who signs in for the first time is found by the address that the
 * provider has verified; a user who is bound to another person is not, whatever the address. Service accounts are nobody.
 */
export async function findSignedIn(database: Database, identity: Identity): Promise<UserRecord[]> {
  const { issuer, subject, verifiedEmail } = identity;
  const users = await database
    .selectFrom('users')
    .selectAll()
    .where('service_account', '=', false)
    .where(
      sql<boolean>`((sign_in_issuer = ${issuer} and sign_in_subject = ${subject})
        or (sign_in_subject is null and lower(email) = ${verifiedEmail}))`,
    )
    .orderBy('create_time')
    .orderBy('account_id')
    .execute();
  if (users.some((user) => user.sign_in_subject === null))
    await database
      .updateTable('users')
      .set({ sign_in_issuer: issuer, sign_in_subject: subject })
      .where('service_account', '=', false)
      .where('sign_in_subject', 'is', null)
      .where(sql<boolean>`lower(email) = ${verifiedEmail}`)
      .execute();
  return users;
}

/**
 * Makes a user of a person whom no account knows; null when the address is a user's already, who then is bound to somebody else,
 * or a service account.
 */
export async function createSignedIn(
  database: Database,
  identity: Identity,
  user: { accountId: string; id: string; role: string },
): Promise<UserRecord | null> {
  const { issuer, subject, verifiedEmail } = identity;
  if (verifiedEmail === null) return null;
  const taken = await database
    .selectFrom('users')
    .select('id')
    .where(sql<boolean>`lower(email) = ${verifiedEmail}`)
    .executeTakeFirst();
  if (taken) return null;
  await database
    .insertInto('users')
    .values({
      account_id: user.accountId,
      id: user.id,
      email: verifiedEmail,
      role: user.role,
      sign_in_issuer: issuer,
      sign_in_subject: subject,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const [made] = await findSignedIn(database, identity);
  return made ?? null;
}

export function callerOf(user: UserRecord, accountIds: string[]): Caller {
  return { accountId: user.account_id, userId: user.id, email: user.email, role: user.role, keyId: SIGN_IN_KEY_ID, accountIds };
}
