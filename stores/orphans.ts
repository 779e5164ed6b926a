/**
 * What stands under no record, or under one that has no use for it any more: in the object store and among the rows. Whatever removes
 * a resource cleans up after itself; this finds what was missed because something died in between.
 */
import { sql } from 'kysely';
import type { Orphan, OrphanAges, OrphanKind } from '../schemas/janitor.js';
import { TERMINAL_JOB_STATES } from '../schemas/states.js';
import type { Database } from './database.js';
import type { ListedObject, ObjectStore } from './objects.js';

/** Objects of the bucket that nothing refers to. What lies outside Temper's own folders is named and left alone. */
export async function findOrphanObjects(database: Database, objects: ObjectStore, ages: OrphanAges): Promise<Orphan[]> {
  // Listed before the rows are read: what is written meanwhile is not in the list, what is removed meanwhile is looked at again when it is removed.
  const old = (await objects.list('')).filter(({ modifiedTime }) => Date.now() - modifiedTime.getTime() >= ages.graceSeconds * 1000);
  const owners = await readOwners(database, ages);
  const orphans = new Map<string, Orphan>();
  for (const object of old) {
    const found = judge(object, owners);
    if (!found) continue;
    const known = orphans.get(found.name);
    if (known) known.sizeBytes += object.sizeBytes;
    else orphans.set(found.name, { ...found, sizeBytes: object.sizeBytes });
  }
  return [...orphans.values()];
}

interface Owners {
  /** `terminal`: and not one that may still be resumed. */
  jobs: Map<string, { terminal: boolean; failed: boolean; checkpoints: Set<string> }>;
  models: Map<string, { settled: boolean; uploads: Set<string> }>;
  exports: Set<string>;
  datasets: Map<string, { uploadKey: string | null; ready: boolean }>;
  uploads: Set<string>;
  /** Hashes of the rendered sets in use. */
  rendered: Set<string>;
}

async function readOwners(database: Database, { renderedSetSeconds }: OrphanAges): Promise<Owners> {
  const jobs = await database
    .selectFrom('jobs')
    .select([
      'uid',
      'state',
      sql<boolean>`state = 'FAILED' and update_time > now() - make_interval(secs => ${renderedSetSeconds})`.as('resumable'),
    ])
    .execute();
  const checkpoints = await database.selectFrom('job_checkpoints').select(['job_uid', 'key']).execute();
  const models = await database.selectFrom('models').select(['uid', 'state', 'upload']).execute();
  const datasets = await database.selectFrom('datasets').select(['uid', 'state', 'upload']).execute();
  const exports = await database.selectFrom('exports').select('uid').execute();
  const uploads = await database.selectFrom('uploads').select('id').where('state', '=', 'pending').execute();
  const rendered = await database
    .selectFrom('job_events')
    .innerJoin('jobs', 'jobs.uid', 'job_events.job_uid')
    .select(sql<string>`job_events.data ->> 'hash'`.as('hash'))
    .where('job_events.key', '=', 'rendered')
    .where(
      sql<boolean>`(job_events.time > now() - make_interval(secs => ${renderedSetSeconds}) or jobs.state not in (${sql.join([...TERMINAL_JOB_STATES])}))`,
    )
    .execute();
  const keysOf = new Map<string, Set<string>>();
  for (const { job_uid: uid, key } of checkpoints) keysOf.set(uid, (keysOf.get(uid) ?? new Set<string>()).add(key));
  return {
    jobs: new Map(
      jobs.map(({ uid, state, resumable }) => [
        uid,
        {
          terminal: TERMINAL_JOB_STATES.includes(state) && !resumable,
          failed: state === 'FAILED',
          checkpoints: keysOf.get(uid) ?? new Set<string>(),
        },
      ]),
    ),
    models: new Map(
      models.map(({ uid, state, upload }) => [
        uid,
        {
          settled: state === 'READY',
          uploads: new Set((upload?.files ?? []).map(({ key }) => key)),
        },
      ]),
    ),
    exports: new Set(exports.map(({ uid }) => uid)),
    datasets: new Map(datasets.map(({ uid, state, upload }) => [uid, { ready: state === 'READY', uploadKey: upload?.key ?? null }])),
    uploads: new Set(uploads.map(({ id }) => id)),
    rendered: new Set(rendered.map(({ hash }) => hash)),
  };
}

/** The key of the checkpoint that a file belongs to: `jobs/UID/checkpoints/ATTEMPT-STEP`. */
export function checkpointOf(fileKey: string): string {
  return fileKey.split('/').slice(0, 4).join('/');
}

