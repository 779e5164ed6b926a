/** Where a resource came from, and what stands on it, as far as there are records: of what was deleted, by its tombstone. */
import { Type, type Static } from 'typebox';
import { ResourceName } from './wire.js';

/** Resources of one answer; steps from the one that is asked for. */
export const MAX_LINEAGE_NODES = 500;
export const MAX_LINEAGE_DEPTH = 20;

export const LINEAGE_KINDS = ['DATASET', 'JOB', 'MODEL', 'ALIAS', 'EXPORT', 'SCHEDULE'] as const;
export type LineageKind = (typeof LINEAGE_KINDS)[number];

const Node = Type.Object({
  name: ResourceName(),
  kind: Type.String({ enum: [...LINEAGE_KINDS] }),
  /** What it is to `of`. */
  relation: Type.String({ description: 'dataset, evaluation dataset, base model, warm start, job, model, alias, export, schedule' }),
  of: ResourceName({ description: 'The resource, nearer to the one asked for, that it is related to' }),
  depth: Type.Integer({ description: 'Steps from the one that is asked for, from 1' }),
  deleted: Type.Optional(Type.Boolean({ description: 'It is gone; what is told of it was recorded elsewhere' })),
  deletedBy: Type.Optional(Type.String()),
  deleteTime: Type.Optional(Type.String()),
  sha256: Type.Optional(Type.String({ description: 'Of a dataset’s file, or a model’s weights' })),
});
export const LineageGraph = Type.Object({
  name: ResourceName(),
  upstream: Type.Array(Node, { description: 'What it was made from, the nearest first' }),
  downstream: Type.Array(Node, { description: 'What stands on it, the nearest first' }),
  truncated: Type.Boolean({ description: 'There is more than is shown' }),
});
export type LineageGraph = Static<typeof LineageGraph>;
export type LineageNode = LineageGraph['upstream'][number];
