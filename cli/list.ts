/** `temper list`: the resources of an account, a page at a time. */
import { InvalidArgumentError, type Command } from 'commander';
import { callApi, type Resource } from './client.js';
import { formatTable, idOf } from './format.js';
import { ACCOUNT, API_KEY, collectionPath, EXPORT, pluralOf, RUN, type ResourceType } from './resources.js';
import { openSession, print, printJson, printRequest, terminalWidth, type Session } from './session.js';

interface ListOptions {
  filter?: string;
  orderBy?: string;
  pageSize?: number;
  pageToken?: string;
  paginate: boolean;
  user?: string;
  allAccounts?: boolean;
}
type Page = { nextPageToken?: string; totalSize?: number } & Resource;

export function defineList(command: Command, type: ResourceType): void {
  command
    .description(`List the ${pluralOf(type)} of ${type === RUN ? 'a schedule' : type === EXPORT ? 'a model' : 'an account'}`)
    .option('--filter <filter>', 'only those that match, as in google.aip.dev/160: state = "READY" AND createTime > "2026-01-01T00:00:00Z"')
    .option('--order-by <fields>', 'fields to order by, each with " desc" to turn it round: "createTime desc, name"')
    .option('--page-size <number>', 'at most so many (default 50, at most 200)', readPageSize)
    .option('--page-token <token>', 'go on where the list before ended')
    .option('--no-paginate', 'all of them');
  if (type === API_KEY) command.option('--user <id>', 'whose keys (default: yours)');
  if (type === ACCOUNT) command.option('--all-accounts', 'for operators: every account of the deployment');
  if (type === RUN) {
    command
      .argument('<schedule>', 'ID or full name of the schedule')
      .addHelpText('after', '\nExample:\n  temper list schedule-runs nightly --order-by "createTime desc"')
      .action(async (schedule: string, options: ListOptions, self: Command) => listResources(openSession(self), type, options, schedule));
    return;
  }
  if (type === EXPORT) {
    command
      .argument('<model>', 'ID, full name or alias of the model')
      .addHelpText('after', '\nExample:\n  temper list model-exports my-model')
      .action(async (model: string, options: ListOptions, self: Command) => listResources(openSession(self), type, options, model));
    return;
  }
  command
    .addHelpText('after', `\nExample:\n  temper list ${pluralOf(type)} --order-by "createTime desc"`)
    .action(async (options: ListOptions, self: Command) => listResources(openSession(self), type, options, options.user));
}

async function listResources(session: Session, type: ResourceType, options: ListOptions, parent?: string): Promise<void> {
  const collection = await collectionPath(session, type, parent);
  let page = await fetchPage(session, collection, options, options.pageToken);
  if (!page) return;
  const items = itemsOf(page, type);
  while (!options.paginate && page.nextPageToken) {
    page = (await fetchPage(session, collection, options, page.nextPageToken))!;
    items.push(...itemsOf(page, type));
  }
  session.status.clear();
  if (session.json) return printJson({ ...page, [type.collection]: items });
  if (session.quiet) return items.forEach((item) => print(idOf(item.name ?? item.keyId)));
  if (items.length === 0) return session.status.print(`No ${pluralOf(type)}${options.filter ? ' match the filter' : ''}.`);
  print(
    formatTable(
      type.columns.map(([title]) => title),
      items.map((item) => type.columns.map(([, cell]) => cell(item))),
      terminalWidth(),
    ),
  );
  if (page.nextPageToken) {
    const total = page.totalSize === undefined ? '' : ` of ${page.totalSize}`;
    session.status.print(`${items.length}${total} shown. More: --page-token ${page.nextPageToken}, or all with --no-paginate.`);
  }
}

/** Undefined after a dry run. */
async function fetchPage(
  session: Session,
  collection: string,
  options: ListOptions,
  pageToken: string | undefined,
): Promise<Page | undefined> {
  const query = new URLSearchParams();
  // All of them: in as few requests as the server allows.
  const pageSize = options.pageSize ?? (options.paginate ? undefined : 200);
  for (const [name, value] of Object.entries({
    pageSize,
    pageToken,
    filter: options.filter,
    orderBy: options.orderBy,
    allAccounts: options.allAccounts,
  })) {
    if (value !== undefined) query.set(name, String(value));
  }
  const path = query.size > 0 ? `${collection}?${query}` : collection;
  if (session.dryRun) return void printRequest(session, { method: 'GET', path });
  return callApi<Page>(session.connection, { method: 'GET', path });
}

function itemsOf(page: Page, type: ResourceType): Resource[] {
  return (page[type.collection] as Resource[] | undefined) ?? [];
}

function readPageSize(text: string): number {
  if (/^\d+$/.test(text) && Number(text) > 0) return Number(text);
  throw new InvalidArgumentError('It must be a whole number from 1 on.');
}
