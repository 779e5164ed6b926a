/** An event of the audit trail. It holds no body and no secret. */
import { Type, type Static } from 'typebox';
import { ReadOnly, ResourceName, Time } from './wire.js';

export const AuditEvent = Type.Object({
  name: ReadOnly(ResourceName({ description: 'Its ID is that of the request: the header x-request-id of its answer' })),
  time: ReadOnly(Time()),
  user: ReadOnly(ResourceName({ description: 'Who: accounts/a/users/u' })),
  email: ReadOnly(Type.String({ description: "The user's address at that time" })),
  keyId: ReadOnly(Type.String({ description: 'With which API key, or sign-in' })),
  method: ReadOnly(Type.String()),
  path: ReadOnly(Type.String({ description: 'Without its query' })),
  resource: ReadOnly(Type.String({ description: 'What was asked for, made or changed, as far as it has a name' })),
  status: ReadOnly(Type.Integer({ description: 'HTTP status of the answer' })),
  reason: ReadOnly(Type.String({ description: 'Of a refusal: the stable code of the error' })),
  address: ReadOnly(Type.String({ description: 'IP address of the client' })),
});
export type AuditEvent = Static<typeof AuditEvent>;
