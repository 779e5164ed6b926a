/** What the JSON of all resources has in common: protobuf's JSON rules, as published clients send and parse them. */
import { Type, type TSchema } from 'typebox';
import { ID_PATTERN } from './names.js';
import { MAX_DISPLAY_NAME_LENGTH } from './limits.js';

/** Control characters and the marks that reverse the order of text: never part of a name that people read. */
const PLAIN_TEXT = '^[^\\u0000-\\u001f\\u007f-\\u009f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]*$';

/** A 64-bit integer: digits in a string on the wire; a JSON number is accepted from clients. */
export const Int64 = (options: Record<string, unknown> = {}) => Type.String({ format: 'int64', pattern: '^-?[0-9]{1,19}$', ...options });
/** RFC 3339, UTC. */
export const Time = (options: Record<string, unknown> = {}) => Type.String({ format: 'date-time', ...options });
export const Id = (options: Record<string, unknown> = {}) => Type.String({ pattern: ID_PATTERN, ...options });
export const ResourceName = (options: Record<string, unknown> = {}) => Type.String({ maxLength: 200, ...options });
export const DisplayName = () =>
  Type.Optional(
    Type.String({
      maxLength: MAX_DISPLAY_NAME_LENGTH,
      pattern: PLAIN_TEXT,
      'x-expected': `plain text of at most ${MAX_DISPLAY_NAME_LENGTH} characters`,
    }),
  );
export const PlainText = (maxLength: number) =>
  Type.String({ maxLength, pattern: PLAIN_TEXT, 'x-expected': `plain text of at most ${maxLength} characters` });

/** Output only: accepted from clients that send back what they got, and ignored. */
export const ReadOnly = <T extends TSchema>(schema: T) => Type.Optional({ ...schema, readOnly: true } as T);

/** A field of the reference that Temper takes and does nothing with; `why` is shown in the API's description. */
export const Ignored = (why: string) => Type.Optional(Type.Unknown({ 'x-ignored': why, description: `Accepted and ignored. ${why}` }));

export const Status = Type.Object({ code: Type.Optional(Type.String()), message: Type.Optional(Type.String()) });

export const ErrorBody = Type.Object({
  code: Type.Integer({ description: 'The gRPC status code' }),
  message: Type.String({ description: 'What is wrong and what to do. Never empty.' }),
  details: Type.Array(
    Type.Object({
      reason: Type.String({ description: 'A stable code' }),
      field: Type.Optional(Type.String()),
      line: Type.Optional(Type.Integer()),
      message: Type.Optional(Type.String()),
      hint: Type.Optional(Type.String()),
    }),
  ),
});

export const Empty = Type.Object({});

/** Query parameters of every list. Query strings carry text only; the numbers are read in api/listRequest.ts. */
export const ListQuery = Type.Object({
  pageSize: Type.Optional(Type.String({ description: 'At most this many resources; 50 when absent, more than 200 means 200' })),
  pageToken: Type.Optional(Type.String({ maxLength: 4096, description: 'The nextPageToken of a call with the same filter and order' })),
  filter: Type.Optional(
    Type.String({ description: 'AIP-160: field = "value", <, <=, >, >=, !=, : (has), AND, OR, NOT, parentheses, * in text' }),
  ),
  orderBy: Type.Optional(Type.String({ maxLength: 500, description: '"createTime desc, name"; by name when absent' })),
  readMask: Type.Optional(Type.String({ maxLength: 2000, description: 'Comma-separated fields to return; all when absent or *' })),
});
export const GetQuery = Type.Pick(ListQuery, ['readMask']);

export const DeleteQuery = Type.Object({
  force: Type.Optional(
    Type.String({ enum: ['true', 'false'], description: 'true: also when others stand on it; a tombstone keeps their lineage readable' }),
  ),
});

/** Of lists that are short, or wanted whole. */
export const WholeListQuery = Type.Object({ pageSize: Ignored('All come on one page.'), pageToken: Ignored('All come on one page.') });

/** `{ "<resources>": [...], "nextPageToken": "", "totalSize": n }` */
export function listReply<Key extends string, T extends TSchema>(key: Key, item: T) {
  return Type.Object({ [key]: Type.Array(item), nextPageToken: Type.String(), totalSize: Type.Integer() } as {
    [K in Key]: ReturnType<typeof Type.Array<T>>;
  } & {
    nextPageToken: ReturnType<typeof Type.String>;
    totalSize: ReturnType<typeof Type.Integer>;
  });
}

export const SignedUrls = Type.Object({ filenameToSignedUrls: Type.Record(Type.String(), Type.String()) });
