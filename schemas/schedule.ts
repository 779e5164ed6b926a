/**
 * Retraining on the wire: what a run does (`retraining`), when it does it (a schedule), and what came of it (a run). A sweep is
 * a run that somebody started by hand. Durations are protobuf's JSON: seconds with an "s", such as "3600s".
 */
import { Type, type Static } from 'typebox';
import { FineTuningJob } from './job.js';
import { MAX_RUN_JOBS } from './limits.js';
import { ID_PATTERN } from './names.js';
import { DisplayName, PlainText, ReadOnly, ResourceName, Time } from './wire.js';

const OpenObject = (description: string) => Type.Object({}, { additionalProperties: true, description });
const Duration = (description: string) =>
  Type.String({ pattern: '^[0-9]{1,9}s$', 'x-expected': 'a duration in seconds with an "s", such as "3600s"', description });

/** Part of an ID: what the IDs begin with. */
const IdPrefix = (description: string) =>
  Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,62}$', 'x-expected': '1 to 63 characters of a-z, 0-9 and hyphen', description });

export const RetrainingData = Type.Object(
  {
    dataset: Type.Optional(ResourceName({ description: 'Always this dataset' })),
    newest: Type.Optional(
      Type.Object({ prefix: IdPrefix('What its ID begins with') }, { description: 'The READY dataset that was created last among those' }),
    ),
    merge: Type.Optional(
      Type.Object(
        {
          datasets: Type.Optional(Type.Array(ResourceName(), { minItems: 2, maxItems: 100 })),
          prefix: Type.Optional(IdPrefix('All READY datasets whose ID begins with it')),
        },
        { description: 'Several datasets as one new dataset: `datasets`, or all that a `prefix` matches' },
      ),
    ),
    s3Import: Type.Optional(
      Type.Object(
        {
          prefix: Type.String({
            pattern: '^([A-Za-z0-9_=-][A-Za-z0-9._=-]*/)*$',
            maxLength: 500,
            'x-expected': 'folders with a slash behind each, such as "support/2026/", of letters, digits, . _ = and -',
            description: 'Below imports/ACCOUNT/ of the bucket; "" is all of it',
          }),
          objects: Type.Optional(
            Type.String({
              enum: ['ALL', 'NEW'],
              description: 'ALL (the default) that lie there, or only those no earlier run has trained on',
            }),
          ),
        },
        { description: 'The *.jsonl objects below a prefix as one new dataset' },
      ),
    ),
  },
  { description: 'Exactly one of dataset, newest, merge and s3Import' },
);

const { dataset: _dataset, modelId: _modelId, jobId: _jobId, outputModel: _outputModel, ...jobProperties } = FineTuningJob.properties;
/** A fine-tuning job as it is created, without what each run decides. */
export const JobTemplate = Type.Object(jobProperties);

const Variant = Type.Record(Type.String(), Type.Unknown(), {
  description: 'Settings of a job that differ from `fineTuning`, such as {"learningRate": 0.001}',
});

export const Retraining = Type.Object({
  data: RetrainingData,
  fineTuning: JobTemplate,
  variants: Type.Optional(Type.Array(Variant, { minItems: 1, maxItems: MAX_RUN_JOBS, description: 'A job each' })),
  grid: Type.Optional(
    Type.Record(Type.String(), Type.Array(Type.Unknown(), { minItems: 1, maxItems: MAX_RUN_JOBS }), {
      description: 'Lists of values by setting, such as {"learningRate": [0.001, 0.003], "epochs": [1, 2]}: a job for each combination',
    }),
  ),
  maxConcurrentJobs: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_RUN_JOBS, description: '1 when absent' })),
  startFrom: Type.Optional(
    Type.String({
      enum: ['BASE_MODEL', 'PROMOTED_MODEL'],
      description: 'PROMOTED_MODEL: go on from the adapter that the alias of `promotion` points at, as soon as there is one',
    }),
  ),
  trainUnchanged: Type.Optional(
    Type.Boolean({ description: 'true: train although neither data nor settings differ from the last completed run' }),
  ),
  promotion: Type.Optional(
    Type.Object({
      alias: Type.String({
        pattern: `${ID_PATTERN.slice(0, -1)}@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`,
        'x-expected': 'MODEL@ALIAS, such as "support-bot@production"',
        description: 'What moves to the best model',
      }),
      minImprovement: Type.Optional(
        Type.Number({
          minimum: 0,
          maximum: 1,
          description:
            'By how much the best must beat the model that the alias points at: points of accuracy as a share (0.01 is one point), or that share of the perplexity. 0 when absent: any improvement',
        }),
      ),
      approval: Type.Optional(Type.String({ enum: ['AUTOMATIC', 'MANUAL'], description: 'MANUAL: somebody must approve it' })),
      approvalTimeout: Type.Optional(Duration('How long to wait for that; then it counts as rejected. "604800s" (a week) when absent')),
    }),
  ),
});
export type Retraining = Static<typeof Retraining>;

