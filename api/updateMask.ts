/**
 * `updateMask` of a PATCH: the fields to change, `"displayName,role"`. Without one, the fields that the body has. A field that
 * the mask names and the body lacks is cleared; `*` is every field that can change.
 */
import type { FastifyRequest } from 'fastify';
import { Type, type Static, type TSchema } from 'typebox';
import { fieldError } from '../schemas/errors.js';
import { toCamelCase } from './body.js';
import { didYouMean } from '../schemas/suggest.js';

export const UpdateQuery = Type.Object({
  updateMask: Type.Optional(
    Type.String({ maxLength: 2000, description: 'Comma-separated fields to change; those in the body when absent, all when *' }),
  ),
});

/** In place of a cleared value: the field always has one. */
export const NOT_CLEARABLE = Symbol('not clearable');

/**
 * @param schema   the resource's
 * @param mutable  the fields that can change, each with its value when it is cleared
 * @throws TemperError INVALID_UPDATE_MASK
 */
export function readChanges<Body extends object, Field extends keyof Body & string>(
  request: FastifyRequest,
  schema: TSchema,
  mutable: Record<Field, unknown>,
): Partial<Pick<Body, Field>> {
  const body = (request.body ?? {}) as Record<string, unknown>;
  const { updateMask } = request.query as Static<typeof UpdateQuery>;
  const changes: Record<string, unknown> = {};
  for (const field of fieldsToChange(updateMask, body, schema, Object.keys(mutable))) {
    const value = body[field] ?? mutable[field as Field];
    if (value === NOT_CLEARABLE) throw maskError(`${field} cannot be cleared: give its new value in the body`);
    changes[field] = value;
  }
  return changes as Partial<Pick<Body, Field>>;
}

function fieldsToChange(updateMask: string | undefined, body: object, schema: TSchema, mutable: string[]): string[] {
  if (updateMask === undefined) return mutable.filter((field) => Object.hasOwn(body, field));
  const named = updateMask
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  if (named.length === 0) throw maskError(`name the fields to change: ${mutable.join(', ')}`);
  if (named.includes('*')) return mutable;
  const known = Object.keys((schema as { properties?: object }).properties ?? {});
  return [...new Set(named.map(toCamelCase))].map((field) => {
    if (!known.includes(field)) throw maskError(`unknown field ${field.slice(0, 60)}${didYouMean(field, known)}`);
    if (!mutable.includes(field)) throw maskError(`${field} cannot be changed; what can: ${mutable.join(', ')}`);
    return field;
  });
}

function maskError(problem: string) {
  return fieldError('INVALID_UPDATE_MASK', 'updateMask', `updateMask: ${problem}.`);
}
