/** The worker processes that live. A row is its worker's own: written by it, removed when it leaves in good order, swept when it did not. */
import { sql, type Selectable } from 'kysely';
import { WORKER_SILENT_SECONDS, type WorkerKind, type WorkerReport } from '../schemas/worker.js';
import type { Database, WorkersTable } from './database.js';

export interface LivingWorker extends Selectable<WorkersTable> {
  /** Since it was last heard of. */
  silentSeconds: number;
}

/** A worker that was killed is shown as gone for this long. */
const GONE_SHOWN = '15 minutes';

export async function recordWorker(
  database: Database,
  worker: { identity: string; kind: WorkerKind; version: string; startTime: Date; report: WorkerReport },
): Promise<void> {
  const state = {
    clock_offset_ms: sql<number>`round(${Date.now()}::float8 - extract(epoch from clock_timestamp()) * 1000)::int`,
    heartbeat_time: sql<Date>`now()`,
    report: JSON.stringify(worker.report),
  };
  await database
    .insertInto('workers')
    .values({ identity: worker.identity, kind: worker.kind, version: worker.version, start_time: worker.startTime, ...state })
    .onConflict((conflict) => conflict.column('identity').doUpdateSet(state))
    .execute();
  await database
    .deleteFrom('workers')
    .where(sql<boolean>`heartbeat_time < now() - ${sql.lit(GONE_SHOWN)}::interval`)
    .execute();
}

export async function removeWorker(database: Database, identity: string): Promise<void> {
  await database.deleteFrom('workers').where('identity', '=', identity).execute();
}

export async function listWorkers(database: Database): Promise<LivingWorker[]> {
  const rows = await database
    .selectFrom('workers')
    .selectAll()
    .select(sql<number>`extract(epoch from now() - heartbeat_time)::float8`.as('silentSeconds'))
    .orderBy('kind')
    .orderBy('identity')
    .execute();
  return rows;
}

export function isSilent(worker: LivingWorker): boolean {
  return worker.silentSeconds > WORKER_SILENT_SECONDS;
}
