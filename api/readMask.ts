/** `readMask`: the fields of a resource that a caller wants, `"name,status.code"`; all of them when empty or `*`. */
import { fieldError } from '../schemas/errors.js';
import type { TSchema } from 'typebox';
import { toCamelCase } from './body.js';
import { didYouMean } from '../schemas/suggest.js';

const MAX_PATHS = 100;

interface JsonSchema {
  type?: string;
  properties?: Record<string, JsonSchema>;
}

/** Gives a function that keeps of a resource what the mask names. Paths are checked against the resource's schema. */
export function compileReadMask<T extends object>(readMask: string | undefined, schema: TSchema): (resource: T) => Partial<T> {
  const paths = (readMask ?? '')
    .split(',')
    .map((path) => path.trim())
    .filter((path) => path !== '');
  if (paths.length === 0 || paths.includes('*')) return (resource) => resource;
  if (paths.length > MAX_PATHS) throw maskError(`at most ${MAX_PATHS} fields`);
  const parsed = paths.map((path) => {
    const steps = path.split('.').map(toCamelCase);
    checkPath(path, steps, schema as JsonSchema);
    return steps;
  });
  return (resource) => {
    const kept: Record<string, unknown> = {};
    for (const steps of parsed) keep(resource as Record<string, unknown>, kept, steps);
    return kept as Partial<T>;
  };
}

function checkPath(path: string, steps: string[], schema: JsonSchema): void {
  let at: JsonSchema | undefined = schema;
  for (const step of steps) {
    const properties: Record<string, JsonSchema> | undefined = at?.properties;
    const isPlain = ['string', 'integer', 'number', 'boolean'].includes(at?.type ?? '');
    if (step === '' || isPlain) throw maskError(`${path.slice(0, 60)} is not a field: name fields, or fields of fields with a dot between`);
    if (!properties) return; // an open object: whatever is there
    if (!Object.hasOwn(properties, step)) {
      throw maskError(`unknown field ${path.slice(0, 60)}${didYouMean(step, Object.keys(properties))}`);
    }
    at = properties[step];
  }
}

function keep(from: Record<string, unknown>, to: Record<string, unknown>, [step, ...rest]: string[]): void {
  if (step === undefined || !Object.hasOwn(from, step)) return;
  const value = from[step];
  if (rest.length === 0 || typeof value !== 'object' || value === null) {
    to[step] = value;
    return;
  }
  const inner = (Object.hasOwn(to, step) ? to[step] : {}) as Record<string, unknown>;
  to[step] = inner;
  keep(value as Record<string, unknown>, inner, rest);
}

function maskError(problem: string) {
  return fieldError('INVALID_READ_MASK', 'readMask', `readMask: ${problem}.`);
}
