/** What tests do to the running stack, as users do: over HTTP. And what a fault does to it: `kill -9`. */
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeleteObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { inject } from 'vitest';
import { loadSecrets } from '../dev/secrets.js';
import type { DevFile } from '../dev/stack.js';
import { readSecretKeys, type SecretKeys } from '../stores/secretKeys.js';

export type Json = Record<string, any>;

type TestStack = ReturnType<typeof injectStack>;
const injectStack = () => inject('stack');
let own: TestStack | undefined;

/** The stack that a test file uses: the shared one, or its own (test/ownPrograms.ts). */
export const stack = (): TestStack => own ?? injectStack();

export function useStack(stack: TestStack): void {
  own = stack;
}

/** dev.json as it is now: pids change when a test kills something. */
export function devFile(): DevFile {
  return JSON.parse(readFileSync(path.join(stack().home, 'dev.json'), 'utf8')) as DevFile;
}

/** Of control, data, gpu and reports, in this order. */
export function gpuWorkerPid(): number {
  return devFile().pids.workers[2]!;
}

/** The keys that this stack's secrets are under. */
export function secretKeys(): SecretKeys {
  return readSecretKeys(loadSecrets(stack().home).secretKey);
}

export async function call(
  method: string,
  route: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: Json }> {
  const { apiUrl, apiKey, accountId } = stack();
  const url = `${apiUrl}/v1/accounts/${accountId}/${route}`;
  const reply = await fetch(url, {
    method,
    headers: { authorization: `Bearer ${apiKey}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await reply.text();
  return { status: reply.status, body: text === '' ? {} : (JSON.parse(text) as Json) };
}

/** The same for a test that only goes on when it succeeds. */
export async function ok(method: string, route: string, body?: unknown): Promise<Json> {
  const reply = await call(method, route, body);
  if (reply.status >= 300) throw new Error(`${method} ${route}: ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.body;
}

export async function uploadDataset(id: string, content: string): Promise<Json> {
  await ok('POST', 'datasets', { datasetId: id, dataset: { userUploaded: {} } });
  const form = new FormData();
  form.append('file', new Blob([content]), 'data.jsonl');
  const { apiUrl, apiKey, accountId } = stack();
  const reply = await fetch(`${apiUrl}/v1/accounts/${accountId}/datasets/${id}:upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}` },
    body: form,
  });
  if (!reply.ok) throw new Error(`upload: ${reply.status} ${await reply.text()}`);
  return untilJudged(id);
}

/** The dataset with its verdict. */
export function untilJudged(id: string): Promise<Json> {
  return until(`dataset ${id} to be judged`, async () => {
    const dataset = await ok('GET', `datasets/${id}`);
    return dataset['state'] === 'READY' || dataset['status']?.code === 'INVALID_ARGUMENT' ? dataset : null;
  });
}

/** Uploads a dataset of two rows and gives a job on it, but for the base model: for tests of what surrounds a job. */
export async function twoRowJob(id: string): Promise<Json> {
  const rows = [
    { text: 'a', label: 'x' },
    { text: 'b', label: 'y' },
  ];
  await uploadDataset(id, toJsonl(rows));
  return { jobId: id, dataset: id, textClassification: { text: 'text', label: 'label' } };
}

/** Declares a model's files, PUTs them as the published clients do, and asks for the verdict. */
export async function uploadModel(id: string, model: Json, files: Record<string, Buffer>): Promise<{ status: number; body: Json }> {
  await ok('POST', 'models', { modelId: id, model });
  const filenameToSize = Object.fromEntries(Object.entries(files).map(([name, { length }]) => [name, length]));
  const { filenameToSignedUrls } = await ok('POST', `models/${id}:getUploadEndpoint`, { filenameToSize });
  for (const [name, url] of Object.entries(filenameToSignedUrls as Record<string, string>)) {
    const { length } = files[name]!;
    const headers = { 'content-type': 'application/octet-stream', 'x-goog-content-length-range': `${length},${length}` };
    const { status } = await fetch(url, { method: 'PUT', body: new Uint8Array(files[name]!), headers });
    if (status !== 200) throw new Error(`PUT of ${name}: ${status}`);
  }
  return validateModel(id);
}

/** The verdict on a model, asked for again while it is being made. */
export function validateModel(id: string): Promise<{ status: number; body: Json }> {
  return until(`the verdict on ${id}`, async () => {
    const reply = await call('GET', `models/${id}:validateUpload`);
    return reply.status !== 200 || reply.body['state'] === 'READY' ? reply : null;
  });
}

export function toJsonl(rows: object[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

const TERMINAL = ['JOB_STATE_COMPLETED', 'JOB_STATE_FAILED', 'JOB_STATE_CANCELLED', 'JOB_STATE_EARLY_STOPPED'];

/** The job's honest state is that of the newer route. */
export async function jobState(id: string): Promise<string> {
  return (await ok('GET', `supervisedFineTuningJobs/${id}`))['state'] as string;
}

export function untilState(id: string, state: string): Promise<string> {
  return until(`job ${id} to be ${state}`, async () => {
    const found = await jobState(id);
    if (found !== state && TERMINAL.includes(found))
      throw new Error(`job ${id} is ${found}: ${JSON.stringify(await ok('GET', `supervisedFineTuningJobs/${id}`))}`);
    return found === state ? found : null;
  });
}

export async function events(id: string): Promise<Json[]> {
  return (await ok('GET', `fineTuningJobs/${id}:listEvents?pageSize=200`))['events'] as Json[];
}

export async function metrics(id: string): Promise<Json[]> {
  return (await ok('GET', `fineTuningJobs/${id}/metrics`))['metrics'] as Json[];
}

/** Downloads a model's files by its signed URLs. */
export async function downloadModel(id: string): Promise<Record<string, Buffer>> {
  const { filenameToSignedUrls } = await ok('GET', `models/${id}:getDownloadEndpoint`);
  const files: Record<string, Buffer> = {};
  for (const [name, url] of Object.entries(filenameToSignedUrls as Record<string, string>)) {
    const reply = await fetch(url);
    if (!reply.ok) throw new Error(`${name}: ${reply.status}`);
    files[name] = Buffer.from(await reply.arrayBuffer());
  }
  return files;
}

/** Waits for a condition: asked again until it gives something. */
export async function until<T>(what: string, probe: () => Promise<T | null | undefined | false>, timeoutMs = 240_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  while (Date.now() < deadline) {
    try {
      const found = await probe();
      if (found) return found;
      last = undefined;
    } catch (error) {
      // The API may be the process that a fault test killed.
      if (!(error instanceof TypeError)) throw error;
      last = error;
    }
    await sleep(100);
  }
  throw new Error(`waited ${timeoutMs} ms for ${what}${last ? ` (${String(last)})` : ''}`);
}

/** The trainer processes of this stack's workers. */
export function trainerPids(): number[] {
  const home = stack().home;
  return childProcesses()
    .filter(({ command }) => command.includes('temper_trainer') && command.includes(home))
    .map(({ pid }) => pid);
}

/** Keys of the object store. */
export function listObjects(prefix: string): Promise<string[]> {
  return withStore(async (client, bucket) => {
    const { Contents: contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
    return contents.map(({ Key: key }) => key!);
  });
}

export function removeObject(key: string): Promise<unknown> {
  return withStore((client, bucket) => client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key })));
}

async function withStore<T>(work: (client: S3Client, bucket: string) => Promise<T>): Promise<T> {
  const { home, s3Endpoint, s3Bucket } = stack();
  const { s3AccessKeyId, s3SecretAccessKey } = JSON.parse(readFileSync(path.join(home, 'secrets.json'), 'utf8')) as Record<string, string>;
  const credentials = { accessKeyId: s3AccessKeyId!, secretAccessKey: s3SecretAccessKey! };
  const client = new S3Client({ endpoint: s3Endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
  try {
    return await work(client, s3Bucket);
  } finally {
    client.destroy();
  }
}

function childProcesses(): { pid: number; command: string }[] {
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  return pids.flatMap((pid) => {
    try {
      return [{ pid, command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ') }];
    } catch {
      return []; // ended meanwhile
    }
  });
}

export function killProcess(pid: number): void {
  process.kill(pid, 'SIGKILL');
}

/** A process that is there and answers nothing, with all that it started but for those named, until the function that this gives is called. */
export function freeze(pid: number, except: number[] = []): () => void {
  const parents = new Map(childProcesses().map((child) => [child.pid, parentOf(child.pid)]));
  const isOf = (child: number | undefined): boolean => child === pid || (child !== undefined && child > 1 && isOf(parents.get(child)));
  const frozen = [...parents.keys()].filter((child) => isOf(child) && !except.includes(child));
  const signal = (name: NodeJS.Signals) => frozen.forEach((child) => void trySignal(child, name));
  signal('SIGSTOP');
  return () => signal('SIGCONT');
}

/**
 * Does what has the trainer stop, and holds it still until it is told to: a heartbeat brings the word after up to three seconds, in which
 * a fast trainer would come to its end.
 */
export async function whileTrainerIsHeld<T>(act: () => Promise<T>): Promise<T> {
  const [trainer] = trainerPids();
  const letGo = freeze(trainer!);
  const told = until('the trainer to be told to stop', async () => isToldToStop(trainer!)).finally(letGo);
  return Promise.all([act(), told])
    .then(([done]) => done)
    .finally(letGo);
}

/** SIGTERM waits for the held process to go on. */
function isToldToStop(pid: number): boolean {
  const pending = /^ShdPnd:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!;
  return ((BigInt(`0x${pending}`) >> BigInt(constants.signals.SIGTERM - 1)) & 1n) === 1n;
}

/** 0: it has ended meanwhile. */
function parentOf(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[1]);
  } catch {
    return 0;
  }
}

function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // ended meanwhile
  }
}

let counter = 0;
/** A resource ID that no other test uses. */
export function freshId(prefix: string): string {
  counter += 1;
  return `${prefix}-${process.pid.toString(36)}-${counter}-${Date.now().toString(36)}`;
}
