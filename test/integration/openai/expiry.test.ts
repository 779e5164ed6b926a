/** Files with a time: gone for everyone when it is over, and removed with their content as soon as no job needs them. */
import { Client, Connection } from '@temporalio/client';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { removeExpired } from '../../../api/openai/expiry.js';
import { loadSecrets } from '../../../dev/secrets.js';
import { openDatabase, type Database } from '../../../stores/database.js';
import { openObjectStore, type ObjectStore } from '../../../stores/objects.js';
import { call, freshId, ok, stack, toJsonl, untilState } from '../../temper.js';

let database: Database;
let objects: ObjectStore;
let connection: Connection;
let client: OpenAI;

beforeAll(async () => {
  const { apiUrl, apiKey, databaseUrl, temporalAddress, s3Endpoint, s3Bucket, home } = stack();
  const { s3AccessKeyId, s3SecretAccessKey } = loadSecrets(home);
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: s3AccessKeyId, AWS_SECRET_ACCESS_KEY: s3SecretAccessKey });
  database = openDatabase(databaseUrl);
  objects = openObjectStore({ endpoint: s3Endpoint, region: 'us-east-1', bucket: s3Bucket });
  connection = await Connection.connect({ address: temporalAddress });
  client = new OpenAI({ baseURL: `${apiUrl}/v1`, apiKey, maxRetries: 0 });
});
afterAll(async () => {
  await database.destroy();
  objects.close();
  await connection.close();
});

/** What the API does every minute. */
const round = () => removeExpired({ database, objects, temporal: new Client({ connection }) });

it('a file whose time is over is gone at once, and removed when no job needs it', async () => {
  const rows = [
    { prompt: 'a', completion: 'b' },
    { prompt: 'c', completion: 'd' },
  ];
  const file = await client.files.create({
    file: await toFile(Buffer.from(toJsonl(rows)), 'rows.jsonl'),
    purpose: 'fine-tune',
    expires_after: { anchor: 'created_at', seconds: 3600 },
  });
  expect((await client.files.waitForProcessing(file.id, { pollInterval: 100 })).status).toBe('processed');
  const job = freshId('needs');
  const baseModel = 'accounts/temper/models/temper-tiny';
  const textCompletion = { inputTemplate: '{prompt}', outputTemplate: '{completion}' };
  await ok('POST', 'fineTuningJobs', { jobId: job, dataset: file.id, baseModel, textCompletion });
  await ok('POST', `fineTuningJobs/${job}:pause`, {});
  const { object_key: key } = await database
    .updateTable('datasets')
    .set({ expire_time: new Date(Date.now() - 1000) })
    .where('id', '=', file.id)
    .returning('object_key')
    .executeTakeFirstOrThrow();

  await expect(client.files.retrieve(file.id)).rejects.toMatchObject({ status: 404 });
  expect((await client.files.list()).data.map(({ id }) => id)).not.toContain(file.id);
  await round();
  expect(await objects.head(key!)).not.toBeNull();

  await ok('POST', `fineTuningJobs/${job}:cancel`, {});
  await untilState(job, 'JOB_STATE_CANCELLED');
  await round();
  expect(await objects.head(key!)).toBeNull();
  expect((await call('GET', `datasets/${file.id}`)).status).toBe(404);
});