/** The prefix to remove, and why; null for what is in use. */
function judge({ key }: ListedObject, owners: Owners): Omit<Orphan, 'sizeBytes'> | null {
  const [folder = '', owner = '', part = ''] = key.split('/');
  switch (folder) {
    case 'jobs': {
      const job = owners.jobs.get(owner);
      if (!job) return { kind: 'job-objects', name: `jobs/${owner}/`, reason: 'There is no such job.' };
      if (part.startsWith('adapter-') && job.terminal)
        return { kind: 'job-objects', name: `jobs/${owner}/${part}/`, reason: 'The job has ended; its model has a copy of its own.' };
      const checkpoint = checkpointOf(key);
      // While the job runs, a checkpoint's files come before its row.
      if (part === 'checkpoints' && job.terminal && (job.failed || !job.checkpoints.has(checkpoint)))
        return {
          kind: 'job-objects',
          name: `${checkpoint}/`,
          reason: job.failed ? 'The job failed long ago, and nobody resumed it.' : 'The job has no such checkpoint.',
        };
      return null;
    }
    case 'models':
      if (!owners.models.has(owner)) return { kind: 'model-objects', name: `models/${owner}/`, reason: 'There is no such model.' };
      return part === 'exports' && !owners.exports.has(key.split('/')[3]!)
        ? { kind: 'export-objects', name: key.split('/').slice(0, 4).join('/') + '/', reason: 'The model has no such export.' }
        : null;
    case 'datasets':
      return owners.datasets.has(owner)
        ? null
        : { kind: 'dataset-objects', name: `datasets/${owner}/`, reason: 'There is no such dataset.' };
    case 'uploads':
      return judgeUpload(key, owner, part, owners);
    case 'prepared': {
      const hash = part;
      return owners.rendered.has(hash)
        ? null
        : { kind: 'rendered-set', name: `prepared/${owner}/${hash}/`, reason: 'No job uses it; one that needs it again renders it again.' };
    }
    case 'base-models':
    case 'imports':
      return null;
    default:
      return { kind: 'unknown-object', name: key, reason: 'Temper keeps nothing there: it is left alone.' };
  }
}

function judgeUpload(key: string, owner: string, part: string, owners: Owners): Omit<Orphan, 'sizeBytes'> | null {
  if (owner === 'parts')
    return owners.uploads.has(part)
      ? null
      : { kind: 'upload-parts', name: `uploads/parts/${part}/`, reason: 'The upload in parts is over, or was never begun.' };
  const dataset = owners.datasets.get(owner);
  const model = owners.models.get(owner);
  if (!dataset && !model) return { kind: 'upload', name: `uploads/${owner}/`, reason: 'There is no dataset or model that it was for.' };
  const inUse = dataset
    ? !dataset.ready && dataset.uploadKey !== null && (key === dataset.uploadKey || key.startsWith(`${dataset.uploadKey}.parts/`))
    : !model!.settled && model!.uploads.has(key);
  return inUse ? null : { kind: 'upload', name: key, reason: 'A later upload took its place, or its content was published long ago.' };
}

/** Rows that a dead process left: reservations of jobs that ended, keys of jobs that are gone, attempts that nobody ended. */
export async function findOrphanRows(database: Database, { graceSeconds }: OrphanAges): Promise<Orphan[]> {
  const settled = sql<boolean>`jobs.update_time < now() - make_interval(secs => ${graceSeconds})`;
  const ended = sql<boolean>`jobs.state in (${sql.join([...TERMINAL_JOB_STATES])})`;
  const models = await sql<{ uid: string; name: string }>`
    select models.uid, 'accounts/' || models.account_id || '/models/' || models.id as name from models left join jobs on jobs.uid = models.job_uid
    where models.job_uid is not null and models.state <> 'READY' and models.update_time < now() - make_interval(secs => ${graceSeconds})
      and (jobs.uid is null or (${ended} and ${settled}))`.execute(database);
  const secrets = await sql<{ name: string }>`
    select 'accounts/' || account_id || '/secrets/' || id as name from secrets
    where id ~ '^wandb-[0-9a-f-]{36}$' and update_time < now() - make_interval(secs => ${graceSeconds})
      and not exists (select from jobs where 'wandb-' || jobs.uid = secrets.id)`.execute(database);
  const attempts = await sql<{ name: string }>`
    select 'accounts/' || jobs.account_id || '/fineTuningJobs/' || jobs.id || '/attempts/' || job_attempts.attempt as name
    from job_attempts join jobs on jobs.uid = job_attempts.job_uid where job_attempts.end_time is null and ${ended} and ${settled}`.execute(
    database,
  );
  return [
    ...models.rows.map(({ name }) => orphan('model-reservation', name, 'The job that reserved it has ended without a model.')),
    ...secrets.rows.map(({ name }) => orphan('secret', name, 'The job it was for is gone.')),
    ...attempts.rows.map(({ name }) => orphan('attempt', name, 'The job has ended, the attempt never did.')),
  ];
}

/** One that takes no room worth counting. */
export function orphan(kind: OrphanKind, name: string, reason: string): Orphan {
  return { kind, name, reason, sizeBytes: 0 };
}

/** Removes what an orphan is made of, where that is objects or rows. Nothing there is success. */
export async function removeOrphan(database: Database, objects: ObjectStore, { kind, name }: Orphan): Promise<void> {
  const [, account = '', , id = '', , attempt = ''] = name.split('/');
  switch (kind) {
    case 'model-reservation':
      await database
        .deleteFrom('models')
        .where('account_id', '=', account)
        .where('id', '=', id)
        .where('state', '<>', 'READY')
        .where('job_uid', 'is not', null)
        .execute();
      return;
    case 'secret':
      await database.deleteFrom('secrets').where('account_id', '=', account).where('id', '=', id).execute();
      return;
    case 'attempt':
      await sql`update job_attempts set outcome = 'lost', end_time = now(), end_step = start_step from jobs
        where jobs.uid = job_attempts.job_uid and jobs.account_id = ${account} and jobs.id = ${id}
          and job_attempts.attempt = ${Number(attempt)} and job_attempts.end_time is null`.execute(database);
      return;
    default:
      await objects.removePrefix(name);
  }
}
