/** Aliases of models: a name of the user's (`support-bot@production`) that points at one model at a time, and its history. */
import { Type, type Static } from 'typebox';
import { PlainText, ReadOnly, ResourceName, Time } from './wire.js';

export const ALIAS_PATTERN = '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$';
export const AliasId = (options: Record<string, unknown> = {}) =>
  Type.String({
    pattern: ALIAS_PATTERN,
    'x-reason': 'INVALID_ID',
    'x-expected': 'MODEL@ALIAS, such as support-bot@production',
    ...options,
  });

/** An ID of a model, or an alias in its place. */
export const ModelId = () =>
  Type.String({
    pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$',
    'x-reason': 'INVALID_ID',
    'x-expected': '1 to 63 characters of a-z, 0-9 and hyphen, with no hyphen at either end, or an alias such as support-bot@production',
  });

export const Alias = Type.Object({
  name: ReadOnly(ResourceName()),
  model: Type.Optional(ResourceName({ description: 'What it points at: an ID or name of a READY model of the account' })),
  reason: Type.Optional(PlainText(500)),
  version: ReadOnly(Type.Boolean({ description: 'It was numbered when it was made, and never moves' })),
  modelName: ReadOnly(ResourceName({ description: 'Usable wherever a model is named' })),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time({ description: 'Of the last move' })),
  createdBy: ReadOnly(Type.String()),
});
export type Alias = Static<typeof Alias>;

export const AliasMove = Type.Object({
  sequence: Type.Integer({ description: 'From 1, without gap' }),
  kind: Type.String({ enum: ['MOVE', 'PROMOTION', 'ROLLBACK', 'VERSION'] }),
  from: Type.Optional(ResourceName()),
  to: ResourceName(),
  by: Type.String({ description: 'A user, or the run that promoted' }),
  reason: Type.String(),
  time: Time(),
});
export type AliasMove = Static<typeof AliasMove>;

export const AddVersionRequest = Type.Object({
  model: ResourceName({ description: 'An ID, name or alias of a READY model of the account' }),
  reason: Type.Optional(PlainText(500)),
});

export const RollbackRequest = Type.Object({ reason: Type.Optional(PlainText(500)) });
