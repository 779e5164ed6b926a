/** The query of a list, read and checked, and its reply: one function for all resources. */
import { sql, type RawBuilder, type Selectable } from 'kysely';
import type { Static, TSchema } from 'typebox';
import type { ListQuery } from '../schemas/wire.js';
import type { Database, Tables } from '../stores/database.js';
import { listPage, type ListedTable } from '../stores/lists.js';
import { parseFilter } from './filter.js';
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
  const limit = parsePageSize(query.pageSize);
  const filter = parseFilter(query.filter ?? '', list.fields);
  const order = parseOrderBy(query.orderBy ?? '', list.fields, list.idColumn);
  const mask = compileReadMask<Resource>(query.readMask, list.schema);
  const binding = [accountId, list.collection, query.filter ?? '', query.orderBy ?? '', list.binding ?? ''];
  const after = query.pageToken ? openPageToken(secretKey, binding, query.pageToken) : undefined;
  const where = filter && list.where ? sql<boolean>`(${filter}) and (${list.where})` : (filter ?? list.where);
  const page = await listPage(database, list.table, { accountId, where, order, after, limit, moreRows: list.moreRows });
  return {
    [list.collection]: page.rows.map((row) => mask(list.view(row))),
    nextPageToken: page.next ? sealPageToken(secretKey, binding, page.next) : '',
    totalSize: page.total,
  };
}
