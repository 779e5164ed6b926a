/** `temper delete`: one resource, for ever. */
import type { Command } from 'commander';
import { callApi, type ApiRequest } from './client.js';
import { API_KEY, collectionPath, DATASET, JOB, MODEL, resourcePath, type ResourceType } from './resources.js';
import { openSession, printRequest, printResource } from './session.js';

export function defineDelete(command: Command, type: ResourceType): void {
  const isKey = type === API_KEY;
  command
    .description(type === JOB ? 'Delete a fine-tuning job, cancelling it if it runs; its model stays' : `Delete a ${type.noun}`)
    .argument(isKey ? '<key-id>' : '<name>', isKey ? 'ID of the key, as listed' : `ID or full name of the ${type.noun}`);
  if (type === DATASET || type === MODEL)
    command.option('--force', 'also when models were made from it or schedules use it; a tombstone keeps their lineage readable');
  if (isKey) command.option('--user <id>', 'whose key (default: yours)');
  command
    .addHelpText('after', `\nExample:\n  temper delete ${type.noun} ${isKey ? 'KEY_ID' : `my-${type.noun}`}`)
    .action(async (name: string, options: { user?: string; force?: boolean }, self: Command) => {
      const session = openSession(self);
      const request: ApiRequest = isKey
        ? { method: 'POST', path: `${await collectionPath(session, type, options.user)}:delete`, body: { keyId: name } }
        : { method: 'DELETE', path: `${await resourcePath(session, type, name)}${options.force ? '?force=true' : ''}` };
      if (session.dryRun) return printRequest(session, request);
      const answer = await callApi(session.connection, request);
      printResource(session, answer, name, `Deleted ${type.noun} ${name}`);
    });
}
