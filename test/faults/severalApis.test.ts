/**
 * Two API processes on the same servers, behind a load balancer that gives each request to the other one: what one did the other knows
 * at once, what both look after is done once, and either goes on alone.
 */
import { execFile, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import path from 'node:path';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findFreePort } from '../../dev/ports.js';
import { rootFolder } from '../../dev/stack.js';
import { startReceiver, type Receiver } from '../integration/openai/webhookReceiver.js';
import { MOOD_SETTINGS, startOwnPrograms, type OwnPrograms } from '../ownPrograms.js';
import { call, devFile, events, freshId, jobState, ok, stack, toJsonl, until, untilState, uploadDataset, useStack } from '../temper.js';

const rows = toJsonl(Array.from({ length: 64 }, (_, index) => ({ text: `row ${index}`, mood: ['sad', 'glad', 'mad'][index % 3] })));
let own: OwnPrograms;
let other: ChildProcess;
let receiver: Receiver;
let balancer: Balancer;

beforeAll(async () => {
  own = await startOwnPrograms(['api', 'control', 'data', 'gpu'], { TEMPER_WEBHOOK_NETWORKS: '127.0.0.0/8' });
  receiver = await startReceiver();
  const port = await findFreePort();
  other = await own.startApi(port);
  balancer = await startBalancer([stack().apiUrl, `http://127.0.0.1:${port}`]);
  useStack({ ...stack(), apiUrl: balancer.url });
});

afterAll(async () => {
  await balancer.stop();
  await receiver.stop();
  await own.close();
});

it('what one wrote, and what one took back, holds for the next request to the other', async () => {
  const { key, keyId } = await ok('POST', 'users/admin/apiKeys', { apiKey: { displayName: 'shared' } });
  const asked = () => call('GET', 'datasets', undefined, { authorization: `Bearer ${key}` });
  expect([(await asked()).status, (await asked()).status]).toEqual([200, 200]);
  await ok('POST', 'users/admin/apiKeys:delete', { keyId });
  expect([(await asked()).status, (await asked()).status]).toEqual([401, 401]);

  const id = freshId('shared');
  await uploadDataset(id, rows);
  for (const displayName of ['one', 'two', 'three']) {
    await ok('PATCH', `datasets/${id}`, { displayName });
    expect((await ok('GET', `datasets/${id}`))['displayName']).toBe(displayName);
    expect((await ok('GET', `datasets?filter=${encodeURIComponent(`name : "${id}"`)}`))['datasets']).toMatchObject([{ displayName }]);
  }
  expect(balancer.given.every((count) => count > 8)).toBe(true);
});

it('a job that both are asked for at once is one, and each event is told once', async () => {
  const id = freshId('once');
  await uploadDataset(id, rows);
  await ok('POST', 'webhooks', { webhookId: id, displayName: 'Hook', url: receiver.url, eventTypes: ['fine_tuning.job.succeeded'] });
  const job = { jobId: id, modelId: id, dataset: id, epochs: 2, ...MOOD_SETTINGS };
  const replies = await Promise.all(Array.from({ length: 10 }, () => call('POST', 'fineTuningJobs', job)));
  expect(new Set(replies.map(({ status, body }) => `${status} ${body['createTime']}`)).size).toBe(1);
  await untilState(id, 'JOB_STATE_COMPLETED');
  await until('the webhook to be told', async () => receiver.received.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 5_000)); // several rounds of both
  expect(receiver.received).toHaveLength(1);
  const told = await events(id);
  expect(told.map((event) => Number(event['sequence']))).toEqual(told.map((_, index) => index + 1));
});

it('one of them killed: whoever waits for a job does not notice', async () => {
  const id = freshId('alone');
  const dataset = (await uploadDataset(id, rows))['name'] as string;
  await ok('POST', 'fineTuningJobs', { jobId: id, modelId: id, dataset, epochs: 40, ...MOOD_SETTINGS });
  const waiting = wait(id);
  await untilState(id, 'JOB_STATE_RUNNING');
  other.kill('SIGKILL');
  await once(other, 'exit');
  const left = devFile().pids.api!;
  expect(await jobState(id)).toBe('JOB_STATE_RUNNING');
  const { stdout } = await waiting; // it rejects where the exit code is not 0
  expect(JSON.parse(stdout)).toMatchObject({ state: 'COMPLETED' });
  expect(devFile().pids.api).toBe(left);
});

/** `temper get fine-tuning-job --wait`, by the balancer. */
function wait(id: string): Promise<{ stdout: string }> {
  const { apiUrl, apiKey, accountId } = stack();
  const env = { ...process.env, TEMPER_API_URL: apiUrl, TEMPER_API_KEY: apiKey, TEMPER_ACCOUNT_ID: accountId };
  const args = [path.join(rootFolder, 'cli', 'bin.js'), 'get', 'fine-tuning-job', id, '--wait', '-o', 'json'];
  return promisify(execFile)(process.execPath, args, { env });
}

interface Balancer {
  url: string;
  /** Requests that each got. */
  given: number[];
  stop(): Promise<void>;
}

/** Gives each request to the next in turn; one that refuses the connection is passed over. */
async function startBalancer(urls: string[]): Promise<Balancer> {
  const given = urls.map(() => 0);
  let turn = 0;
  const server = createServer(async (incoming, outgoing) => {
    const { method, headers, url } = incoming;
    const body = await buffer(incoming);
    const give = (left: number) => {
      const index = turn++ % urls.length;
      const passed = request(`${urls[index]}${url}`, { method, headers }, (answer) => {
        given[index]! += 1;
        outgoing.writeHead(answer.statusCode!, answer.headers);
        answer.on('error', () => outgoing.destroy()).pipe(outgoing);
      });
      passed.on('error', (error: NodeJS.ErrnoException) =>
        error.code === 'ECONNREFUSED' && left > 1 ? give(left - 1) : outgoing.destroy(),
      );
      outgoing.on('close', () => passed.destroy());
      passed.end(body);
    };
    give(urls.length);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    given,
    stop: () => new Promise((resolve) => (server.close(() => resolve()), server.closeAllConnections())),
  };
}
