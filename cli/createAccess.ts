/** `temper create user|api-key|secret|account`: who may use what, and with what. */
import { Option, type Command } from 'commander';
import { accountOf, callApi, type ApiRequest } from './client.js';
import { UsageError } from './failures.js';
import { idOf, plainText } from './format.js';
import { isId, resourceName } from '../schemas/names.js';
import { ROLES } from '../schemas/roles.js';
import { ACCOUNT, API_KEY, collectionPath, SECRET, USER, WEBHOOK } from './resources.js';
import { readSecretValue } from './secretValue.js';
import { openSession, printRequest, printResource, type Session } from './session.js';

export function defineCreateUser(command: Command): void {
  command
    .description('Add a user to the account')
    .argument('<id>', 'ID of the user')
    .option('--email <address>', 'e-mail address')
    .option('--display-name <name>', 'name for people')
    .addOption(new Option('--role <role>', 'what the user may do').choices([...ROLES]).default('user'))
    .option('--service-account', 'a program: it has API keys, and nobody signs in as it')
    .addHelpText('after', '\nExample:\n  temper create user alice --email alice@example.com')
    .action(
      async (id: string, options: { email?: string; displayName?: string; role: string; serviceAccount?: boolean }, self: Command) => {
        const session = openSession(self);
        const path = `${await collectionPath(session, USER)}?userId=${encodeURIComponent(requireId(id, 'a user'))}`;
        await create(session, { method: 'POST', path, body: { ...options } }, (user) => [
          idOf(user.name),
          `Created ${plainText(user.name)}`,
        ]);
      },
    );
}

export function defineCreateApiKey(command: Command): void {
  command
    .description('Make an API key; it is shown once')
    .option('--user <id>', 'whose key (default: yours)')
    .option('--display-name <name>', 'what the key is for')
    .option('--expire-time <time>', 'when it stops to work, as in 2027-01-31T00:00:00Z (default: never)')
    .addHelpText('after', '\nExample:\n  temper create api-key --display-name "nightly retraining"')
    .action(async ({ user, ...key }: { user?: string; displayName?: string; expireTime?: string }, self: Command) => {
      const session = openSession(self);
      const path = await collectionPath(session, API_KEY, user);
      await create(session, { method: 'POST', path, body: { apiKey: key } }, (made) => [
        plainText(made.key),
        `Created the key ${plainText(made.keyId)}:\n\n  ${plainText(made.key)}\n\nKeep it now: it is not shown again.`,
      ]);
    });
}

export function defineCreateSecret(command: Command): void {
  command
    .description('Store a secret, encrypted, for jobs to use by name')
    .argument('<id>', 'ID of the secret')
    .option('--key-name <name>', 'what the secret is called where it is used, as in WANDB_API_KEY (default: from the ID)')
    .option('--value <value>', 'the secret; without it, it is read from stdin')
    .addHelpText('after', '\nExample:\n  temper create secret wandb-key < key.txt')
    .action(async (id: string, options: { keyName?: string; value?: string }, self: Command) => {
      const session = openSession(self);
      const name = resourceName(await accountOf(session.connection), 'secrets', requireId(id, 'a secret'));
      const keyName = options.keyName ?? id.toUpperCase().replaceAll('-', '_');
      const body = { name, keyName, value: session.dryRun ? '(hidden)' : await readSecretValue(options.value) };
      await create(session, { method: 'POST', path: await collectionPath(session, SECRET), body }, (secret) => [
        idOf(secret.name),
        `Stored ${plainText(secret.name)}`,
      ]);
    });
}

export function defineCreateWebhook(command: Command): void {
  command
    .description('Have an address told of what happens; its signing secret is shown once')
    .argument('[id]', 'ID of the webhook (default: made)')
    .requiredOption('--url <url>', 'where to POST, as in https://example.com/hooks')
    .requiredOption('--event-types <types>', 'what to tell, parted by commas, as in fine_tuning.job.succeeded,fine_tuning.job.failed')
    .option('--display-name <name>', 'name for people')
    .addHelpText('after', '\nExample:\n  temper create webhook --url https://example.com/hooks --event-types fine_tuning.job.succeeded')
    .action(async (id: string | undefined, options: { url: string; eventTypes: string; displayName?: string }, self: Command) => {
      const session = openSession(self);
      const { url, displayName } = options;
      const eventTypes = options.eventTypes.split(',').map((type) => type.trim());
      const body = { url, eventTypes, displayName, ...(id === undefined ? {} : { webhookId: requireId(id, 'a webhook') }) };
      await create(session, { method: 'POST', path: await collectionPath(session, WEBHOOK), body }, (webhook) => [
        idOf(webhook.name),
        `Created ${plainText(webhook.name)}` +
          (webhook.secret ? `, which signs with\n\n  ${plainText(webhook.secret)}\n\nKeep it now: it is not shown again.` : ''),
      ]);
    });
}

export function defineCreateAccount(command: Command): void {
  command
    .description('Make an account with its first user, admin (for operators: admins of the deployment’s own account)')
    .argument('<id>', 'ID of the account')
    .option('--display-name <name>', 'name for people')
    .option('--email <address>', 'address of its first user')
    .addHelpText(
      'after',
      '\nExample:\n  temper create account research --email ada@example.com\n  temper -a research create api-key --user admin',
    )
    .action(async (id: string, options: { displayName?: string; email?: string }, self: Command) => {
      const session = openSession(self);
      const body = { accountId: requireId(id, 'an account'), account: { ...options } };
      await create(session, { method: 'POST', path: await collectionPath(session, ACCOUNT), body }, (account) => [
        idOf(account.name),
        `Created ${plainText(account.name)}`,
      ]);
    });
}

async function create(
  session: Session,
  request: ApiRequest,
  describe: (made: Record<string, unknown>) => [id: string, text: string],
): Promise<void> {
  if (session.dryRun) return printRequest(session, request);
  const made = await callApi(session.connection, request);
  printResource(session, made, ...describe(made));
}

function requireId(id: string, what: string): string {
  if (isId(id)) return id;
  throw new UsageError(`"${id}" cannot be the ID of ${what}: use 1 to 63 characters of a-z, 0-9 and hyphen, with no hyphen at either end`);
}
