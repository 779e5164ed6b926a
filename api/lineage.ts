/** `GET …/datasets|fineTuningJobs|models/{id}:lineage`: the way from data to what serves, in both directions. */
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { ModelId } from '../schemas/alias.js';
import { notFound, TemperError } from '../schemas/errors.js';
import { LineageGraph, MAX_LINEAGE_DEPTH, MAX_LINEAGE_NODES, type LineageKind, type LineageNode } from '../schemas/lineageGraph.js';
import { resourceName } from '../schemas/names.js';
import { Id } from '../schemas/wire.js';
import type { Database } from '../stores/database.js';
import { downstreamOf, existing, findTombstones, upstreamOf, type Neighbour } from '../stores/lineage.js';
import { resolveModelName } from '../jobs/modelNames.js';
import type { ApiDependencies } from './server.js';

const COLLECTIONS = { datasets: 'DATASET', fineTuningJobs: 'JOB', models: 'MODEL' } as const;

export function lineageRoutes(server: FastifyInstance, { database }: ApiDependencies): void {
  for (const [collection, kind] of Object.entries(COLLECTIONS) as [keyof typeof COLLECTIONS, LineageKind][]) {
    const params = Type.Object({ account: Id(), id: collection === 'models' ? ModelId() : Id() });
    server.get(
      `/v1/accounts/:account/${collection}/:id(^[^:/]+$)::lineage`,
      { config: { access: 'user' }, schema: { params, response: { 200: LineageGraph } } },
      async (request) => {
        const { account, id } = request.params as Static<typeof params>;
        const given = resourceName(account, collection, id);
        return readGraph(database, account, collection === 'models' ? await resolveModelName(database, account, id) : given, kind);
      },
    );
  }
}

type Walk = (database: Database, accountId: string, name: string, kind: LineageKind) => Promise<Neighbour[]>;

/** @throws TemperError RESOURCE_NOT_FOUND for what is not there and left no tombstone */
async function readGraph(database: Database, accountId: string, given: string, kind: LineageKind): Promise<LineageGraph> {
  const collection = Object.entries(COLLECTIONS).find(([, of]) => of === kind)![0];
  const name = given.includes('/') ? given : `accounts/${accountId}/${collection}/${given}`;
  const known = await existing(database, accountId, [name]);
  if (!known.has(name) && !(await findTombstones(database, accountId, [name])).has(name))
    throw notFound(accountId, collection, name.slice(name.lastIndexOf('/') + 1));
  const up = await walk(database, accountId, name, kind, upstreamOf);
  const down = await walk(database, accountId, name, kind, downstreamOf);
  return { name, upstream: up.nodes, downstream: down.nodes, truncated: up.truncated || down.truncated };
}

async function walk(
  database: Database,
  accountId: string,
  start: string,
  startKind: LineageKind,
  step: Walk,
): Promise<{ nodes: LineageNode[]; truncated: boolean }> {
  const nodes: LineageNode[] = [];
  const seen = new Set([start]);
  let edge: { name: string; kind: LineageKind }[] = [{ name: start, kind: startKind }];
  for (let depth = 1; edge.length > 0 && depth <= MAX_LINEAGE_DEPTH; depth += 1) {
    const next: typeof edge = [];
    for (const { name: of, kind: ofKind } of edge) {
      for (const { name, kind, relation, sha256 } of await step(database, accountId, of, ofKind)) {
        if (seen.has(name)) continue;
        if (nodes.length === MAX_LINEAGE_NODES) return { nodes: await markDeleted(database, accountId, nodes), truncated: true };
        seen.add(name);
        nodes.push({ name, kind, relation, of, depth, ...(sha256 ? { sha256 } : {}) });
        next.push({ name, kind });
      }
    }
    edge = next;
  }
  return { nodes: await markDeleted(database, accountId, nodes), truncated: edge.length > 0 };
}

/** Aliases, exports and schedules come from their own rows: they are there. */
async function markDeleted(database: Database, accountId: string, nodes: LineageNode[]): Promise<LineageNode[]> {
  const names = nodes.filter(({ kind }) => ['DATASET', 'JOB', 'MODEL'].includes(kind)).map(({ name }) => name);
  const there = await existing(database, accountId, names);
  const gone = names.filter((name) => !there.has(name));
  const tombstones = await findTombstones(database, accountId, gone);
  return nodes.map((node) => {
    if (!gone.includes(node.name)) return node;
    const tombstone = tombstones.get(node.name);
    return {
      ...node,
      deleted: true,
      ...(tombstone ? { deletedBy: tombstone.deleted_by, deleteTime: tombstone.delete_time.toISOString() } : {}),
      ...(tombstone?.facts.sha256 ? { sha256: tombstone.facts.sha256 } : {}),
    };
  });
}

/** What forbids a deletion that is not forced. @throws TemperError RESOURCE_IN_USE with the names */
export function refuseStoodOn(name: string, standing: Neighbour[]): void {
  if (standing.length === 0) return;
  const named = `${standing
    .slice(0, 5)
    .map((one) => one.name)
    .join(', ')}${standing.length > 5 ? ` and ${standing.length - 5} more` : ''}`;
  throw new TemperError(
    'RESOURCE_IN_USE',
    `${named} ${standing.length === 1 ? 'stands' : 'stand'} on ${name}. Delete what stands on it first, or delete it with force: then a tombstone keeps the lineage readable.`,
    standing.slice(0, 20).map((one) => ({ reason: 'RESOURCE_IN_USE', message: one.name })),
  );
}
