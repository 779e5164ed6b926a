/** The two route families of jobs: same jobs, same verbs, different shapes. */
import { sql } from 'kysely';
import type { TSchema } from 'typebox';
import { FineTuningJob, SupervisedFineTuningJob } from '../schemas/job.js';
import { JOB_TRANSITIONS, legacyJobState, supervisedJobState, type JobState } from '../schemas/states.js';
import type { JobRecord } from '../stores/jobs.js';
import { readFineTuningJob, readSupervisedJob, type JobRequest } from '../jobs/jobRequest.js';
import { viewFineTuningJob, viewSupervisedJob } from './jobViews.js';
import { name, number, optionalTime, text, time, type ListField, type ListFields } from './listFields.js';

export interface JobFamily {
  collection: 'fineTuningJobs' | 'supervisedFineTuningJobs';
  /** The resource, and the body that creates one. */
  schema: TSchema;
  /** The query parameter that carries the new job's ID; also read from the body's `jobId` where the shape has it. */
  idParameter: string;
  fields: ListFields;
  /** @param wandbKey  the account's own, for a request that lacks one */
  read: (body: object, accountId: string, wandbKey: string | null) => JobRequest;
  view: (job: JobRecord) => object;
}

const STATES = Object.keys(JOB_TRANSITIONS) as JobState[];

/** The state in the family's own words, in SQL: what a filter compares is what the resource shows. */
function stateField(word: (state: JobState) => string): ListField {
  const cases = sql.join(
    STATES.map((state) => sql`when ${state} then ${word(state)}`),
    sql` `,
  );
  const among = (isMeant: (shown: string) => boolean) =>
    sql<boolean>`state = any(${STATES.filter((state) => isMeant(word(state)))}::text[])`;
  return {
    type: 'text',
    expression: sql`(case state ${cases} else state end)`,
    equals: (value) => among((shown) => shown === value),
    differs: (value) => among((shown) => shown !== value),
    values: [...new Set(STATES.map(word))],
  };
}

function familyFields(collection: JobFamily['collection'], word: (state: JobState) => string): ListFields {
  const setting = (key: string) => number(sql`settings ->> ${sql.lit(key)}`);
  return {
    name: name(collection),
    displayName: text('display_name'),
    createTime: time('create_time'),
    updateTime: time('update_time'),
    startedTime: optionalTime('started_time'),
    completedTime: optionalTime('completed_time'),
    createdBy: text('created_by'),
    state: stateField(word),
    stage: text('stage'),
    kind: text('kind', ['textCompletion', 'textClassification', 'conversation']),
    dataset: text('dataset_name'),
    baseModel: text('base_model'),
    warmStartFrom: text('warm_start_from'),
    modelId: text('model_id'),
    outputModel: { type: 'text', expression: sql`('accounts/' || account_id || '/models/' || model_id)` },
    priority: number(sql.ref('priority')),
    attempt: number(sql.ref('attempt')),
    epochs: setting('epochs'),
    learningRate: setting('learningRate'),
    batchSize: setting('batchSize'),
    loraRank: setting('loraRank'),
    'failure.code': { type: 'text', expression: sql`coalesce(failure ->> 'code', '')` },
  };
}

export const JOB_FAMILIES: readonly JobFamily[] = [
  {
    collection: 'fineTuningJobs',
    schema: FineTuningJob,
    idParameter: 'fineTuningJobId',
    fields: familyFields('fineTuningJobs', legacyJobState),
    read: (body, accountId, wandbKey) => readFineTuningJob(body as FineTuningJob, accountId, wandbKey),
    view: viewFineTuningJob,
  },
  {
    collection: 'supervisedFineTuningJobs',
    schema: SupervisedFineTuningJob,
    idParameter: 'supervisedFineTuningJobId',
    fields: familyFields('supervisedFineTuningJobs', supervisedJobState),
    read: (body, accountId, wandbKey) => readSupervisedJob(body as SupervisedFineTuningJob, accountId, wandbKey),
    view: viewSupervisedJob,
  },
];
