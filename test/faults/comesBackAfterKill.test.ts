import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HeadBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { expect, inject, it, vi } from 'vitest';
import type { DevFile } from '../../dev/stack.js';

const stack = inject('stack');
const readDevFile = (): DevFile => JSON.parse(readFileSync(join(stack.home, 'dev.json'), 'utf8')) as DevFile;
const { s3AccessKeyId, s3SecretAccessKey } = JSON.parse(readFileSync(join(stack.home, 'secrets.json'), 'utf8')) as Record<string, string>;

/** Each kind of process, where its pid stands in dev.json, and a question only it can answer. */
const processes: [name: string, pid: (dev: DevFile) => number | undefined, ask: () => Promise<unknown>][] = [
  ['api', (dev) => dev.pids.api, () => fetch(`${stack.apiUrl}/readyz`).then((response) => expect(response.status).toBe(200))],
  ['database', (dev) => dev.pids.database, askDatabase],
  [
    'temporal',
    (dev) => dev.pids.temporal,
    () => Connection.connect({ address: stack.temporalAddress }).then((connection) => connection.close()),
  ],
  ['s3', (dev) => dev.pids.s3, askS3],
  ['first worker', (dev) => dev.pids.workers[0], async () => {}],
  ['second worker', (dev) => dev.pids.workers[1], async () => {}],
  ['third worker', (dev) => dev.pids.workers[2], async () => {}],
  ['fourth worker', (dev) => dev.pids.workers[3], async () => {}],
];

it.each(processes)('%s: killed, it is back at the same address, and dev.json has its new pid', async (_name, pidIn, ask) => {
  await vi.waitFor(ask, { timeout: 30_000, interval: 100 }); // the one killed before it may be what this one needs
  const killed = pidIn(readDevFile())!;
  process.kill(killed, 'SIGKILL');
  await vi.waitUntil(() => pidIn(readDevFile()) !== killed, { timeout: 60_000, interval: 100 });
  await vi.waitFor(ask, { timeout: 30_000, interval: 100 });
  const { pids: _pids, ...addresses } = readDevFile();
  expect(stack).toMatchObject(addresses);
});

async function askDatabase(): Promise<void> {
  const client = new pg.Client(stack.databaseUrl);
  await client.connect();
  await client.query('SELECT 1').finally(() => client.end());
}

async function askS3(): Promise<void> {
  const credentials = { accessKeyId: s3AccessKeyId!, secretAccessKey: s3SecretAccessKey! };
  const client = new S3Client({ endpoint: stack.s3Endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
  await client.send(new HeadBucketCommand({ Bucket: stack.s3Bucket }));
}
