/** What `GET /v1/doctor` answers: one line a check, with what to do where something is wrong. For operators; never a secret, an address with credentials, or a user's text. */
import { Type, type Static } from 'typebox';

export const CHECK_STATES = ['OK', 'WARNING', 'FAILED'] as const;
export type CheckState = (typeof CHECK_STATES)[number];

export const Check = Type.Object({
  component: Type.String({ description: 'api, database, objectStore, temporal, queue, worker, baseModel, webhooks …' }),
  name: Type.String({ description: 'Which one of its kind, and what of it was looked at' }),
  state: Type.String({ enum: [...CHECK_STATES] }),
  message: Type.String({ description: 'What was found' }),
  advice: Type.Optional(Type.String({ description: 'What to do; absent when all is well' })),
});
export type Check = Static<typeof Check>;

export const DoctorReport = Type.Object({
  state: Type.String({ enum: [...CHECK_STATES], description: 'The worst of the checks' }),
  version: Type.String(),
  time: Type.String({ format: 'date-time' }),
  checks: Type.Array(Check),
});
export type DoctorReport = Static<typeof DoctorReport>;

export function worstState(states: CheckState[]): CheckState {
  return states.includes('FAILED') ? 'FAILED' : states.includes('WARNING') ? 'WARNING' : 'OK';
}
