/** What an account may use at most: every quota with its default. Shape: the reference's `Quota`. */
import { Type, type Static } from 'typebox';
import { MAX_EXAMPLES_TIMES_EPOCHS } from './limits.js';
import { Int64, ReadOnly, ResourceName, Time } from './wire.js';

export const QUOTAS = {
  'running-jobs': { default: 64, description: 'Jobs that have a GPU or are next for one; the others wait their turn' },
  'queued-jobs': { default: 20_000, description: 'Jobs that have not ended and do not run: being checked, waiting, paused' },
  'stored-bytes': { default: 1024 ** 4, description: 'Bytes of datasets and models' },
  'examples-times-epochs': { default: MAX_EXAMPLES_TIMES_EPOCHS, description: 'Examples × epochs of one job' },
  'requests-per-second': { default: 2_000, description: 'Requests a second to one API process' },
  'concurrent-uploads': { default: 16, description: 'Direct uploads at a time to one API process' },
} as const satisfies Record<string, { default: number; description: string }>;
export type QuotaId = keyof typeof QUOTAS;
export const QUOTA_IDS = Object.keys(QUOTAS) as QuotaId[];

export const Quota = Type.Object({
  name: ReadOnly(ResourceName()),
  value: Type.Optional(Int64({ description: 'What is enforced. An admin of the account may lower it, and raise it up to maxValue' })),
  maxValue: Type.Optional(Int64({ description: 'What the account was granted. Operators change it' })),
  usage: ReadOnly(Type.Number({ description: 'Of it in use now; absent where there is nothing to sum up' })),
  description: ReadOnly(Type.String()),
  updateTime: ReadOnly(Time()),
});
export type Quota = Static<typeof Quota>;
