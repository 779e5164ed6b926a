/** The account's own key of Weights & Biases: for jobs that name a project and bring no key, and OpenAI's, which cannot. */
import type { Database } from '../stores/database.js';
import type { SecretKeys } from '../stores/secretKeys.js';
import { readSecret } from '../stores/secrets.js';

export const WANDB_SECRET = 'wandb-api-key';

/** Null where the account has stored none. */
export async function readAccountWandbKey(database: Database, secretKeys: SecretKeys, accountId: string): Promise<string | null> {
  return (await readSecret(database, secretKeys, accountId, WANDB_SECRET))?.trim() || null;
}

/** The same for a request of a job in either shape; null also where it needs none. */
export async function findWandbKey(database: Database, secretKeys: SecretKeys, accountId: string, body: object): Promise<string | null> {
  const { wandbProject, wandbApiKey, wandbConfig } = body as {
    wandbProject?: string;
    wandbApiKey?: string;
    wandbConfig?: { project?: string; apiKey?: string };
  };
  const isWanted = (wandbProject && !wandbApiKey) || (wandbConfig?.project && !wandbConfig.apiKey);
  return isWanted ? readAccountWandbKey(database, secretKeys, accountId) : null;
}
