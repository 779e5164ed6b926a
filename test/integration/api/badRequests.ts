/** Requests that no route may accept, made from the API's own description: each is wrong by what the description says. */
import type { Json } from '../../temper.js';

export interface Operation {
  method: string;
  /** As the description has it, `/v1/accounts/{account}/datasets/{id}`. */
  path: string;
  permission: string;
  query: string[];
  /** Of a JSON body; undefined: the route takes none. */
  body?: Json;
}

export interface BadRequest {
  operation: Operation;
  /** What is wrong with it. */
  wrong: string;
  /** Values of path parameters other than the usual. */
  ids?: Record<string, string>;
  query?: string;
  body?: Buffer;
  contentType?: string;
  /** The field that the answer must name. */
  field?: string;
}

/** Routes of the description that need a key. Of those that take forms, only the path: forms are tested with uploads. */
export function readOperations(description: Json): Operation[] {
  return Object.entries(description['paths'] as Record<string, Record<string, Json>>).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, operation]): Operation[] => {
      const content = (operation['requestBody']?.content ?? {}) as Record<string, Json>;
      const parameters = (operation['parameters'] ?? []) as Json[];
      const permission = operation['x-permission'] as string | undefined;
      if (permission === undefined) return [];
      const isIgnored = (parameter: Json) => String(parameter['description']).startsWith('Accepted and ignored.');
      const query = parameters.filter((each) => each['in'] === 'query' && !isIgnored(each)).map((each) => each['name'] as string);
      return [{ method: method.toUpperCase(), path, permission, query, body: content['application/json']?.['schema'] as Json | undefined }];
    }),
  );
}

export function badRequests(operation: Operation, foreignAccount: string): BadRequest[] {
  return [...badPaths(operation, foreignAccount), ...badQueries(operation), ...badBodies(operation), ...badFields(operation)];
}

const BAD_IDS = [
  'A',
  'a_b',
  '-a',
  'a-',
  'a'.repeat(64),
  'é',
  '%00',
  'a%2Fb',
  '%2e%2e%2fb',
  '%ed%a0%80',
  '%E2%80%AE',
  'a%20b',
  "'%3bselect%201",
  'a'.repeat(600),
];

function badPaths(operation: Operation, foreignAccount: string): BadRequest[] {
  const names = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
  const cases = names.flatMap((name) =>
    BAD_IDS.map((id): BadRequest => ({ operation, wrong: `${name} is ${id}`, ids: { [name]: id }, body: operation.body && json({}) })),
  );
  if (names.includes('account') && operation.permission !== 'operator')
    cases.push({ operation, wrong: 'the account is another', ids: { account: foreignAccount }, body: operation.body && json({}) });
  return cases;
}

const BAD_TEXT = ['\u0000', 'a\u0000b'];
const BAD_FILTERS = [
  'nope = 1',
  'name =',
  '((((',
  "' or 1=1 --",
  '"unterminated',
  'name = "a" AND',
  'createTime > "yesterday"',
  'matches(name, "a")',
  `${'('.repeat(2000)}name="a"${')'.repeat(2000)}`,
  Array.from({ length: 500 }, () => 'name = "a"').join(' OR '),
];
/** Values that a query parameter refuses, whatever else the request says. */
const BAD_QUERIES: Record<string, string[]> = {
  pageSize: ['-1', '1.5', 'x', '1e9', '99999999999', '0x10', ' ', 'NaN'],
  pageToken: ['x', 'a.b', 'W10.AAAAAAAAAAAAAAAAAAAAAA', '.', 'x'.repeat(5000), 'eyJ9.x.y', '\u0000'],
  filter: [...BAD_FILTERS, ...BAD_TEXT],
  orderBy: ['nope', 'name sideways', 'name; drop table jobs', 'name,,name', 'a,b,c,d,e,f', 'x'.repeat(600), 'constructor', ...BAD_TEXT],
  readMask: ['nope', 'name.', 'x'.repeat(3000), '__proto__', 'constructor', ...BAD_TEXT],
  updateMask: ['nope', '', 'name', ',', 'x'.repeat(3000), '__proto__', 'displayName.x', ...BAD_TEXT],
  limit: ['0', '-1', 'x', '1.5', '99999999999', '1e3', 'NaN'],
  order: ['up', 'DESC', '1'],
  after: ['no-such-item', '\u0000', 'x'.repeat(5000)],
};

function badQueries(operation: Operation): BadRequest[] {
  if (operation.query.length === 0) return [];
  const body = operation.body && json({});
  const single = operation.query.flatMap((name) =>
    (BAD_QUERIES[name] ?? []).map((value): BadRequest => ({
      operation,
      wrong: `${name}=${value}`,
      query: `${name}=${encodeURIComponent(value)}`,
      body,
    })),
  );
  const twice = operation.query.map((name): BadRequest => ({ operation, wrong: `${name} twice`, query: `${name}=1&${name}=2`, body }));
  // An operator's route does not say whether the account is there before it says that it is not the operators'.
  const field = body || operation.permission === 'operator' ? undefined : 'nope';
  return [...single, ...twice, { operation, wrong: 'an unknown parameter', query: 'nope=1', body, field }];
}

