/** The query of a list, read and checked, and its reply: one function for all resources. */
import { sql, type RawBuilder, type Selectable } from 'kysely';
import type { Static, TSchema } from 'typebox';
import type { ListQuery } from '../schemas/wire.js';
import type { Database, Tables } from '../stores/database.js';
import { listPage, listVersions, type ListedTable, type PageRequest } from '../stores/lists.js';
import { parseFilter } from './filter.js';
import type { JobTexts } from './jobTexts.js';
import type { ListFields } from './listFields.js';
import { parseOrderBy } from './orderBy.js';
import { openPageToken, parsePageSize, sealPageToken } from './paging.js';
import { compileReadMask } from './readMask.js';

export interface ListOf<T extends ListedTable, Resource extends object> {
  table: T;
  /** The key of the reply that holds the resources. */
  collection: string;
  fields: ListFields;
  schema: TSchema;
  view: (row: Selectable<Tables[T]>) => Resource;
  /** Told apart by this column within an account; `id` by default. */
  idColumn?: string;
  /** Narrows the list further than the account. */
  where?: RawBuilder<boolean>;
  /** Rows from elsewhere beside the table's. */
  moreRows?: object[];
  /** What else a page token belongs to. */
  binding?: string;
}

export async function answerList<T extends ListedTable, Resource extends object>(
  database: Database,
  secretKey: string,
  accountId: string,
  query: Static<typeof ListQuery>,
  list: ListOf<T, Resource>,
): Promise<Record<string, unknown>> {
  const mask = compileReadMask<Resource>(query.readMask, list.schema);
  const { request, seal } = readQuery(secretKey, accountId, query, list);
  const page = await listPage(database, list.table, request);
  return {
    [list.collection]: page.rows.map((row) => mask(list.view(row))),
    nextPageToken: seal(page.next),
    totalSize: page.total,
  };
}

/** A list of whole jobs, as JSON in UTF-8. */
export async function answerJobList<Resource extends object>(
  database: Database,
  secretKey: string,
  accountId: string,
  query: Static<typeof ListQuery>,
  list: ListOf<'jobs', Resource>,
  textsOf: JobTexts,
  serialize: (job: object) => string,
): Promise<Buffer> {
  const { request, seal } = readQuery(secretKey, accountId, query, list);
  const page = await listVersions(database, list.table, request);
  const texts = await textsOf(page.rows, serialize);
  const rest = JSON.stringify({ nextPageToken: seal(page.next), totalSize: page.total });
  const items = texts.flatMap((text, index) => (index === 0 ? [text] : [COMMA, text]));
  return Buffer.concat([Buffer.from(`{"${list.collection}":[`), ...items, Buffer.from(`],${rest.slice(1)}`)]);
}

const COMMA = Buffer.from(',');

function readQuery<T extends ListedTable, Resource extends object>(
  secretKey: string,
  accountId: string,
  query: Static<typeof ListQuery>,
  list: ListOf<T, Resource>,
): { request: PageRequest; seal: (next: string[] | null) => string } {
  const limit = parsePageSize(query.pageSize);
  const filter = parseFilter(query.filter ?? '', list.fields);
  const order = parseOrderBy(query.orderBy ?? '', list.fields, list.idColumn);
  const binding = [accountId, list.collection, query.filter ?? '', query.orderBy ?? '', list.binding ?? ''];
  const after = query.pageToken ? openPageToken(secretKey, binding, query.pageToken) : undefined;
  const where = filter && list.where ? sql<boolean>`(${filter}) and (${list.where})` : (filter ?? list.where);
  return {
    request: { accountId, where, order, after, limit, moreRows: list.moreRows },
    seal: (next) => (next ? sealPageToken(secretKey, binding, next) : ''),
  };
}
