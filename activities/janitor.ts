/**
 * The janitor: finds what compensation missed, in the object store, among the rows, in Temporal and on this worker's disk; removes what
 * nothing can need any more, and leaves the rest to people. Each run writes a report.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { Context } from '@temporalio/activity';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import { sql } from 'kysely';
import {
  MAX_REPORTED_ORPHANS,
  ORPHAN_AGES,
  ORPHAN_KINDS,
  type JanitorActivities,
  type Orphan,
  type OrphanAges,
} from '../schemas/janitor.js';
import { resourceName } from '../schemas/names.js';
import { TERMINAL_JOB_STATES } from '../schemas/states.js';
import type { Database } from '../stores/database.js';
import { recordJanitorReport } from '../stores/janitorReports.js';
import type { ObjectStore } from '../stores/objects.js';
import { findOrphanObjects, findOrphanRows, orphan, removeOrphan } from '../stores/orphans.js';
import { withHeartbeats } from './heartbeat.js';
import { isAlive, scratchOwner } from './scratch.js';

interface Dependencies {
  database: Database;
  objects: ObjectStore;
  scratch: string;
}

export function makeJanitor(deps: Dependencies): JanitorActivities {
  return {
    removeOrphans: ({ accountId, reportId }) =>
      withHeartbeats(async () => {
        const { client } = Context.current();
        const found = await findOrphans(deps, client, ORPHAN_AGES);
        const orphans: (Orphan & { removed: boolean })[] = [];
        for (const each of found) {
          const removed = ORPHAN_KINDS[each.kind];
          if (removed) await removeFound(deps, client, each);
          orphans.push({ ...each, removed });
        }
        const removed = orphans.filter((each) => each.removed);
        const result = {
          removed: removed.length,
          kept: orphans.length - removed.length,
          sizeBytes: removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
        };
        await recordJanitorReport(deps.database, {
          account_id: accountId,
          id: reportId,
          // Those that were left alone first: they are what somebody must look at.
          orphans: orphans.sort((a, b) => Number(a.removed) - Number(b.removed)).slice(0, MAX_REPORTED_ORPHANS),
          removed: result.removed,
          kept: result.kept,
          size_bytes: result.sizeBytes,
        });
        return result;
      }),
  };
}

export async function findOrphans(deps: Dependencies, client: Client, ages: OrphanAges): Promise<Orphan[]> {
  return [
    ...(await findOrphanObjects(deps.database, deps.objects, ages)),
    ...(await findOrphanRows(deps.database, ages)),
    ...(await findOrphanWorkflows(deps.database, client, ages)),
    ...(await findJobsWithoutWorkflow(deps.database, client, ages)),
    ...(await findScratch(deps.scratch, ages)),
  ];
}

export async function removeFound(deps: Dependencies, client: Client, found: Orphan): Promise<void> {
  if (found.kind === 'scratch-folder') return rm(found.name, { recursive: true, force: true });
  if (found.kind !== 'workflow') return removeOrphan(deps.database, deps.objects, found);
  try {
    await client.workflow.getHandle(found.name).terminate('The record that it worked for is gone.');
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}

/** Workflows of jobs whose row is gone: nothing that they write can be stored. */
async function findOrphanWorkflows(database: Database, client: Client, { graceSeconds }: OrphanAges): Promise<Orphan[]> {
  const before = new Date(Date.now() - graceSeconds * 1000).toISOString();
  const query = `WorkflowType = "FineTuningWorkflow" and ExecutionStatus = "Running" and StartTime < "${before}"`;
  const orphans: Orphan[] = [];
  for await (const { workflowId, memo } of client.workflow.list({ query })) {
    const uid = memo?.['uid'] as string | undefined;
    const job = uid && (await database.selectFrom('jobs').select('uid').where('uid', '=', uid).executeTakeFirst());
    if (uid && !job) orphans.push(orphan('workflow', workflowId, 'The job that it works for is gone.'));
  }
  return orphans;
}

/** Jobs that wait for a workflow that no longer runs, and that the API did not cancel: Temporal has forgotten it. */
async function findJobsWithoutWorkflow(database: Database, client: Client, { graceSeconds }: OrphanAges): Promise<Orphan[]> {
  const jobs = await database
    .selectFrom('jobs')
    .select(['account_id', 'id'])
    .where('state', 'not in', [...TERMINAL_JOB_STATES])
    .where('workflow_started', '=', true)
    .where(sql<boolean>`update_time < now() - make_interval(secs => ${graceSeconds})`)
    .execute();
  const orphans: Orphan[] = [];
  for (const { account_id: account, id } of jobs) {
    const name = resourceName(account, 'fineTuningJobs', id);
    const status = await client.workflow
      .getHandle(name)
      .describe()
      .then(
        (described) => described.status.name,
        (error: unknown) => {
          if (error instanceof WorkflowNotFoundError) return 'NOT_FOUND' as const;
          throw error;
        },
      );
    if (status !== 'RUNNING')
      orphans.push(orphan('job-without-workflow', name, `Its workflow is ${status}: delete the job and create it again.`));
  }
  return orphans;
}

/** Folders of steps in which nothing was written for long: those of dead processes go when a worker starts, these were in a machine that lived on. */
async function findScratch(scratch: string, { graceSeconds }: OrphanAges): Promise<Orphan[]> {
  const orphans: Orphan[] = [];
  for (const name of await readdir(scratch)) {
    const pid = scratchOwner(name);
    const found = await stat(path.join(scratch, name)).catch(() => undefined);
    if (!pid || isAlive(pid) || !found || Date.now() - found.mtimeMs < graceSeconds * 1000) continue;
    orphans.push(orphan('scratch-folder', path.join(scratch, name), 'The process that made it has ended.'));
  }
  return orphans;
}
