/** An event of the audit trail. It holds no body and no secret. */
import { Type, type Static } from 'typebox';
import { ResourceName, Time } from './wire.js';

export const AuditEvent = Type.Object({
  name: ResourceName({ description: 'Its ID is that of the request: the header x-request-id of its answer' }),
  time: Time(),
  user: ResourceName({ description: 'Who: accounts/a/users/u' }),
  email: Type.String({ description: "The user's address at that time" }),
  keyId: Type.String({ description: 'With which API key, or sign-in' }),
  method: Type.String(),
  path: Type.String({ description: 'Without its query' }),
  resource: Type.String({ description: 'What was asked for, made or changed, as far as it has a name' }),
  status: Type.Integer({ description: 'HTTP status of the answer' }),
  reason: Type.String({ description: 'Of a refusal: the stable code of the error' }),
  address: Type.String({ description: 'IP address of the client' }),
});
export type AuditEvent = Static<typeof AuditEvent>;
