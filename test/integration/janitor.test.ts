/** The janitor: one orphan of each kind is planted, found, removed where that is safe, and told in a report. */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, statSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { expect, it } from 'vitest';
import { loadSecrets } from '../../dev/secrets.js';
import { findOrphans, removeFound } from '../../activities/janitor.js';
import type { OrphanKind } from '../../schemas/janitor.js';
import { openDatabase } from '../../stores/database.js';
import { openObjectStore } from '../../stores/objects.js';
import { call, freshId, listObjects, ok, stack, until, type Json } from '../temper.js';

const LONG_AGO = new Date(Date.now() - 40 * 24 * 3600 * 1000);

it('finds one orphan of each kind, removes what is safe, and leaves the rest', async () => {
  const { home, accountId, s3Endpoint, s3Bucket, databaseUrl, temporalAddress } = stack();
  const secrets = loadSecrets(home);
  process.env['AWS_ACCESS_KEY_ID'] = secrets.s3AccessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = secrets.s3SecretAccessKey;
  const objects = openObjectStore({ endpoint: s3Endpoint, region: 'us-east-1', bucket: s3Bucket });
  const rows = new pg.Client(databaseUrl);
  await rows.connect();
  const uid = randomUUID();
  const id = freshId('orphan');
  const planted: Partial<Record<OrphanKind, string>> = {
    'job-objects': `jobs/${uid}/`,
    'model-objects': `models/${uid}/`,
    'dataset-objects': `datasets/${uid}/`,
    upload: `uploads/${uid}/`,
    'upload-parts': `uploads/parts/${uid}/`,
    'rendered-set': `prepared/${accountId}/${uid}/`,
    'unknown-object': `notes-of-somebody/${uid}`,
  };
  const keyOf = (name: string) => (name.endsWith('/') ? `${name}file` : name);
  for (const name of Object.values(planted)) await objects.putBytes(keyOf(name), 'left behind');
  for (const name of Object.values(planted)) makeOld(home, keyOf(name));
  const young = `jobs/${randomUUID()}/file`;
  await objects.putBytes(young, 'in the making');

  const job = await plantJob(rows, accountId, id);
  await rows.query(
    `insert into models (uid, account_id, id, kind, state, job_uid, update_time) values ($1, $2, $3, 'HF_PEFT_ADDON', 'UPLOADING', $4, $5)`,
    [randomUUID(), accountId, id, uid, LONG_AGO],
  );
  await rows.query(`insert into secrets (account_id, id, ciphertext, update_time) values ($1, $2, '', $3)`, [
    accountId,
    `wandb-${uid}`,
    LONG_AGO,
  ]);
  await rows.query(`insert into job_attempts (job_uid, attempt, worker, reason) values ($1, 1, 'gone', 'first attempt')`, [job]);
  const scratch = path.join(home, 'scratch', `train-999999999-${uid}`);
  mkdirSync(scratch);
  utimesSync(scratch, LONG_AGO, LONG_AGO);
  Object.assign(planted, {
    'model-reservation': `accounts/${accountId}/models/${id}`,
    secret: `accounts/${accountId}/secrets/wandb-${uid}`,
    attempt: `accounts/${accountId}/fineTuningJobs/${id}/attempts/1`,
    'scratch-folder': scratch,
  });

  const newest = async () => ((await ok('GET', 'janitorReports'))['janitorReports'] as Json[])[0];
  const earlier = await newest(); // of its schedule
  await ok('POST', 'janitorReports:run', {});
  const report = await until('the report', async () => {
    const found = await newest();
    return found?.['name'] !== earlier?.['name'] && found;
  });
  const found = Object.fromEntries((report['orphans'] as Json[]).map(({ kind, orphan, removed }) => [`${kind} ${orphan}`, removed]));
  for (const [kind, name] of Object.entries(planted)) expect(found).toHaveProperty([`${kind} ${name}`], kind !== 'unknown-object');
  expect(await ok('GET', (report['name'] as string).split('/').slice(2).join('/'))).toEqual(report);
  const left = await Promise.all(Object.values(planted).map(async (name) => (await listObjects(keyOf(name))).length));
  expect(left.filter((count) => count > 0)).toHaveLength(1);
  expect(await listObjects(young)).toEqual([young]);
  expect(readdirSync(path.dirname(scratch))).not.toContain(path.basename(scratch));
  expect(await call('GET', `models/${id}`)).toMatchObject({ status: 404 });
  expect((await rows.query('select outcome from job_attempts where job_uid = $1', [job])).rows).toEqual([{ outcome: 'lost' }]);

  // What cannot be made old: an open workflow of a job that is gone, and a job whose workflow is gone.
  const database = openDatabase(databaseUrl, { maxConnections: 1 });
  const connection = await Connection.connect({ address: temporalAddress });
  try {
    const client = new Client({ connection });
    const workflowId = `accounts/${accountId}/fineTuningJobs/${id}-gone`;
    await client.workflow.start('FineTuningWorkflow', { workflowId, taskQueue: 'nobody', memo: { uid }, args: [{}] });
    await rows.query(`update jobs set state = 'RUNNING', workflow_started = true where uid = $1`, [job]);
    const deps = { database, objects, scratch: path.dirname(scratch) };
    const ages = { graceSeconds: 0, renderedSetSeconds: 0 };
    const kinds = ['workflow', 'job-without-workflow'];
    const open = await until('the workflow to be listed', async () => {
      const seen = (await findOrphans(deps, client, ages)).filter(({ kind, name }) => kinds.includes(kind) && name.includes(id));
      return seen.length === 2 && seen;
    });
    expect(open.map(({ kind }) => kind).sort()).toEqual(kinds.toSorted());
    await removeFound(
      deps,
      client,
      open.find(({ kind }) => kind === 'workflow')!,
    );
    await removeFound(
      deps,
      client,
      open.find(({ kind }) => kind === 'workflow')!,
    );
    expect((await client.workflow.getHandle(workflowId).describe()).status.name).toBe('TERMINATED');
  } finally {
    await connection.close();
    await database.destroy();
    await rows.query('delete from jobs where uid = $1', [job]);
    await rows.end();
    await objects.removePrefix(planted['unknown-object']!);
    await objects.removePrefix(young);
    objects.close();
  }
});

/** The row of a job that ended long ago. */
async function plantJob(rows: pg.Client, accountId: string, id: string): Promise<string> {
  const uid = randomUUID();
  await rows.query(
    `insert into jobs (uid, account_id, id, collection, request, request_hash, settings, setting_origins, dataset_name, dataset_uid, base_model,
      kind, model_id, state, workflow_started, update_time)
     values ($1, $2, $3, 'fineTuningJobs', '{}', '', '{}', '{}', '', $1, '', 'textClassification', $3, 'FAILED', true, $4)`,
    [uid, accountId, id, LONG_AGO],
  );
  return uid;
}

/** The gateway keeps objects as files: their times are the objects'. */
function makeOld(home: string, key: string): void {
  for (const name of readdirSync(path.join(home, 's3', 'objects'), { recursive: true, encoding: 'utf8' })) {
    const file = path.join(home, 's3', 'objects', name);
    if (name.endsWith(key) && statSync(file).isFile()) utimesSync(file, LONG_AGO, LONG_AGO);
  }
}
