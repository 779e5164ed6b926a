/**
 * One page of an account's rows, by keyset: the next page begins after the last row's own values, so rows that are added or
 * removed meanwhile shift nothing. Filter and order come as SQL expressions that the caller built from declared fields.
 */
import { sql, type RawBuilder, type Selectable } from 'kysely';
import { countRows } from './counts.js';
import type { Database, Tables } from './database.js';

export type ListedTable =
  | 'datasets'
  | 'jobs'
  | 'models'
  | 'exports'
  | 'users'
  | 'secrets'
  | 'api_keys'
  | 'audit_events'
  | 'schedules'
  | 'retraining_runs'
  | 'aliases'
  | 'janitor_reports'
  | 'webhooks';

export interface OrderTerm {
  expression: RawBuilder<unknown>;
  /** Postgres' type of the expression: how its text form is read back. */
  type: 'text' | 'float8' | 'timestamptz' | 'bool';
  descending: boolean;
}

export interface PageRequest {
  accountId: string;
  where?: RawBuilder<boolean>;
  /** The last term must tell any two rows apart. */
  order: OrderTerm[];
  /** The order's values in the row before the page's first, as text. */
  after?: string[];
  limit: number;
  /** Rows from elsewhere, in the table's shape, listed with its own. */
  moreRows?: object[];
}

export interface Page<Row> {
  rows: Row[];
  /** Rows that match, on all pages; of a long list it may be two seconds old. */
  total: number;
  /** `after` of the next page; null when this is the last. */
  next: string[] | null;
}

/** Which version of a row there is: each committed change gives it another. */
export interface RowVersion {
  uid: string;
  version: string;
}

export function listPage<T extends ListedTable>(database: Database, table: T, request: PageRequest): Promise<Page<Selectable<Tables[T]>>> {
  return readPage(database, table, request, sql`*`);
}

/** The same page without the rows themselves, for callers who may know them already. */
export function listVersions(database: Database, table: 'jobs', request: PageRequest): Promise<Page<RowVersion>> {
  return readPage(database, table, request, sql`uid, xmin::text as version`);
}

async function readPage<Row>(
  database: Database,
  table: ListedTable,
  request: PageRequest,
  columns: RawBuilder<unknown>,
): Promise<Page<Row>> {
  const own = sql.table(table);
  const more = JSON.stringify(request.moreRows ?? []);
  const source = request.moreRows?.length
    ? sql`(select * from ${own} union all select * from jsonb_populate_recordset(null::${own}, ${more}::jsonb)) as ${own}`
    : own;
  const matches = sql<boolean>`account_id = ${request.accountId} and (${request.where ?? sql`true`})`;
  const cursor = sql.join(request.order.map((term) => sql`(${term.expression})::text`));
  const order = sql.join(request.order.map((term) => sql`${term.expression} ${term.descending ? sql`desc` : sql`asc`}`));
  const page = await sql<Row & { page_cursor: string[] }>`
    select ${columns}, array[${cursor}] as page_cursor from ${source}
    where ${matches} and ${request.after ? isAfter(request.order, request.after) : sql`true`}
    order by ${order} limit ${request.limit + 1}`.execute(database);
  const rows = page.rows.slice(0, request.limit);
  const next = page.rows.length > request.limit ? (rows.at(-1)?.page_cursor ?? null) : null;
  // A list that ends on its first page has been counted by reading it.
  const isAll = !request.after && next === null;
  const total = isAll
    ? rows.length
    : await countRows(database, sql<{ total: number }>`select count(*) as total from ${source} where ${matches}`);
  return { rows, total, next };
}

/** (a > x) or (a = x and b > y) or …: the row-wise comparison that SQL has only for one direction. */
function isAfter(order: OrderTerm[], after: string[]): RawBuilder<boolean> {
  const values = order.map((term, index) => sql`${after[index]}::${sql.raw(term.type)}`);
  const alternatives = order.map((term, index) => {
    const equal = order.slice(0, index).map((earlier, position) => sql`${earlier.expression} = ${values[position]}`);
    const beyond = sql`${term.expression} ${term.descending ? sql`<` : sql`>`} ${values[index]}`;
    return sql`(${sql.join([...equal, beyond], sql` and `)})`;
  });
  return sql<boolean>`(${sql.join(alternatives, sql` or `)})`;
}
