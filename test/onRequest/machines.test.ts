/** What befalls the machines that workers run on: a GPU wanted twice, a full disk, too little memory, a wrong clock, a cable that is cut. */
import { spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { rootFolder } from '../../dev/stack.js';
import { startRelay, type Relay } from '../faultProxy.js';
import { MOOD_SETTINGS, startOwnPrograms, stopWorker, type OwnPrograms } from '../ownPrograms.js';
import {
  call,
  downloadModel,
  events,
  freshId,
  jobState,
  metrics,
  ok,
  stack,
  toJsonl,
  until,
  untilState,
  uploadDataset,
  type Json,
} from '../temper.js';

const rows = Array.from({ length: 64 }, (_, index) => ({ text: `row ${index}`, mood: ['sad', 'glad', 'mad'][index % 3] }));
/** Version 1 of control groups. */
const MEMORY_GROUPS = '/sys/fs/cgroup/memory';
const isRoot = process.getuid?.() === 0;
let own: OwnPrograms;
let dataset: string;
let workers: ChildProcess[] = [];

beforeAll(async () => {
  own = await startOwnPrograms(['control', 'api']);
});

afterEach(async () => {
  await Promise.all(workers.splice(0).map(stopWorker));
});

afterAll(() => own.close());

async function startWorker(kind: 'data' | 'gpu', environment: Record<string, string> = {}, launch: string[] = []): Promise<void> {
  workers.push(await own.startWorker(kind, environment, launch));
}

async function start(id: string, changes: Json = {}): Promise<void> {
  dataset ??= (await uploadDataset(freshId('moods'), toJsonl(rows)))['name'] as string;
  await ok('POST', 'fineTuningJobs', { jobId: id, modelId: id, dataset, seed: 11, epochs: 5, ...MOOD_SETTINGS, ...changes });
}

const attemptsOf = async (id: string) => (await ok('GET', `fineTuningJobs/${id}:listAttempts`))['attempts'] as Json[];
const checkpointsOf = async (id: string) => ((await ok('GET', `fineTuningJobs/${id}/checkpoints`))['checkpoints'] ?? []) as Json[];

/** Commands of the processes that train below a home: the trainers themselves, and those that wait for a GPU. */
function trainersOf(home: string): { pid: number; command: string; waits: boolean }[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      if (!command.includes('temper_trainer') || !command.includes(home)) return [];
      return [{ pid: Number(pid), command, waits: !/^\S*python/.test(command) }];
    } catch {
      return []; // ended meanwhile
    }
  });
}

it('two workers want one GPU: one trains, the other waits for it', async () => {
  await Promise.all([startWorker('data'), startWorker('gpu'), startWorker('gpu')]);
  const ids = [freshId('gpu'), freshId('gpu')];
  for (const id of ids) await start(id);
  let waited = false;
  await until('both to end', async () => {
    const trainers = trainersOf(own.home);
    expect(trainers.filter(({ waits }) => !waits).length).toBeLessThanOrEqual(1);
    waited ||= trainers.some(({ waits }) => waits);
    const states = await Promise.all(ids.map(jobState));
    return states.every((state) => state === 'JOB_STATE_COMPLETED');
  });
  expect(waited).toBe(true);
  const [one, other] = await Promise.all(ids.map(async (id) => (await attemptsOf(id)).at(-1)!['worker'] as string));
  expect(one).not.toBe(other);
});

