/** The fields by which a resource's lists can be filtered and ordered: declared one by one, nothing else reaches SQL. */
import { sql, type RawBuilder } from 'kysely';

export type ListFieldType = 'text' | 'number' | 'time' | 'boolean';

export interface ListField {
  type: ListFieldType;
  /** Gives the field's value as the API shows it; never null, but for times. */
  expression: RawBuilder<unknown>;
  /** The same as comparing the expression with a text, but by columns alone, which an index may serve; not true where they are null. */
  equals?: (value: string) => RawBuilder<boolean>;
  differs?: (value: string) => RawBuilder<boolean>;
  /** For text with a closed set of values. */
  values?: readonly string[];
  /** Ordering by it uses this instead: the same order, cheaper. */
  orderExpression?: RawBuilder<unknown>;
  /** False where the value can be null, which has no place in a keyset. */
  orderable?: boolean;
}
export type ListFields = Record<string, ListField>;

export const text = (column: string, values?: readonly string[]): ListField => ({
  type: 'text',
  expression: sql`coalesce(${sql.ref(column)}, '')`,
  equals: (value) => (value === '' ? sql`coalesce(${sql.ref(column)}, '') = ''` : sql`${sql.ref(column)} = ${value}::text`),
  values,
});
export const time = (column: string): ListField => ({ type: 'time', expression: sql.ref(column) });
export const optionalTime = (column: string): ListField => ({ type: 'time', expression: sql.ref(column), orderable: false });
export const number = (expression: RawBuilder<unknown>): ListField => ({ type: 'number', expression: sql`(${expression})::float8` });

/** `accounts/a/<collection>/<id>`; within an account its order is the ID's. */
export const name = (collection: string): ListField => ({
  type: 'text',
  expression: sql`('accounts/' || account_id || ${`/${collection}/`} || id)`,
  equals: (value) => {
    const [, account, id] = new RegExp(`^accounts/([^/]*)/${collection}/([^/]*)$`).exec(value) ?? [];
    return account === undefined ? sql`false` : sql`(account_id = ${account}::text and id = ${id}::text)`;
  },
  orderExpression: sql.ref('id'),
});
