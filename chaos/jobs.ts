/** The jobs of a chaos run: five kinds of settings, each made once undisturbed, and what is done to each job on its way. */
import { setTimeout as sleep } from 'node:timers/promises';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import { TERMINAL_JOB_STATES, type JobState } from '../schemas/states.js';
import type { Random } from './random.js';
import type { Json, Target } from './target.js';

export const PROFILES = ['classification', 'completion', 'conversation', 'evaluated', 'warmStart'] as const;
export type Profile = (typeof PROFILES)[number];

export type Steering = 'none' | 'pause' | 'cancel' | 'delete';
/** Of ten jobs five are left alone: a kill is enough for them. */
const STEERINGS: readonly Steering[] = ['none', 'none', 'none', 'none', 'none', 'pause', 'pause', 'cancel', 'cancel', 'delete'];

export interface PlannedJob {
  id: string;
  profile: Profile;
  steering: Steering;
  /** From the job's acceptance. */
  steerAfterMs: number;
  pausedForMs: number;
}

/** What became of a job, as its user saw it. */
export interface DrivenJob extends PlannedJob {
  /** COMPLETED, CANCELLED, …; DELETED when it was to be and is. */
  end: string;
  /** The ends that are right. A cancellation that came too late leaves a model. */
  allowed: string[];
}

export function planJobs(random: Random, prefix: string, count: number, profiles: readonly Profile[]): PlannedJob[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `${prefix}-${index + 1}`,
    // Each kind in turn, so that a short run has several.
    profile: profiles[index % profiles.length]!,
    steering: index === 0 ? 'none' : random.pick(STEERINGS),
    steerAfterMs: random.integer(0, 15_000),
    pausedForMs: random.integer(0, 4_000),
  }));
}

const ROWS = 96;
const moods = ['sad', 'glad', 'mad'];
const tale = (index: number) => `a ${moods[index % 3]} tale of ${index * 7} words`;

/** Rows that fit all three kinds. */
export function chaosRows(): string {
  const rows = Array.from({ length: ROWS }, (_, index) => ({
    text: `row ${index}: ${tale(index)}`,
    mood: moods[index % 3],
  }));
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

export function conversationRows(): string {
  const rows = Array.from({ length: ROWS }, (_, index) => ({
    messages: [
      { role: 'user', content: `what is number ${index}?` },
      { role: 'assistant', content: tale(index) },
    ],
  }));
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

/** The body that creates a job: equal settings give an equal model. */
export function jobBody(target: Target, prefix: string, id: string, profile: Profile): Json {
  const classification = { textClassification: { text: 'text', label: 'mood' } };
  const completion = { textCompletion: { inputTemplate: '{text} is ', outputTemplate: '{mood}' } };
  const tasks: Record<Profile, Json> = {
    classification: { ...classification, evaluation: false },
    completion: { ...completion, evaluation: false },
    conversation: { conversation: {}, evaluation: false },
    evaluated: classification,
    warmStart: { ...classification, evaluation: false },
  };
  const { accountId } = target.dev();
  return {
    jobId: id,
    modelId: id,
    dataset: `accounts/${accountId}/datasets/${datasetOf(prefix, profile)}`,
    ...(profile === 'warmStart'
      ? { warmStartFrom: `accounts/${accountId}/models/${referenceId(prefix, 'classification')}` }
      : { baseModel: TINY_MODEL_NAME }),
    batchSize: 4,
    loraRank: 4,
    learningRate: 0.001,
    epochs: 2,
    seed: 7,
    ...tasks[profile],
  };
}

export function datasetOf(prefix: string, profile: Profile): string {
  return profile === 'conversation' ? `${prefix}-chats` : `${prefix}-tales`;
}

export function referenceId(prefix: string, profile: Profile): string {
  return `${prefix}-reference-${profile.toLowerCase()}`;
}

/** Uploads the data and makes one model of each kind while nothing is killed. */
export async function makeReferences(target: Target, prefix: string, profiles: readonly Profile[]): Promise<void> {
  await target.upload(`${prefix}-tales`, chaosRows());
  if (profiles.includes('conversation')) await target.upload(`${prefix}-chats`, conversationRows());
  const make = async (profile: Profile): Promise<void> => {
    const id = referenceId(prefix, profile);
    await target.ok('POST', 'fineTuningJobs', jobBody(target, prefix, id, profile));
    const end = await untilEnd(target, id);
    if (end !== 'COMPLETED') throw new Error(`the undisturbed job ${id} ended as ${end}`);
  };
  // A warm start begins with a model that is there.
  await Promise.all(profiles.filter((profile) => profile !== 'warmStart').map(make));
  if (profiles.includes('warmStart')) await make('warmStart');
}

/** Creates a job, steers it as planned, and waits for its end. */
export async function driveJob(target: Target, prefix: string, plan: PlannedJob): Promise<DrivenJob> {
  const route = `fineTuningJobs/${plan.id}`;
  await target.ok('POST', 'fineTuningJobs', jobBody(target, prefix, plan.id, plan.profile));
  let allowed = ['COMPLETED'];
  if (plan.steering !== 'none') await sleep(plan.steerAfterMs);
  switch (plan.steering) {
    case 'pause':
      // Refused when training is over already: then there is nothing to resume either.
      if ((await target.call('POST', `${route}:pause`, {})).status !== 200) break;
      await sleep(plan.pausedForMs);
      await target.call('POST', `${route}:resume`, {});
      break;
    case 'cancel': {
      const { status } = await target.call('POST', `${route}:cancel`, {});
      // A second call after a lost answer is refused because the first is being carried out.
      allowed = status === 200 ? ['CANCELLED'] : ['CANCELLED', 'COMPLETED'];
      break;
    }
    case 'delete':
      await target.call('DELETE', route);
      allowed = ['DELETED'];
      break;
    default:
  }
  return { ...plan, allowed, end: await untilEnd(target, plan.id, plan.steering === 'delete') };
}

/** A job of which nothing changes for this long, not even its place in the queue, is stuck. */
const STUCK_MS = 900_000;

async function untilEnd(target: Target, id: string, toBeDeleted = false): Promise<string> {
  let changedMs = Date.now();
  let seen = '';
  let state = '';
  while (Date.now() - changedMs < STUCK_MS) {
    const reply = await target.call('GET', `supervisedFineTuningJobs/${id}`);
    if (reply.status === 404) return 'DELETED';
    state = String(reply.body['state']).replace('JOB_STATE_', '');
    if (!toBeDeleted && TERMINAL_JOB_STATES.includes(state as JobState)) return state;
    const now = JSON.stringify(reply.body);
    if (now !== seen) changedMs = Date.now();
    seen = now;
    await sleep(500);
  }
  return `stuck in ${state}`;
}
