/**
 * An API and workers of a test file's own, on the shared servers but in a database, a bucket and a namespace of their own: for
 * faults that other tests must not meet, and workers that are started and stopped one by one. What test/temper.ts does is done to them.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { prepare } from '../dev/prepare.js';
import { loadSecrets } from '../dev/secrets.js';
import { allPrograms, checkReady, compiledFolder, rootFolder, startStack, type ProgramName, type Stack } from '../dev/stack.js';
import { TINY_MODEL_NAME } from '../schemas/baseModels.js';
import { startS3Proxy, type S3Proxy } from './faultProxy.js';
import { compileProgram } from '../processes/program.js';
import { freshId, stack as sharedStack, until, useStack } from './temper.js';

export interface OwnPrograms {
  home: string;
  /** Between these programs and the gateway. */
  s3: S3Proxy;
  /** Another worker, with this added to its environment, and before its command what `launch` gives. It is not started again. */
  startWorker(kind: 'data' | 'gpu', environment?: Record<string, string>, launch?: string[]): Promise<ChildProcess>;
  /** Another API beside the supervised one, on this port. It is not started again. */
  startApi(port: number): Promise<ChildProcess>;
  close(): Promise<void>;
}

/** Of a job on rows with `text` and `mood`: as little as there is to do. */
export const MOOD_SETTINGS = {
  baseModel: TINY_MODEL_NAME,
  textClassification: { text: 'text', label: 'mood' },
  batchSize: 8,
  loraRank: 4,
  evaluation: false,
};

/** @param names  programs that are supervised */
export async function startOwnPrograms(names: ProgramName[], environment: Record<string, string> = {}): Promise<OwnPrograms> {
  const shared = sharedStack();
  const id = freshId('own').replaceAll('-', '_');
  const home = mkdtempSync(path.join(tmpdir(), 'temper-own-'));
  chmodSync(home, 0o711);
  const s3 = await startS3Proxy(shared.s3Endpoint);
  const database = await createDatabase(shared.databaseUrl, id);
  await createNamespace(shared.temporalAddress, id);
  const secrets = loadSecrets(shared.home);
  Object.assign(process.env, {
    TEMPORAL_ADDRESS: shared.temporalAddress,
    TEMPORAL_NAMESPACE: id,
    TEMPER_S3_ENDPOINT: s3.url,
    TEMPER_S3_BUCKET: id.replaceAll('_', '-'),
    AWS_ACCESS_KEY_ID: secrets.s3AccessKeyId,
    AWS_SECRET_ACCESS_KEY: secrets.s3SecretAccessKey,
    DATABASE_URL: database,
  });
  const { baseModel } = await prepare(() => undefined);
  const programs = Object.fromEntries(names.map((name) => [name, allPrograms[name]]));
  const started: ChildProcess[] = [];
  let stack: Stack | undefined;
  const close = async (): Promise<void> => {
    s3.rule = () => null;
    await Promise.all(started.map(stopWorker));
    await stack?.stop();
    await s3.close();
    rmSync(home, { recursive: true, force: true });
  };
  try {
    stack = await startStack({ home, progress: () => undefined, baseModel, port: 0, programs, environment });
    useStack({ ...shared, ...stack.dev(), home });
  } catch (error) {
    await close();
    throw error;
  }
  const own = stack.environment;
  const start = async (name: ProgramName, changes: Record<string, string>, launch: string[] = []): Promise<ChildProcess> => {
    const command = [...launch, process.execPath, await compileProgram(allPrograms[name], compiledFolder)];
    const program = spawn(command[0]!, command.slice(1), {
      cwd: rootFolder,
      env: { ...own, ...changes },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    started.push(program);
    return program;
  };
  return {
    home,
    s3,
    close,
    async startWorker(kind, changes = {}, launch = []) {
      const worker = await start(kind, changes, launch);
      await Promise.race([once(worker, 'message'), endOf(worker)]);
      return worker;
    },
    async startApi(port) {
      const api = await start('api', { TEMPER_PORT: String(port) });
      const isReady = () =>
        checkReady(String(port)).then(
          () => true,
          () => false,
        );
      await Promise.race([until('the other API', isReady), endOf(api)]);
      return api;
    },
  };
}

export async function stopWorker(worker: ChildProcess): Promise<void> {
  if (worker.exitCode !== null || worker.signalCode !== null) return;
  worker.kill('SIGTERM');
  await once(worker, 'exit');
}

/** @throws Error always */
async function endOf(program: ChildProcess): Promise<never> {
  const [code] = (await once(program, 'exit')) as [number | null];
  throw new Error(`exit code ${code}`);
}

async function createDatabase(url: string, name: string): Promise<string> {
  const client = new pg.Client(url);
  await client.connect();
  await client.query(`create database ${name}`).finally(() => client.end());
  const own = new URL(url);
  own.pathname = `/${name}`;
  return own.href;
}

async function createNamespace(address: string, namespace: string): Promise<void> {
  const connection = await Connection.connect({ address });
  try {
    const { workflowService } = connection;
    await workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod: { seconds: 86_400 as never } });
    // Its frontend reads namespaces every few seconds.
    await until('the namespace', () =>
      workflowService
        .getSystemInfo({})
        .then(() => workflowService.listWorkflowExecutions({ namespace }))
        .then(
          () => true,
          () => null,
        ),
    );
  } finally {
    await connection.close();
  }
}
