/** The S3 server: versitygw on a local folder. Objects are plain files there; their metadata lies in a folder beside them. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CreateBucketCommand, HeadBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { serverEnvironment } from './serverEnvironment.js';
import type { ProcessSpec } from './supervise.js';

export interface S3Location {
  endpoint: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
}

export function describeS3(options: { home: string; binary: string; port: number; location: S3Location }): ProcessSpec {
  const { location } = options;
  const objectsFolder = join(options.home, 's3', 'objects');
  const metadataFolder = join(options.home, 's3', 'metadata');
  mkdirSync(objectsFolder, { recursive: true, mode: 0o700 });
  mkdirSync(metadataFolder, { recursive: true, mode: 0o700 });
  return {
    name: 's3',
    command: options.binary,
    args: [
      ...['--port', `127.0.0.1:${options.port}`, '--region', location.region, '--health', '/healthz', '--quiet'],
      // Metadata in a folder rather than in extended attributes, which tmpfs and some container filesystems lack.
      ...['posix', '--sidecar', metadataFolder, objectsFolder],
    ],
    env: serverEnvironment({ ROOT_ACCESS_KEY_ID: location.accessKeyId, ROOT_SECRET_ACCESS_KEY: location.secretAccessKey }),
    ready: async () => {
      const response = await fetch(`${location.endpoint}/healthz`, { signal: AbortSignal.timeout(2_000) });
      if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    },
    readyTimeoutMs: 30_000,
    stopSignal: 'SIGTERM',
    stopGraceMs: 5_000,
  };
}

/** Makes the bucket unless it is there. */
export async function createBucket(location: S3Location): Promise<void> {
  const client = new S3Client({
    endpoint: location.endpoint,
    region: location.region,
    forcePathStyle: true,
    credentials: { accessKeyId: location.accessKeyId, secretAccessKey: location.secretAccessKey },
  });
  const bucket = { Bucket: location.bucket };
  try {
    await client.send(new HeadBucketCommand(bucket)).catch(async (error: { $metadata?: { httpStatusCode?: number } }) => {
      if (error.$metadata?.httpStatusCode !== 404) throw error;
      await client.send(new CreateBucketCommand(bucket));
    });
  } finally {
    client.destroy();
  }
}
