/** Jobs over an object store that fails, and jobs that are cancelled, deleted and paused in every stage, held there by it. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../chaos/random.js';
import { findOrphans } from '../../activities/janitor.js';
import { openDatabase } from '../../stores/database.js';
import { openObjectStore, type ObjectStore } from '../../stores/objects.js';
import { Client, Connection } from '@temporalio/client';
import { FAULTS, type S3Request } from '../faultProxy.js';
import { MOOD_SETTINGS, startOwnPrograms, type OwnPrograms } from '../ownPrograms.js';
import {
  call,
  events,
  freshId,
  jobState,
  ok,
  stack,
  toJsonl,
  trainerPids,
  until,
  untilState,
  uploadDataset,
  type Json,
} from '../temper.js';

const rows = Array.from({ length: 24 }, (_, index) => ({ text: `row ${index}`, mood: ['sad', 'glad', 'mad'][index % 3] }));
let own: OwnPrograms;
let objects: ObjectStore;
let dataset: string;

beforeAll(async () => {
  own = await startOwnPrograms(['control', 'data', 'gpu', 'api']);
  objects = openObjectStore({ endpoint: own.s3.url, region: 'us-east-1', bucket: stack().s3Bucket });
  dataset = (await uploadDataset(freshId('moods'), toJsonl(rows)))['name'] as string;
});

afterAll(async () => {
  objects.close();
  await own.close();
});

async function start(id: string, changes: Json = {}): Promise<void> {
  await ok('POST', 'fineTuningJobs', { jobId: id, modelId: id, dataset, ...MOOD_SETTINGS, ...changes });
}

it('one request in six fails, from the upload to the registered model: the same model as with a store that is well', async () => {
  const [well, ill] = [freshId('well'), freshId('ill')];
  await start(well);
  const random = seededRandom(7);
  await untilState(well, 'JOB_STATE_COMPLETED');
  own.s3.rule = () => (random.integer(1, 6) === 1 ? random.pick(FAULTS) : null);
  const before = own.s3.faults;
  try {
    // An upload that the store breaks off is refused for the moment: its sender tries again.
    const again = (await until('an upload to get through', () => uploadDataset(freshId('moods'), toJsonl(rows)).catch(() => null)))['name'];
    await start(ill, { dataset: again });
    await untilState(ill, 'JOB_STATE_COMPLETED');
  } finally {
    own.s3.rule = () => null;
  }
  expect(own.s3.faults - before).toBeGreaterThan(10);
  const hashes = async (id: string) =>
    ((await ok('GET', `models/${id}`))['files'] as Json[])
      .filter(({ name }) => !['README.md', 'lineage.json'].includes(name as string))
      .map(({ name, sha256 }) => [name, sha256]);
  expect(await hashes(ill)).toEqual(await hashes(well));
});

async function withClient<T>(use: (client: Client) => Promise<T>): Promise<T> {
  const { temporalAddress, temporalNamespace: namespace } = stack();
  const connection = await Connection.connect({ address: temporalAddress });
  return use(new Client({ connection, namespace })).finally(() => connection.close());
}

describe('cancel, delete and pause', () => {
  type Matches = (request: S3Request) => boolean;

  /** Holds the requests of one stage until the test lets them go: `jobs` wait there. */
  async function holdAt(stage: string, matches: Matches, jobs: string[], changes: Json): Promise<() => void> {
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    own.s3.rule = (request) => (matches(request) ? { until: released } : null);
    for (const id of jobs) await start(id, changes);
    for (const id of jobs) await until(`${id} to be ${stage}`, async () => (await ok('GET', `fineTuningJobs/${id}`))['stage'] === stage);
    return () => {
      own.s3.rule = () => null;
      release();
    };
  }

  async function expectNothingLeft(ids: string[]): Promise<void> {
    expect(trainerPids()).toEqual([]);
    for (const id of ids) {
      expect((await call('GET', `models/${id}`)).status).toBe(404);
      const told = (await call('GET', `fineTuningJobs/${id}`)).status === 404 ? [] : await events(id);
      expect(told.map((event) => Number(event['sequence']))).toEqual(told.map((_, index) => index + 1));
    }
    const database = openDatabase(stack().databaseUrl, { maxConnections: 1 });
    const deps = { database, objects, scratch: path.join(own.home, 'scratch') };
    // Old enough is everything here; rendered sets stay, for whoever needs the same.
    const ages = { graceSeconds: 0, renderedSetSeconds: 86_400 };
    const orphans = (client: Client) => findOrphans(deps, client, ages);
    await withClient((client) =>
      until('nothing to be left', async () => (await orphans(client)).every(({ kind }) => kind === 'rendered-set'), 20_000),
    ).finally(() => database.destroy());
  }

  const steer = (id: string, verb: string) =>
    verb === 'delete' ? call('DELETE', `fineTuningJobs/${id}`) : call('POST', `fineTuningJobs/${id}:${verb}`, {});
  /** How it ended; a job that is deleted is cancelled first. */
  const untilEnded = (id: string, isDeleted: boolean) =>
    until(`${id} to be ${isDeleted ? 'gone' : 'ended'}`, async () => {
      const { status, body } = await call('GET', `supervisedFineTuningJobs/${id}`);
      if (isDeleted) return status === 404 && 'gone';
      return ['JOB_STATE_CANCELLED', 'JOB_STATE_COMPLETED'].includes(body['state'] as string) && (body['state'] as string);
    });

  /** The job's workflow has taken at least one of the wishes. */
  const untilAsked = (client: Client, id: string) =>
    until(`${id} to be asked`, async () => {
      const { events: history } = await client.workflow.getHandle(`accounts/${stack().accountId}/fineTuningJobs/${id}`).fetchHistory();
      return history?.some((event) => event.workflowExecutionUpdateAcceptedEventAttributes);
    });

  const stages: [stage: string, matches: Matches, isOnGpu: boolean, changes?: Json][] = [
    // The API reads the dataset while a job is created; the worker asks whether it is there.
    ['checking', ({ method, path: key }) => method === 'HEAD' && key.includes('/datasets/'), false],
    ['rendering', ({ path: key }) => key.includes('/prepared/'), false],
    ['evaluating', ({ path: key }) => /list-type.*adapter-/.test(key), true, { evaluation: true, evaluationSplit: 0.2 }],
    ['verifying', ({ method, path: key }) => method === 'GET' && /adapter-\d+\/[^&]+$/.test(key), true],
    ['registering', ({ method, path: key }) => method === 'PUT' && key.includes('/models/'), false],
  ];
  it.each(stages)('while %s: a legal end, and nothing is left', async (stage, matches, isOnGpu, changes = {}) => {
    // On the GPU there is one job at a time: there, all wishes at once.
    const wishes = isOnGpu ? [['cancel', 'delete', 'pause']] : [['cancel'], ['delete'], ['pause', 'delete', 'cancel', 'resume']];
    const ids = wishes.map((wish) => freshId(`${stage}-${wish.length}`));
    const release = await holdAt(stage, matches, ids, { ...changes, seed: stage.length });
    const replies = Promise.all(ids.flatMap((id, index) => wishes[index]!.map((verb) => steer(id, verb))));
    await withClient((client) => Promise.all(ids.map((id) => untilAsked(client, id)))).finally(release);
    for (const { status, body } of await replies) expect([[200, 400, 404], body]).toEqual([expect.arrayContaining([status]), body]);
    const ends = await Promise.all(ids.map((id, index) => untilEnded(id, wishes[index]!.includes('delete'))));
    // What is being registered may be done before the word arrives: then the model is whole, also when its job is deleted after that.
    for (const [index, id] of ids.entries()) {
      const model = await call('GET', `models/${id}`);
      if (model.status === 404) expect(ends[index]).not.toBe('JOB_STATE_COMPLETED');
      else {
        expect([stage, model.body['state']]).toEqual(['registering', 'READY']);
        expect(['JOB_STATE_COMPLETED', 'gone']).toContain(ends[index]);
        await ok('DELETE', `models/${id}`);
      }
    }
    await expectNothingLeft(ids);
  });
});

it('a job tells what its step waits for, and goes on when the store is well', async () => {
  const id = freshId('told');
  own.s3.rule = ({ path: key }) => (key.includes('/prepared/') ? { status: 500 } : null);
  await start(id, { seed: 4711 });
  const shown = await until('the retry', async () => (await ok('GET', `fineTuningJobs/${id}`))['retry'] as Json | undefined);
  expect(shown).toMatchObject({ step: 'renderJob', failure: { code: 'OBJECT_STORE_UNAVAILABLE', domain: 'PLATFORM', retryable: true } });
  own.s3.rule = ({ path: key }) => (/adapter-\d+\//.test(key) ? { status: 500 } : null);
  await until('the trainer’s result to wait', async () => {
    const { retry } = await ok('GET', `fineTuningJobs/${id}`);
    return (retry as Json | undefined)?.['step'] === 'train' && (retry as Json)['failure'].code === 'OBJECT_STORE_UNAVAILABLE';
  });
  own.s3.rule = () => null;
  await untilState(id, 'JOB_STATE_COMPLETED');
  const job = await ok('GET', `fineTuningJobs/${id}`);
  expect([job['retry'], job['attempt'], await jobState(id)]).toEqual([undefined, 1, 'JOB_STATE_COMPLETED']);
});
