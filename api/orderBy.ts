/** `orderBy`: `"createTime desc, name"` to order terms over declared fields. */
import { sql } from 'kysely';
import { fieldError } from '../schemas/errors.js';
import type { OrderTerm } from '../stores/lists.js';
import { toCamelCase } from './body.js';
import type { ListField, ListFields } from './listFields.js';
import { didYouMean } from '../schemas/suggest.js';

const MAX_TERMS = 5;

/**
 * The terms, with the ID as the last resort that makes the order total. By name when nothing is asked for.
 * @param idColumn tells an account's rows apart
 */
export function parseOrderBy(orderBy: string, fields: ListFields, idColumn = 'id'): OrderTerm[] {
  const parts = orderBy.trim() === '' ? [] : orderBy.split(',');
  if (parts.length > MAX_TERMS) throw orderError(`at most ${MAX_TERMS} fields`);
  const terms = parts.map((part) => {
    const [written, direction, ...rest] = part.trim().split(/\s+/);
    if (!written || rest.length > 0 || (direction !== undefined && !/^(asc|desc)$/i.test(direction)))
      throw orderError(`"${part.trim().slice(0, 60)}" is not a field, or a field and desc`);
    const name = toCamelCase(written);
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (!field || field.orderable === false) {
      const orderable = Object.keys(fields).filter((candidate) => fields[candidate]?.orderable !== false);
      throw orderError(`${written.slice(0, 60)} is not one of ${orderable.join(', ')}${didYouMean(name, orderable)}`);
    }
    return orderTerm(field, direction?.toLowerCase() === 'desc');
  });
  return [...terms, { expression: sql.ref(idColumn), type: 'text', descending: false }];
}

function orderTerm(field: ListField, descending: boolean): OrderTerm {
  const type = ({ text: 'text', number: 'float8', time: 'timestamptz', boolean: 'bool' } as const)[field.type];
  return { expression: field.orderExpression ?? field.expression, type, descending };
}

function orderError(problem: string) {
  return fieldError('INVALID_ORDER_BY', 'orderBy', `orderBy: ${problem}. Write for example "createTime desc, name".`);
}
