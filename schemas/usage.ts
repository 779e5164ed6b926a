/** What an account has used: tokens, GPU time, what they cost; and what it stores. */
import { Type, type Static } from 'typebox';
import { Int64, Time } from './wire.js';

export const USAGE_GROUPS = ['account', 'user', 'job', 'baseModel', 'day'] as const;
export type UsageGroup = (typeof USAGE_GROUPS)[number];
export const DEFAULT_USAGE_DAYS = 30;
export const MAX_USAGE_GROUPS = 1_000;

const Money = Type.Object({ currencyCode: Type.String(), units: Type.String(), nanos: Type.Integer() });
const Used = {
  jobs: Type.Integer({ description: 'That ended in the span of time, however they ended' }),
  tokens: Int64({ description: 'Trained on, in all epochs' }),
  trainedTokens: Int64({ description: 'Of these, those that the loss counts' }),
  gpuSeconds: Type.Number({ description: 'Seconds that attempts and evaluations held a GPU (or the CPUs), times GPUs' }),
  costs: Type.Array(Money, { description: 'One for each currency; of the jobs that there was a price for' }),
};

export const Usage = Type.Object({
  from: Time(),
  to: Time(),
  groupBy: Type.String({ enum: [...USAGE_GROUPS] }),
  total: Type.Object(Used),
  groups: Type.Array(Type.Object({ key: Type.String(), ...Used }), { description: 'The largest first; days in their order' }),
  storedBytes: Int64({ description: 'Of datasets, models and exports, now' }),
  storedByUser: Type.Array(Type.Object({ user: Type.String(), bytes: Int64() })),
});
export type Usage = Static<typeof Usage>;

const EXPECTED_TIME = 'an RFC 3339 time, such as 2026-11-01T00:00:00Z';

export const UsageQuery = Type.Object({
  from: Type.Optional(
    Time({ 'x-expected': EXPECTED_TIME, description: `RFC 3339; ${DEFAULT_USAGE_DAYS} days before \`to\` when it is left out` }),
  ),
  to: Type.Optional(Time({ 'x-expected': EXPECTED_TIME, description: 'Not included; now when it is left out' })),
  groupBy: Type.Optional(Type.String({ enum: [...USAGE_GROUPS], description: 'account when it is left out' })),
});
