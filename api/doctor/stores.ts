/** Postgres, the object store, and what the records say of work that waits for too long. */
import { randomUUID } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { sql } from 'kysely';
import type { Check } from '../../schemas/doctor.js';
import { compareMigrations } from '../../stores/database.js';
import type { ApiDependencies } from '../server.js';

/** Clocks further apart than this spoil the order of events and, further still, the signatures of S3. */
export const CLOCK_WARNING_MS = 2_000;
export const CLOCK_FAILED_MS = 60_000;
/** Of a disk: below this share free, it should be seen to; below the other, work fails soon. */
export const DISK_WARNING_SHARE = 0.1;
export const DISK_FAILED_SHARE = 0.02;
/** A workflow starts within seconds of its row. */
const UNSTARTED_SECONDS = 60;
const UNDELIVERED_SECONDS = 15 * 60;

export async function checkDatabase({ database, config }: ApiDependencies): Promise<Check[]> {
  const startMs = performance.now();
  const { rows } = await sql<{ version: string; offset: number }>`
    select current_setting('server_version') as version,
      (${Date.now()}::float8 - extract(epoch from clock_timestamp()) * 1000)::float8 as "offset"`.execute(database);
  const { version, offset } = rows[0]!;
  const { missing, unknown } = await compareMigrations(database);
  return [
    { component: 'database', name: 'reachable', state: 'OK', message: `Postgres ${version} answers in ${since(startMs)} ms.` },
    missing.length > 0
      ? problem('FAILED', 'database', 'migrations', `Missing: ${missing.join(', ')}.`, 'Restart the API: it applies what is missing.')
      : unknown.length > 0
        ? problem(
            'WARNING',
            'database',
            'migrations',
            `The database has ${unknown.join(', ')}, which this version does not know.`,
            'A newer version has been here: bring this API up to date.',
          )
        : { component: 'database', name: 'migrations', state: 'OK', message: 'All are applied.' },
    checkClock('api', 'clock', offset),
    checkDisk(
      'api',
      'disk',
      await statfs(config.tmpFolder).then((disk) => ({ free: disk.bavail * disk.bsize, of: disk.blocks * disk.bsize })),
    ),
  ];
}

/** Writes, reads back and removes a small object, as every upload and download does. */
export async function checkObjectStore({ objects }: ApiDependencies): Promise<Check[]> {
  const startMs = performance.now();
  const key = `readiness/doctor-${randomUUID()}`;
  await objects.putBytes(key, key);
  const back = await objects.getText(key);
  await objects.removePrefix(key);
  if (back !== key)
    return [
      problem('FAILED', 'objectStore', 'round trip', 'An object came back with other bytes.', 'Do not use this S3 service: it loses data.'),
    ];
  if (await objects.head(key))
    return [
      problem(
        'WARNING',
        'objectStore',
        'round trip',
        'An object is still there after it was deleted.',
        'Allow s3:DeleteObject to these credentials.',
      ),
    ];
  return [
    {
      component: 'objectStore',
      name: 'round trip',
      state: 'OK',
      message: `An object was written, read and deleted in ${since(startMs)} ms.`,
    },
  ];
}

export async function checkJobs({ database }: ApiDependencies): Promise<Check[]> {
  const { rows } = await sql<{ count: number; age: number | null }>`
    select count(*)::int8 as count, extract(epoch from now() - min(create_time))::float8 as age
    from jobs where not workflow_started and create_time < now() - make_interval(secs => ${UNSTARTED_SECONDS})`.execute(database);
  const { count, age } = rows[0]!;
  if (count === 0) return [{ component: 'job', name: 'workflows', state: 'OK', message: 'Every job has its workflow.' }];
  return [
    problem(
      'FAILED',
      'job',
      'workflows',
      `${count} jobs wait for their workflow to be started, the oldest for ${Math.round(age ?? 0)} s.`,
      'See to Temporal; the API starts them when it answers. Its log names each job.',
    ),
  ];
}

export async function checkWebhooks({ database }: ApiDependencies): Promise<Check[]> {
  const { rows } = await sql<{ count: number; age: number | null }>`
    select count(*)::int8 as count, extract(epoch from now() - min(create_time))::float8 as age
    from webhook_deliveries where state = 'PENDING' and create_time < now() - make_interval(secs => ${UNDELIVERED_SECONDS})`.execute(
    database,
  );
  const { count, age } = rows[0]!;
  if (count === 0) return [{ component: 'webhook', name: 'deliveries', state: 'OK', message: 'None waits for long.' }];
  return [
    problem(
      'WARNING',
      'webhook',
      'deliveries',
      `${count} deliveries are still tried, the oldest for ${Math.round((age ?? 0) / 60)} min.`,
      'Their receivers do not answer: see `temper list webhooks` of the accounts.',
    ),
  ];
}

export function checkClock(component: string, name: string, offsetMs: number): Check {
  const off = Math.abs(offsetMs);
  const message = `${Math.round(off)} ms ${offsetMs < 0 ? 'behind' : 'ahead of'} the database’s clock.`;
  if (off < CLOCK_WARNING_MS) return { component, name, state: 'OK', message };
  return problem(
    off < CLOCK_FAILED_MS ? 'WARNING' : 'FAILED',
    component,
    name,
    message,
    'Synchronise the clocks of both machines (chrony, systemd-timesyncd).',
  );
}

export function checkDisk(component: string, name: string, { free, of }: { free: number; of: number }): Check {
  const share = of === 0 ? 1 : free / of;
  const message = `${(free / 1e9).toFixed(1)} GB of ${(of / 1e9).toFixed(0)} GB are free.`;
  if (share > DISK_WARNING_SHARE) return { component, name, state: 'OK', message };
  const advice = 'Free space, or point TEMPER_HOME (and TEMPER_CACHE) to a larger disk; TEMPER_MODEL_CACHE_GB limits the base models kept.';
  return problem(share > DISK_FAILED_SHARE ? 'WARNING' : 'FAILED', component, name, message, advice);
}

export function problem(state: 'WARNING' | 'FAILED', component: string, name: string, message: string, advice: string): Check {
  return { component, name, state, message, advice };
}

function since(startMs: number): number {
  return Math.round(performance.now() - startMs);
}
