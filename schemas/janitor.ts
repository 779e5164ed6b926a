/** The janitor: what it finds that no record needs, by kind, and what it may remove of it. */
import { Type, type Static } from 'typebox';
import { ReadOnly, ResourceName, Time } from './wire.js';

/** Kinds, and whether the janitor removes them: what is told apart by nothing but its absence from the records is left to people. */
export const ORPHAN_KINDS = {
  'job-objects': true,
  'model-objects': true,
  'export-objects': true,
  'dataset-objects': true,
  upload: true,
  'upload-parts': true,
  'rendered-set': true,
  'unknown-object': false,
  'model-reservation': true,
  secret: true,
  attempt: true,
  'scratch-folder': true,
  workflow: true,
  'job-without-workflow': false,
} as const satisfies Record<string, boolean>;
export type OrphanKind = keyof typeof ORPHAN_KINDS;

export interface Orphan {
  kind: OrphanKind;
  /** Key, prefix, path or resource name. */
  name: string;
  /** Why it is one. */
  reason: string;
  sizeBytes: number;
}

export interface OrphanAges {
  /** Younger ones may be in the making. */
  graceSeconds: number;
  /** Rendered sets that no job was rendered to, or reused, for this long. */
  renderedSetSeconds: number;
}
/** Longer than anything is in the making without a row that says so. */
export const ORPHAN_AGES: OrphanAges = { graceSeconds: 24 * 3600, renderedSetSeconds: 30 * 24 * 3600 };
/** Of all runs only the latest are kept, and of one run so many orphans are named. */
export const JANITOR_REPORTS_KEPT = 100;
export const MAX_REPORTED_ORPHANS = 1_000;

export const JANITOR_SCHEDULE_ID = 'temper-janitor';
/** Every night, at a quiet hour. */
export const JANITOR_CRON = '30 3 * * *';

export interface JanitorInput {
  /** The deployment's own account, whose report it is. */
  accountId: string;
}
export interface JanitorResult {
  removed: number;
  kept: number;
  sizeBytes: number;
}

export interface JanitorActivities {
  /** One report a run, under the run's ID. */
  removeOrphans(input: JanitorInput & { reportId: string }): Promise<JanitorResult>;
}

export const JanitorReport = Type.Object({
  name: ReadOnly(ResourceName()),
  createTime: ReadOnly(Time()),
  removedCount: ReadOnly(Type.Integer()),
  keptCount: ReadOnly(Type.Integer({ description: 'Found and left alone: these are for people to look at' })),
  removedBytes: ReadOnly(Type.String({ description: 'Of the objects that were removed' })),
  orphans: ReadOnly(
    Type.Array(
      Type.Object({
        kind: Type.String({ enum: Object.keys(ORPHAN_KINDS) }),
        orphan: Type.String({ description: 'Key, prefix, path or resource name' }),
        reason: Type.String(),
        sizeBytes: Type.String(),
        removed: Type.Boolean(),
      }),
    ),
  ),
});
export type JanitorReport = Static<typeof JanitorReport>;