const BROKEN_JSON: Record<string, string | Buffer> = {
  'cut short': '{"a":',
  'a list': '[]',
  null: 'null',
  text: '"x"',
  'a number': '1',
  'a key twice': '{"a":1,"a":2}',
  'an inner key twice': '{"a":{"b":1,"b":2}}',
  'a comma too many': '{"a":1,}',
  'more after its end': '{} {}',
  comments: '{/* */}',
  'single quotes': "{'a':1}",
  NaN: '{"a":NaN}',
  Infinity: '{"a":-Infinity}',
  'a number without end': `{"a":${'9'.repeat(5000)}e999}`,
  'a NUL': '{"a":"\\u0000"}',
  'a raw NUL': '{"a":"\u0000"}',
  'a lone surrogate': '{"a":"\\ud800"}',
  'a raw control character': '{"a":"\u0001"}',
  'bytes that are no UTF-8': Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]),
  'a surrogate in UTF-8': Buffer.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d]),
  'UTF-16': Buffer.from('{"a":1}', 'utf16le'),
  depth: `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
  'depth of objects': `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`,
};
const WRONG_TYPES = [
  'text/plain',
  'application/xml',
  'application/x-www-form-urlencoded',
  'multipart/form-data',
  'application/jsonx',
  'garbage',
  '',
];

function badBodies(operation: Operation): BadRequest[] {
  const { body } = operation;
  if (!body) return [];
  const broken = Object.entries(BROKEN_JSON).map(([what, text]): BadRequest => ({
    operation,
    wrong: `JSON: ${what}`,
    body: Buffer.from(text),
  }));
  const types = WRONG_TYPES.map((contentType): BadRequest => ({
    operation,
    wrong: `content type ${contentType || 'absent'}`,
    body: json({ a: 1 }),
    contentType,
  }));
  const fields = ['nope', 'constructor', 'toString', '__proto__', '', ' ', 'x'.repeat(5000)];
  const unknown = isOpen(body)
    ? []
    : fields.map((name): BadRequest => ({
        operation,
        wrong: `an unknown field ${name}`,
        body: Buffer.from(`{${JSON.stringify(name)}:1}`),
      }));
  return [...broken, ...types, ...unknown];
}

/** Each field that the schema has, with values that are wrong for it; the fields before it are right as far as they must be there. */
function badFields(operation: Operation): BadRequest[] {
  if (!operation.body) return [];
  return [...fieldsOf(operation.body, [])].flatMap(({ path, schema, isRequired }) => {
    const wrong = badValues(schema).map(([what, value]): BadRequest => ({
      operation,
      wrong: `${path.join('.')} is ${what}`,
      body: json(nest(path, value)),
      field: path.join('.'),
    }));
    // Refused with the whole body, wherever it is.
    for (const [what, value] of [
      ['a NUL', 'a\u0000b'],
      ['half a character', '\ud800'],
    ] as const)
      wrong.push({ operation, wrong: `${path.join('.')} has ${what}`, body: json(nest(path, value)) });
    // Left out where all around it is there.
    const outer = path.slice(0, -1);
    const missing = { operation, wrong: `${path.join('.')} is missing`, body: json(nest(outer, {})), field: path.join('.') };
    return isRequired ? [...wrong, missing] : wrong;
  });
}

function* fieldsOf(schema: Json, path: string[]): Generator<{ path: string[]; schema: Json; isRequired: boolean }> {
  for (const [name, property] of Object.entries((schema['properties'] ?? {}) as Record<string, Json>)) {
    if (property['readOnly'] || property['x-ignored'] !== undefined) continue; // read from clients that send back what they got
    const isRequired = ((schema['required'] ?? []) as string[]).includes(name);
    yield { path: [...path, name], schema: property, isRequired };
    yield* fieldsOf(property, [...path, name]);
  }
}

const OF_TYPES: Record<string, unknown> = {
  text: 'x',
  'a number': 7,
  'a fraction': 1.5,
  true: true,
  'a list': [1],
  'an object': { a: 1 },
  null: null,
};

function badValues(schema: Json): [string, unknown][] {
  const types = [schema['type'] ?? []].flat() as string[];
  if (types.length === 0) return []; // of several kinds, or of any
  const ofWrongType = Object.entries(OF_TYPES).filter(([, value]) => !types.some((type) => isOf(type, value, schema)));
  const values: [string, unknown][] = [...ofWrongType];
  if (schema['enum'] || schema['const'] !== undefined)
    values.push(
      ...(types.includes('string')
        ? [['not a choice', 'no such choice'] as [string, unknown]]
        : [['not a choice', -7] as [string, unknown]]),
    );
  if (types.includes('string')) {
    if (schema['maxLength'] !== undefined && schema['maxLength'] < 100_000) values.push(['too long', 'a'.repeat(schema['maxLength'] + 1)]);
    if (schema['minLength'] > 0) values.push(['empty', '']);
    if (schema['pattern'] !== undefined && schema['format'] !== 'int64')
      values.push(['a mark that turns text', 'a\u202eb'], ['a line break', 'a\nb']);
    if (schema['format'] === 'int64') values.push(['no integer', '1.5'], ['hexadecimal', '0x10'], ['far too large', '9'.repeat(40)]);
  }
  if (types.includes('integer') || types.includes('number')) {
    values.push(['a number as text', '7']);
    if (schema['minimum'] !== undefined) values.push(['too small', schema['minimum'] - 1]);
    if (schema['exclusiveMinimum'] !== undefined) values.push(['too small', schema['exclusiveMinimum']]);
    if (schema['maximum'] !== undefined) values.push(['too large', schema['maximum'] + 1], ['far too large', 1e300]);
  }
  if (types.includes('array') && schema['maxItems'] !== undefined)
    values.push(['too many', Array.from({ length: schema['maxItems'] + 1 }, () => 'a')]);
  return values;
}

function isOf(type: string, value: unknown, schema: Json): boolean {
  if (type === 'string') return typeof value === 'string' || (schema['format'] === 'int64' && Number.isInteger(value));
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'array') return Array.isArray(value);
  if (type === 'null') return value === null;
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return typeof value === type;
}

function isOpen(schema: Json): boolean {
  return schema['additionalProperties'] === true || !schema['properties'];
}

function nest(path: string[], value: unknown): unknown {
  return path.reduceRight((inner, name) => ({ [name]: inner }), value);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
