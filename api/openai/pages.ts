/** Lists by cursor: `limit` items after the one with the ID `after`. */
import { fieldError, type TemperError } from '../../schemas/errors.js';

export interface ListReply<T> {
  object: 'list';
  data: T[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
}

/** @throws TemperError INVALID_FIELD for what is no number from 1 to `most` */
export function readLimit(limit: string | undefined, byDefault: number, most: number): number {
  if (limit === undefined || limit === '') return byDefault;
  if (/^[1-9][0-9]{0,8}$/.test(limit) && Number(limit) <= most) return Number(limit);
  throw fieldError('INVALID_FIELD', 'limit', `limit must be a whole number from 1 to ${most}, not ${JSON.stringify(limit.slice(0, 40))}.`);
}

export function noCursor(after: string): TemperError {
  return fieldError('INVALID_FIELD', 'after', `after must be the ID of an item of this list, not ${JSON.stringify(after.slice(0, 100))}.`);
}

/** @param found  one more than the page holds, if there is one */
export function listReply<T extends { id: string }>(found: T[], limit: number): ListReply<T> {
  const data = found.slice(0, limit);
  return { object: 'list', data, has_more: found.length > limit, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
}

export const seconds = (time: Date): number => Math.floor(time.getTime() / 1000);
