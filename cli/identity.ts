/** `temper whoami`, `set-api-key` and `version`: which server, which account, which program. */
import type { Command } from 'commander';
import { TEMPER_VERSION } from '../schemas/version.js';
import { accountOf, callApi, type Resource } from './client.js';
import { storeConfiguration } from './configuration.js';
import { UsageError } from './failures.js';
import { formatFields, plainText } from './format.js';
import { connectionFlags, openSession, print, printResource, type GlobalOptions } from './session.js';

export function defineWhoami(command: Command): void {
  command.description('Show which server, account and user commands use').action(async (_: unknown, self: Command) => {
    const session = openSession(self);
    const account = await accountOf(session.connection);
    const identity = await callApi<Resource>(session.connection, { method: 'GET', path: '/verifyApiKey' });
    const text = formatFields([
      ['Server', session.connection.apiUrl],
      ['Account', account],
      ['User', plainText(identity.userId)],
      ['Email', plainText(identity.email)],
      ['Role', plainText(identity.role)],
    ]);
    printResource(session, identity, account, text);
  });
}

export function defineSetApiKey(command: Command): void {
  command
    .description('Store an API key for all later commands; --api-url and --account-id are stored with it')
    .argument('<key>', 'the API key')
    .addHelpText('after', '\nExample:\n  temper set-api-key tk_... --api-url https://temper.example.com')
    .action((key: string, _: unknown, self: Command) => {
      if (!/^[\x21-\x7e]+$/.test(key)) throw new UsageError('an API key has no spaces and no special characters: was it pasted whole?');
      const { apiUrl, accountId } = connectionFlags(self);
      const path = storeConfiguration({ apiKey: key, ...(apiUrl ? { apiUrl } : {}), ...(accountId ? { accountId } : {}) });
      if (!self.optsWithGlobals<GlobalOptions>().quiet) print(`Stored in ${path}`);
    });
}

export function defineVersion(command: Command): void {
  command.description('Show the version').action(() => print(`temper ${TEMPER_VERSION}`));
}
