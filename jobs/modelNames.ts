/** Names of models as users write them: an ID, a resource name, or an alias in place of either. */
import { resourceName } from '../schemas/names.js';
import { findAlias } from '../stores/aliases.js';
import type { Database } from '../stores/database.js';

/** The `m@a` of `m@a` or `accounts/ACCOUNT/models/m@a`; null when it is no alias of the account. */
export function parseAlias(text: string, accountId: string): string | null {
  const prefix = `${resourceName(accountId, 'models', '')}`;
  const id = text.startsWith(prefix) ? text.slice(prefix.length) : text;
  return ALIAS.test(id) ? id : null;
}

const ALIAS = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** The name of the model that an alias points at now; anything else comes back as it is, an alias that points at nothing too. */
export async function resolveModelName(database: Database, accountId: string, given: string): Promise<string> {
  const alias = parseAlias(given, accountId);
  const found = alias ? await findAlias(database, accountId, alias) : undefined;
  return found ? resourceName(accountId, 'models', found.model_id) : given;
}
