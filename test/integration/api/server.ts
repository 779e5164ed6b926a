/** An API server in the test's own process, on the stack's servers: for tests that give it other settings, or take something away. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import type { FastifyInstance } from 'fastify';
import { PATIENCE } from '../../../api/connections.js';
import { buildServer, type ApiConfig } from '../../../api/server.js';
import { loadSecrets } from '../../../dev/secrets.js';
import { openDatabase } from '../../../stores/database.js';
import { openEventFeed } from '../../../stores/eventFeed.js';
import { openObjectStore } from '../../../stores/objects.js';
import { readNetworks } from '../../../webhooks/networks.js';
import { secretKeys, stack } from '../../temper.js';

/** A port that refuses: nothing listens on it. */
export const NOWHERE = '127.0.0.1:9';

/** @param missing  what it looks for where nothing is */
export async function startApi(
  settings: Partial<ApiConfig> = {},
  missing?: 'temporal' | 'database' | 'objects',
): Promise<{ server: FastifyInstance; close(): Promise<void> }> {
  const { databaseUrl, temporalAddress, temporalNamespace, s3Endpoint, s3Bucket, home } = stack();
  const secrets = loadSecrets(home);
  process.env['AWS_ACCESS_KEY_ID'] = secrets.s3AccessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = secrets.s3SecretAccessKey;
  const url = missing === 'database' ? `postgres://x:y@${NOWHERE}/z` : databaseUrl;
  const database = openDatabase(url);
  const events = openEventFeed(url);
  const connection = Connection.lazy({ address: missing === 'temporal' ? NOWHERE : temporalAddress });
  const endpoint = missing === 'objects' ? `http://${NOWHERE}` : s3Endpoint;
  const objects = openObjectStore({ endpoint, region: 'us-east-1', bucket: s3Bucket });
  const tmpFolder = mkdtempSync(path.join(tmpdir(), 'temper-api-'));
  const server = await buildServer({
    database,
    events,
    objects,
    temporal: new Client({ connection, namespace: temporalNamespace }),
    config: {
      secretKey: secrets.secretKey,
      secretKeys: secretKeys(),
      operatorAccountId: stack().accountId,
      temporalNamespace,
      tmpFolder,
      prices: null,
      logLevel: 'silent',
      patience: PATIENCE,
      modelAliases: {},
      webhookNetworks: readNetworks(''),
      ...settings,
    },
  });
  return {
    server,
    async close() {
      await server.close();
      // Closing a connection that is still being tried throws in the client's own timer.
      if (missing !== 'temporal') await connection.close();
      objects.close();
      await events.close();
      await database.destroy();
      rmSync(tmpFolder, { recursive: true });
    },
  };
}