it.skipIf(!isRoot)('a full disk: the step says so, and goes on once there is room (needs root, to mount one)', async () => {
  const disk = mkdtempSync(path.join(tmpdir(), 'temper-disk-'));
  expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', disk]).status).toBe(0);
  const filler = path.join(disk, 'filler');
  const fill = () => expect(() => writeFileSync(filler, Buffer.alloc(64 * 2 ** 20))).toThrow('ENOSPC');
  const free = () => rmSync(filler);
  try {
    const onDisk = { TEMPER_HOME: disk };
    await Promise.all([startWorker('data', onDisk), startWorker('gpu', onDisk)]);
    fill();
    const upload = uploadDataset(freshId('full'), toJsonl(rows));
    const named = await until('the validation to tell', async () => {
      const { datasets } = await ok('GET', 'datasets?orderBy=createTime%20desc&pageSize=1');
      const found = await ok('GET', `datasets/${((datasets as Json[])[0]!['name'] as string).split('/').at(-1)}`);
      return (found['status'].message as string).includes('NO_SPACE') && found;
    });
    expect([named['state'], named['status']]).toEqual(['UPLOADING', { code: 'OK', message: expect.stringContaining('Free space on it') }]);
    free();
    expect((await upload)['state']).toBe('READY');

    const id = freshId('full');
    await start(id, { epochs: 40 });
    await until('a checkpoint', async () => (await checkpointsOf(id)).length > 0);
    fill();
    const retry = await until('the attempt to end', async () => (await ok('GET', `fineTuningJobs/${id}`))['retry'] as Json | undefined);
    expect(retry).toMatchObject({ step: 'train', attempt: 2, failure: { code: 'NO_SPACE', domain: 'PLATFORM', retryable: true } });
    free();
    await untilState(id, 'JOB_STATE_COMPLETED');
    const attempts = await attemptsOf(id);
    expect(attempts[0]).toMatchObject({ outcome: 'failed', failure: { code: 'NO_SPACE' } });
    expect(Number(attempts.at(-1)!['startStep'])).toBeGreaterThan(0);
    const curve = await metrics(id);
    expect(curve.map((row) => row['step'])).toEqual(curve.map((_, index) => index + 1));
    expect(Object.keys(await downloadModel(id))).toContain('adapter_model.safetensors');
    expect(readdirSync(path.join(disk, 'scratch'))).toEqual([]);
  } finally {
    await Promise.all(workers.splice(0).map(stopWorker));
    spawnSync('umount', [disk]);
    rmSync(disk, { recursive: true, force: true });
  }
});

it.skipIf(!isRoot || !existsSync(MEMORY_GROUPS))(
  'a trainer that the kernel kills for memory: named so, and it goes on where there is more',
  async () => {
    const group = path.join(MEMORY_GROUPS, freshId('temper'));
    mkdirSync(group);
    const limit = (bytes: number) => writeFileSync(path.join(group, 'memory.limit_in_bytes'), String(bytes));
    try {
      const launch = ['sh', '-c', `echo $$ > ${group}/cgroup.procs && exec "$@"`, 'sh'];
      await Promise.all([startWorker('data'), startWorker('gpu', {}, launch)]);
      const [, used] = /^total_rss (\d+)$/m.exec(readFileSync(path.join(group, 'memory.stat'), 'utf8'))!;
      // Less than the trainer needs; more than the worker has, so that the kernel chooses the trainer.
      limit(2 * Number(used));
      const id = freshId('tight');
      await start(id, { epochs: 5 });
      const retry = await until('the attempt to end', async () => (await ok('GET', `fineTuningJobs/${id}`))['retry'] as Json | undefined);
      expect(retry).toMatchObject({
        step: 'train',
        attempt: 2,
        failure: { code: 'TRAINER_OOM_HOST', domain: 'CAPACITY', retryable: true },
      });
      limit(-1);
      await untilState(id, 'JOB_STATE_COMPLETED');
      expect((await attemptsOf(id))[0]).toMatchObject({ outcome: 'failed', failure: { code: 'TRAINER_OOM_HOST' } });
    } finally {
      await Promise.all(workers.splice(0).map(stopWorker));
      rmdirSync(group);
    }
  },
);

it('workers whose clocks are an hour wrong: deadlines are those of the servers', async () => {
  const preload = `--import=${pathToFileURL(path.join(rootFolder, 'test', 'shiftedClock.mjs')).href}`;
  const shifted = (hours: number) => ({ NODE_OPTIONS: preload, CLOCK_SHIFT_MS: String(hours * 3_600_000) });
  await Promise.all([startWorker('data', shifted(-1)), startWorker('gpu', shifted(1))]);
  const id = freshId('clock');
  await start(id, { deadline: new Date(Date.now() + 10 * 60_000).toISOString() });
  await untilState(id, 'JOB_STATE_COMPLETED');
  const times = (await events(id)).map((event) => Date.parse(event['time'] as string));
  expect(Math.max(...times.map((time) => Math.abs(time - Date.now())))).toBeLessThan(10 * 60_000);
});

