/** The Temporal development server: the real server and its UI, with its state in a SQLite file that survives restarts. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { SEARCH_ATTRIBUTE_NAMES } from '../schemas/searchAttributes.js';
import { serverEnvironment } from './serverEnvironment.js';
import type { ProcessSpec } from './supervise.js';

/** The server polls its own task queues 20 times a second by default, which makes an 8-step workflow take 850 ms rather than 120. */
const maxPollsPerSecond = 2000;

const dynamicConfig: Record<string, string> = {
  'matching.enableFairness': 'true',
  'history.transferProcessorMaxPollRPS': String(maxPollsPerSecond),
  'history.timerProcessorMaxPollRPS': String(maxPollsPerSecond),
  'history.visibilityProcessorMaxPollRPS': String(maxPollsPerSecond),
  // One partition a queue: with several, priority and fairness hold only within each.
  'matching.numTaskqueueReadPartitions': '1',
  'matching.numTaskqueueWritePartitions': '1',
};

/** Four to five times the throughput of the defaults. A process crash loses nothing; a power cut may lose the last transactions. */
const pragmas = ['journal_mode=WAL', 'synchronous=NORMAL'];

export function describeTemporal(options: { home: string; binary: string; port: number; uiPort: number }): ProcessSpec {
  const address = `127.0.0.1:${options.port}`;
  const folder = join(options.home, 'temporal');
  mkdirSync(folder, { recursive: true, mode: 0o700 }); // the server makes its file readable for everybody
  return {
    name: 'temporal',
    command: options.binary,
    args: [
      ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(options.port), '--ui-port', String(options.uiPort)],
      ...['--db-filename', join(folder, 'temporal.db')],
      ...Object.entries(dynamicConfig).flatMap(([key, value]) => ['--dynamic-config-value', `${key}=${value}`]),
      ...pragmas.flatMap((pragma) => ['--sqlite-pragma', pragma]),
      ...SEARCH_ATTRIBUTE_NAMES.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
    ],
    env: serverEnvironment(),
    ready: () => checkNamespace(address),
    readyTimeoutMs: 60_000,
    stopSignal: 'SIGTERM',
    stopGraceMs: 10_000,
  };
}

/** Rejects until the default namespace answers and knows every search attribute. */
async function checkNamespace(address: string): Promise<void> {
  await withConnection(address, async (connection) => {
    const missing = await listMissing(connection, 'default');
    if (missing.length > 0) throw new Error(`search attributes not registered yet: ${missing.join(', ')}`);
  });
}

/** Makes a server of the user's ready for Temper: registers the search attributes that its namespace lacks. */
export async function registerSearchAttributes(address: string, namespace: string): Promise<void> {
  try {
    await withConnection(address, async (connection) => {
      const missing = await listMissing(connection, namespace);
      if (missing.length === 0) return;
      const keyword = 2; // INDEXED_VALUE_TYPE_KEYWORD
      const searchAttributes = Object.fromEntries(missing.map((name) => [name, keyword]));
      await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
    });
  } catch (error) {
    throw new Error(
      `Temporal at ${address}, namespace ${namespace}, cannot be used: ${(error as Error).message}. ` +
        `It must be reachable, and have the keyword search attributes ${SEARCH_ATTRIBUTE_NAMES.join(', ')}.`,
    );
  }
}

async function listMissing(connection: Connection, namespace: string): Promise<string[]> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  return SEARCH_ATTRIBUTE_NAMES.filter((name) => !(name in (customAttributes ?? {})));
}

async function withConnection(address: string, use: (connection: Connection) => Promise<void>): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: 3_000 });
  try {
    await connection.withDeadline(Date.now() + 5_000, () => use(connection));
  } finally {
    await connection.close();
  }
}
