/** `temper update alias` and `temper rollback alias`: which model a name points at. */
import type { Command } from 'commander';
import { callApi, type ApiRequest, type Connection, type Resource } from './client.js';
import { idOf, plainText } from './format.js';
import { ALIAS, MODEL, resourcePath } from './resources.js';
import { openSession, printRequest, printResource } from './session.js';

export function defineUpdateAlias(command: Command): void {
  command
    .description('Point an alias at a model; the alias is made if it is not there')
    .argument('<alias>', 'MODEL@ALIAS, such as support-bot@production')
    .requiredOption('--model <model>', 'ID or full name of the model')
    .option('--reason <text>', 'why, for its history')
    .addHelpText('after', '\nExample:\n  temper update alias support-bot@production --model support-bot-7 --reason "fewer refusals"')
    .action(async (name: string, { model, reason }: { model: string; reason?: string }, self: Command) => {
      const session = openSession(self);
      const target = (await resourcePath(session, MODEL, model)).slice('/v1/'.length);
      const body = { model: target, ...(reason === undefined ? {} : { reason }) };
      const request: ApiRequest = { method: 'PATCH', path: await resourcePath(session, ALIAS, name), body, idempotent: true };
      if (session.dryRun) return printRequest(session, request);
      const alias = await callApi(session.connection, request);
      printResource(session, alias, idOf(alias.name), `${idOf(alias.name)} is now ${plainText(alias.model)}`);
    });
}

export function defineAddVersion(command: Command): void {
  command
    .description('Number a model as the next version of a name: support-bot@v1, then @v2 …')
    .argument('<name>', 'what is versioned, such as support-bot')
    .requiredOption('--model <model>', 'ID, full name or alias of the model')
    .option('--reason <text>', 'why, for its history')
    .addHelpText(
      'after',
      '\nExample:\n  temper add-version support-bot --model support-bot-7 --reason "new refund policy"\n  temper update alias support-bot@production --model support-bot@v7',
    )
    .action(async (name: string, { model, reason }: { model: string; reason?: string }, self: Command) => {
      const session = openSession(self);
      const body = { model: (await resourcePath(session, MODEL, model)).slice('/v1/'.length), ...(reason === undefined ? {} : { reason }) };
      const request: ApiRequest = { method: 'POST', path: `${await resourcePath(session, MODEL, name)}:addVersion`, body };
      if (session.dryRun) return printRequest(session, request);
      const version = await callApi(session.connection, request);
      printResource(session, version, idOf(version.name), `${idOf(version.name)} is ${plainText(version.model)}`);
    });
}

export function defineRollback(command: Command): void {
  command
    .description('Point an alias at the model before, as far as that still exists')
    .argument('<alias>', 'MODEL@ALIAS, such as support-bot@production')
    .option('--reason <text>', 'why, for its history')
    .addHelpText('after', '\nExample:\n  temper rollback alias support-bot@production --reason "answers in French"')
    .action(async (name: string, { reason }: { reason?: string }, self: Command) => {
      const session = openSession(self);
      const path = await resourcePath(session, ALIAS, name);
      const request: ApiRequest = { method: 'POST', path: `${path}:rollback`, body: reason === undefined ? {} : { reason } };
      if (session.dryRun) return printRequest(session, request);
      const alias = await callApi(session.connection, request);
      printResource(session, alias, idOf(alias.name), `${idOf(alias.name)} is ${plainText(alias.model)} again`);
    });
}

export async function fetchMoves(connection: Connection, path: string): Promise<Resource[]> {
  const { moves = [] } = await callApi<{ moves?: Resource[] }>(connection, { method: 'GET', path: `${path}:listMoves` });
  return moves;
}