it.skipIf(!isRoot || spawnSync('ip', ['netns', 'list']).status !== 0)(
  'a worker cut off from the network: another takes its job over, and it publishes nothing more (needs root, for a network of its own)',
  async () => {
    const network = await openNetwork();
    const home = mkdtempSync(path.join(tmpdir(), 'temper-cut-off-'));
    mkdirSync(home, { recursive: true });
    try {
      await Promise.all([startWorker('data'), startWorker('gpu', { ...network.environment, TEMPER_HOME: home }, network.launch)]);
      const id = freshId('split');
      await start(id, { epochs: 3000 });
      await until('a checkpoint', async () => (await checkpointsOf(id)).length > 0);
      const [trainer] = trainersOf(home);
      network.cut();
      await startWorker('gpu');
      const [first, second] = await until('the other worker to train', async () => {
        const found = await attemptsOf(id);
        return found.length === 2 && trainersOf(own.home).length === 1 && found;
      });
      expect(first).toMatchObject({ outcome: 'failed', failure: { code: 'WORKER_LOST' } });
      await until('steps of the other worker', async () => Number((await metrics(id)).at(-1)!['attempt']) === 2);
      // Being cut off ends no healthy trainer; that somebody else has its job does.
      expect(trainersOf(home).map(({ pid }) => pid)).toEqual([trainer!.pid]);
      network.join();
      await until('the first trainer to be stopped', async () => trainersOf(home).length === 0);

      const stoppedAt = (await metrics(id)).length;
      await until('steps after that', async () => (await metrics(id)).length > stoppedAt + 1);
      const curve = await metrics(id);
      expect(curve.map((row) => row['step'])).toEqual(curve.map((_, index) => index + 1));
      const startStep = Number(second!['startStep']);
      expect(curve.filter((row) => Number(row['step']) > startStep).map((row) => row['attempt'])).not.toContain(1);
      expect(
        (await checkpointsOf(id)).filter(({ step }) => Number(step) > startStep).map(({ attempt }) => attempt as number),
      ).not.toContain(1);
      expect(await attemptsOf(id)).toHaveLength(2);
      expect((await call('POST', `fineTuningJobs/${id}:cancel`, {})).status).toBe(200);
      await until('the end', async () => (await jobState(id)) === 'JOB_STATE_CANCELLED');
    } finally {
      network.join();
      await Promise.all(workers.splice(0).map(stopWorker));
      await network.close();
      rmSync(home, { recursive: true, force: true });
    }
  },
);

interface Network {
  /** Before the command of a program that is to be in it. */
  launch: string[];
  /** The servers, as they are reached from there. */
  environment: Record<string, string>;
  cut(): void;
  join(): void;
  close(): Promise<void>;
}

/** A network of its own, with one line to this machine and its servers. */
async function openNetwork(): Promise<Network> {
  const number = process.pid % 250;
  const [name, line] = [`temper-${process.pid}`, `tmpr${number}`];
  const ip = (...words: string[]) => {
    const { status, stderr } = spawnSync('ip', words, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
  };
  const host = `10.213.${number}.1`;
  ip('netns', 'add', name);
  ip('link', 'add', line, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
  ip('address', 'add', `${host}/30`, 'dev', line);
  ip('link', 'set', line, 'up');
  for (const words of [`address add 10.213.${number}.2/30 dev eth0`, 'link set eth0 up', 'link set lo up'])
    ip('-n', name, ...words.split(' '));
  const { temporalAddress, s3Endpoint, databaseUrl } = stack();
  const database = new URL(databaseUrl);
  const relays: Relay[] = [];
  for (const port of [temporalAddress.split(':')[1], new URL(s3Endpoint).port, database.port])
    relays.push(await startRelay(Number(port), host));
  const [temporal, s3, postgres] = relays.map(({ address }) => address);
  database.host = postgres!;
  return {
    launch: ['ip', 'netns', 'exec', name],
    environment: { TEMPORAL_ADDRESS: temporal!, TEMPER_S3_ENDPOINT: `http://${s3}`, DATABASE_URL: database.href },
    cut: () => ip('link', 'set', line, 'down'),
    join: () => ip('link', 'set', line, 'up'),
    async close() {
      for (const relay of relays) await relay.close();
      ip('netns', 'delete', name);
    },
  };
}
