/**
 * Reading what clients send, by protobuf's JSON rules: fields in camelCase or snake_case, 64-bit integers as text or number,
 * output-only fields ignored, and a field that nobody knows refused by name. Nothing is repaired: a number in quotes is no number.
 */
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import formats from 'ajv-formats';
import type { TSchema } from 'typebox';
import { checkJson } from '../datasets/checkJson.js';
import { fieldError, isErrorCode, TemperError, type ErrorCode, type ErrorDetail } from '../schemas/errors.js';
import { ID_PATTERN } from '../schemas/names.js';
import { nearest } from '../schemas/suggest.js';

/** A schema as plain JSON Schema, as far as this module looks into it. */
interface JsonSchema {
  type?: string;
  properties?: Record<string, JsonSchema>;
  patternProperties?: Record<string, JsonSchema>;
  additionalProperties?: boolean | JsonSchema;
  items?: JsonSchema;
  format?: string;
  readOnly?: boolean;
  writeOnly?: boolean;
  'x-ignored'?: string;
  [keyword: string]: unknown;
}

/** The details of one answer, at most: a body may have a million unknown fields. */
const MAX_DETAILS = 20;

/** Decodes a JSON body strictly: an object, valid UTF-8, no key twice, no NUL, bounded depth. No bytes are an empty object. */
export function parseJsonBody(bytes: Buffer): Record<string, unknown> {
  if (bytes.length === 0) return {};
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new TemperError('INVALID_JSON', 'The body is not valid UTF-8.');
  }
  if (text.trim() === '') return {};
  const { row, problem } = checkJson(text);
  if (row) return row;
  throw new TemperError(
    'INVALID_JSON',
    `The body is not valid JSON: found ${problem.found}, expected ${problem.expected}; ${problem.fix}.`,
  );
}

const ajv = formats.default(
  // Without allErrors the first error ends the check: bodies are bounded by MAX_JSON_BODY_BYTES, and so is the list of errors.
  new Ajv({ coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: true, strict: false, verbose: true }),
);
ajv.addFormat('int64', true);

/**
 * Compiles a schema to a function that gives the fields as the schema names them, or throws what is wrong with each.
 * @param kind  what one of them is, in a message about one that is not known
 */
export function compileReader(schema: TSchema, kind: 'field' | 'query parameter' = 'field'): (input: unknown) => unknown {
  const validate: ValidateFunction = ajv.compile(schema as object);
  return (input) => {
    const unknown: UnknownFields = { kind, details: [] };
    const value = readValue(schema as JsonSchema, input ?? {}, '', unknown);
    if (unknown.details.length > 0)
      throw new TemperError(
        'UNKNOWN_FIELD',
        unknown.details
          .map((detail) => detail.message)
          .slice(0, 3)
          .join('; '),
        unknown.details,
      );
    if (validate(value)) return value;
    throw validationError(validate.errors ?? [], value);
  };
}

/** Those of one input, found on the way. */
interface UnknownFields {
  kind: string;
  details: ErrorDetail[];
}

function readValue(schema: JsonSchema, value: unknown, path: string, unknown: UnknownFields): unknown {
  if (Array.isArray(value))
    return schema.items ? value.map((item, index) => readValue(schema.items!, item, `${path}[${index}]`, unknown)) : value;
  if (typeof value === 'object' && value !== null) return readObject(schema, value as Record<string, unknown>, path, unknown);
  if (typeof value === 'string' && value.includes('\0'))
    throw fieldError('INVALID_FIELD', path, `${path} has a NUL character, which no text here may have: remove it.`);
  if (schema.format === 'int64' && typeof value === 'number' && Number.isSafeInteger(value)) return String(value);
  return value;
}

