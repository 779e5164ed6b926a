/** Accounts, users, API keys and secrets. Shapes: the published client's `Account`, `User`, `APIKey` and `Secret`. */
import { Type, type Static } from 'typebox';
import { ROLES } from './roles.js';
import { DisplayName, Id, PlainText, ReadOnly, ResourceName, Status, Time } from './wire.js';

const Email = () => Type.Optional(Type.String({ maxLength: 254, pattern: '^([^\\s@]+@[^\\s@]+)?$', 'x-expected': 'an e-mail address' }));

export const Account = Type.Object({
  name: ReadOnly(ResourceName()),
  email: Email(),
  displayName: DisplayName(),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
  accountType: ReadOnly(Type.String()),
  state: ReadOnly(Type.String()),
  status: ReadOnly(Status),
  suspendState: ReadOnly(Type.String()),
});
export type Account = Static<typeof Account>;
/** A new account, with the address of its first admin. */
export const CreateAccountRequest = Type.Object({ accountId: Id(), account: Type.Optional(Account) });
export type CreateAccountRequest = Static<typeof CreateAccountRequest>;

export const User = Type.Object({
  name: ReadOnly(ResourceName()),
  role: Type.Optional(Type.String({ enum: [...ROLES] })),
  displayName: DisplayName(),
  email: Email(),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
  state: ReadOnly(Type.String()),
  status: ReadOnly(Status),
  serviceAccount: Type.Optional(Type.Boolean({ description: 'A program: it has API keys, and nobody signs in as it' })),
});
/** The new user's fields, with its ID in the query or the body. */
export const CreateUserRequest = Type.Object({ ...User.properties, role: Type.String({ enum: [...ROLES] }), userId: Type.Optional(Id()) });
export type CreateUserRequest = Static<typeof CreateUserRequest>;
export type User = Static<typeof User>;

export const ApiKey = Type.Object({
  keyId: ReadOnly(Type.String()),
  displayName: DisplayName(),
  key: ReadOnly(Type.String({ description: 'The key itself: in the answer to its creation, and never again' })),
  prefix: ReadOnly(Type.String()),
  email: ReadOnly(Type.String()),
  secure: ReadOnly(Type.Boolean()),
  createTime: ReadOnly(Time()),
  expireTime: Type.Optional(Time()),
  lastUsedTime: ReadOnly(Time()),
});
export type ApiKey = Static<typeof ApiKey>;
export const CreateApiKeyRequest = Type.Object({ apiKey: Type.Optional(ApiKey) });
export type CreateApiKeyRequest = Static<typeof CreateApiKeyRequest>;
export const DeleteApiKeyRequest = Type.Object({ keyId: Type.String({ maxLength: 100 }) });
export type DeleteApiKeyRequest = Static<typeof DeleteApiKeyRequest>;

const SecretValue = () =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 16_384, writeOnly: true, 'x-expected': 'text of 1 to 16384 characters' }));
export const Secret = Type.Object({
  name: Type.Optional(ResourceName()),
  keyName: Type.Optional(PlainText(128)),
  value: SecretValue(),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
});
export const CreateSecretRequest = Type.Object({ ...Secret.properties, name: ResourceName() });
export type CreateSecretRequest = Static<typeof CreateSecretRequest>;
export type Secret = Static<typeof Secret>;
