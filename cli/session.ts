/** What every command shares: where it sends its requests and how it prints. */
import type { Command } from 'commander';
import type { ApiRequest, Connection } from './client.js';
import { resolveConfiguration, type PartialConfiguration } from './configuration.js';
import { renewSignIn } from './identityProvider.js';
import { openStatusLine, type StatusLine } from './statusLine.js';

export interface GlobalOptions {
  accountId?: string;
  apiKey?: string;
  apiUrl?: string;
  output: 'text' | 'json';
  quiet?: boolean;
  dryRun?: boolean;
}

export interface Session {
  connection: Connection;
  json: boolean;
  quiet: boolean;
  dryRun: boolean;
  status: StatusLine;
}

export function openSession(command: Command): Session {
  const options = command.optsWithGlobals<GlobalOptions>();
  const status = openStatusLine({ quiet: options.quiet ?? false });
  const configuration = resolveConfiguration(connectionFlags(command));
  const connection: Connection = {
    ...configuration,
    ...(configuration.isSignIn ? { renew: () => renewSignIn(configuration.apiUrl) } : {}),
    onRetry: (reason, waitMs) => status.show(`${reason} Trying again in ${Math.ceil(waitMs / 1000)}s.`),
  };
  return { connection, json: options.output === 'json', quiet: options.quiet ?? false, dryRun: options.dryRun ?? false, status };
}

export function connectionFlags(command: Command): PartialConfiguration {
  const { apiUrl, apiKey, accountId } = command.optsWithGlobals<GlobalOptions>();
  return { apiUrl, apiKey, accountId };
}

/** Exactly what the API answered. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The result of a command that is one resource: JSON, its ID alone with --quiet, or words. */
export function printResource(session: Session, resource: unknown, id: string, text: string): void {
  session.status.clear();
  if (session.json) printJson(resource);
  else print(session.quiet ? id : text);
}

/** --dry-run: the request that would have been sent. */
export function printRequest(session: Session, { method, path, body }: ApiRequest): void {
  const url = session.connection.apiUrl + path;
  if (session.json) return printJson({ method, url, ...(body === undefined ? {} : { body }) });
  print(`${method} ${url}`);
  if (body !== undefined) printJson(body);
}

/** Columns of the terminal; undefined when the output goes to a file or a pipe. */
export function terminalWidth(): number | undefined {
  return process.stdout.isTTY ? process.stdout.columns : undefined;
}