export const OVERLAP_POLICIES = ['SKIP', 'BUFFER_ONE', 'CANCEL_OTHER', 'ALLOW_ALL'] as const;

const timing = {
  cron: Type.Optional(
    Type.String({ minLength: 1, maxLength: 200, description: 'Five fields: minute, hour, day of month, month, day of week' }),
  ),
  timeZone: Type.Optional(Type.String({ minLength: 1, maxLength: 64, description: 'IANA name, such as Europe/Berlin; UTC when absent' })),
  interval: Type.Optional(Duration('Instead of cron: a run every so often')),
  overlapPolicy: Type.Optional(
    Type.String({
      enum: [...OVERLAP_POLICIES],
      description: 'When the last run is not over yet: SKIP the new one (the default), let one wait, cancel the old one, or allow all',
    }),
  ),
  catchupWindow: Type.Optional(
    Duration('How late a run may start that was missed while Temporal was away; at least "10s", "3600s" when absent'),
  ),
  jitter: Type.Optional(Duration('A run starts at a random moment within so long of its time')),
};
export const Timing = Type.Object(timing);
export type Timing = Static<typeof Timing>;

export const Schedule = Type.Object({
  name: ReadOnly(ResourceName()),
  scheduleId: Type.Optional(
    Type.String({
      pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$',
      'x-reason': 'INVALID_ID',
      'x-expected': '1 to 40 characters of a-z, 0-9 and hyphen, with no hyphen at either end',
    }),
  ),
  displayName: DisplayName(),
  ...timing,
  paused: Type.Optional(Type.Boolean({ description: 'true at creation: no run until :unpause' })),
  note: Type.Optional(PlainText(500)),
  retraining: Type.Optional(Retraining),
  nextRunTimes: ReadOnly(Type.Array(Time(), { description: 'The next ten, if nothing changes' })),
  runningRuns: ReadOnly(Type.Array(ResourceName())),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
  createdBy: ReadOnly(Type.String()),
});
export type Schedule = Static<typeof Schedule>;

export const ScheduleNote = Type.Object({ note: Type.Optional(PlainText(500)) });
export const BackfillRequest = Type.Object({
  startTime: Time({ description: 'Runs as if these hours had just passed' }),
  endTime: Time(),
});

export const RUN_STATES = ['RUNNING', 'AWAITING_APPROVAL', 'COMPLETED', 'SKIPPED', 'FAILED', 'CANCELLED'] as const;
export type RunState = (typeof RUN_STATES)[number];

export const RunJob = Type.Object({
  job: ResourceName(),
  model: ResourceName(),
  settings: OpenObject('What differs from the other jobs of the run'),
  state: Type.String({ description: 'As the job shows it; NOT_STARTED before, DELETED after' }),
  metric: Type.Optional(Type.String()),
  value: Type.Optional(Type.Number({ description: 'Of the tuned model on the held-out examples' })),
  baseValue: Type.Optional(Type.Number({ description: 'Of the base model on the same' })),
  examples: Type.Optional(Type.Integer()),
  best: Type.Boolean(),
  failure: Type.Optional(OpenObject('code, message, domain, retryable')),
});

export const RunPromotion = Type.Object({
  alias: Type.String(),
  decision: Type.String({
    description:
      'PENDING, PROMOTED, KEPT (the present model stays), REJECTED, EXPIRED (nobody decided), NOT_COMPARABLE (decide by hand) or MOVED_MEANWHILE',
  }),
  reason: Type.String(),
  candidate: Type.Optional(ResourceName()),
  candidateValue: Type.Optional(Type.Number()),
  current: Type.Optional(ResourceName({ description: 'What the alias pointed at' })),
  currentValue: Type.Optional(
    Type.Number({ description: 'On the same held-out examples; of the base model where the alias pointed at nothing' }),
  ),
  metric: Type.Optional(Type.String()),
  minImprovement: Type.Number(),
  decidedBy: Type.Optional(Type.String()),
});

export const Run = Type.Object({
  name: ReadOnly(ResourceName()),
  sweepId: Type.Optional(
    Type.String({
      pattern: '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$',
      'x-reason': 'INVALID_ID',
      'x-expected': '1 to 40 characters of a-z, 0-9 and hyphen, with no hyphen at either end',
    }),
  ),
  displayName: DisplayName(),
  retraining: Type.Optional(Retraining),
  state: ReadOnly(Type.String({ enum: [...RUN_STATES] })),
  reason: ReadOnly(Type.String({ description: 'What it is doing, or why it ended so' })),
  failure: ReadOnly(OpenObject('Of a failed run: code, message, domain, retryable')),
  dataset: ReadOnly(ResourceName({ description: 'What it trains on' })),
  jobs: ReadOnly(Type.Array(RunJob)),
  promotion: ReadOnly(RunPromotion),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
  endTime: ReadOnly(Time()),
  createdBy: ReadOnly(Type.String()),
});
export type Run = Static<typeof Run>;

export const Decision = Type.Object({ note: Type.Optional(PlainText(500)) });