function readObject(schema: JsonSchema, value: Record<string, unknown>, path: string, unknown: UnknownFields): unknown {
  const { properties } = schema;
  const items = schema.patternProperties ? Object.values(schema.patternProperties)[0] : undefined;
  if (!properties && !items) return value;
  const fields: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const [key, item] of Object.entries(value)) {
    if (items) {
      fields[key] = readValue(items, item, `${path}[${JSON.stringify(key)}]`, unknown);
      continue;
    }
    const name = Object.hasOwn(properties!, key) ? key : toCamelCase(key);
    const property = Object.hasOwn(properties!, name) ? properties![name] : undefined;
    const field = path ? `${path}.${name}` : name;
    if (property === undefined) {
      if (schema.additionalProperties === true) continue;
      if (unknown.details.length < MAX_DETAILS) unknown.details.push(unknownField(unknown.kind, key, field, properties!));
    } else if (property.readOnly || property['x-ignored'] !== undefined) {
      continue;
    } else if (Object.hasOwn(fields, name)) {
      throw new TemperError('INVALID_FIELD', `${field} is given twice, as ${key} and in its other spelling.`, [
        { reason: 'INVALID_FIELD', field },
      ]);
    } else {
      fields[name] = readValue(property, item, field, unknown);
    }
  }
  return fields;
}

function unknownField(kind: string, key: string, field: string, properties: Record<string, JsonSchema>): ErrorDetail {
  const names = Object.keys(properties);
  const nearestName = nearest(toCamelCase(key), names);
  // Answered in the spelling the user writes in.
  const suggestion = nearestName && (key.includes('_') ? toSnakeCase(nearestName) : nearestName);
  const shown = key.length > 60 ? `${key.slice(0, 57)}...` : key;
  const advice = suggestion ? `, did you mean ${suggestion}` : names.length === 0 && kind !== 'field' ? ': none is known here' : '';
  return {
    reason: 'UNKNOWN_FIELD',
    field: field.slice(0, 200),
    message: `unknown ${kind} ${shown}${advice}`,
  };
}

export function toCamelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase());
}

export function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** One error of ours from ajv's list. The code of the first detail is the code of the whole. */
function validationError(errors: ErrorObject[], value: unknown): TemperError {
  const details: ErrorDetail[] = [];
  for (const error of errors) {
    const detail = describe(error);
    if (details.length < MAX_DETAILS && !details.some((other) => other.field === detail.field)) details.push(detail);
  }
  const [first] = details;
  if (!first) return new TemperError('INVALID_FIELD', `The request is not valid: ${JSON.stringify(value).slice(0, 200)}`);
  return new TemperError(
    isErrorCode(first.reason) ? first.reason : 'INVALID_FIELD',
    details
      .map((detail) => detail.message)
      .slice(0, 3)
      .join('; '),
    details,
  );
}

function describe(error: ErrorObject): ErrorDetail {
  const schema = (error.parentSchema ?? {}) as JsonSchema;
  const path = error.instancePath
    .split('/')
    .slice(1)
    .map((part) => part.replace(/~1/g, '/').replace(/~0/g, '~'))
    .join('.');
  if (error.keyword === 'required') {
    const missing = String(error.params.missingProperty);
    const field = path ? `${path}.${missing}` : missing;
    return { reason: 'MISSING_FIELD', field, message: `${field} is missing` };
  }
  const field = path || 'body';
  const given = schema['x-reason'];
  const isId = error.keyword === 'pattern' && schema.pattern === ID_PATTERN;
  const reason: ErrorCode = isErrorCode(given) ? given : isId ? 'INVALID_ID' : 'INVALID_FIELD';
  const found = schema.writeOnly ? '' : `, not ${shown(error.data)}`;
  return { reason, field, message: `${field} must be ${expectation(error, schema)}${found}` };
}

function expectation(error: ErrorObject, schema: JsonSchema): string {
  if (typeof schema['x-expected'] === 'string') return schema['x-expected'];
  switch (error.keyword) {
    case 'type':
      return TYPE_NAMES[String(error.params.type)] ?? String(error.params.type);
    case 'enum':
      return `one of ${(error.params.allowedValues as unknown[]).join(', ')}`;
    case 'const':
      return JSON.stringify(error.params.allowedValue);
    case 'pattern':
      return schema.format === 'int64' ? 'a whole number' : '1 to 63 characters of a-z, 0-9 and hyphen, with no hyphen at either end';
    case 'maxLength':
      return `at most ${error.params.limit} characters`;
    case 'minLength':
      return `at least ${error.params.limit} characters`;
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      return `${error.params.comparison} ${error.params.limit}`;
    default:
      return error.message?.replace(/^must (be )?/, '') ?? 'something else';
  }
}

const TYPE_NAMES: Record<string, string> = {
  string: 'text',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  object: 'an object',
  array: 'a list',
};

function shown(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}..."` : text;
}
