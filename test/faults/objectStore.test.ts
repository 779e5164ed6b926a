/** An object store that answers 500, breaks off, or is slow: nothing of it is believed, and all of it is borne. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeFailure } from '../../activities/failures.js';
import { loadSecrets } from '../../dev/secrets.js';
import { digestFile, openObjectStore, type ObjectStore } from '../../stores/objects.js';
import { FAULTS, startS3Proxy, type S3Proxy } from '../faultProxy.js';
import { listObjects, stack, until } from '../temper.js';

const folder = mkdtempSync(path.join(tmpdir(), 'temper-object-store-'));
let s3: S3Proxy;
let objects: ObjectStore;

beforeAll(async () => {
  const secrets = loadSecrets(stack().home);
  process.env['AWS_ACCESS_KEY_ID'] = secrets.s3AccessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = secrets.s3SecretAccessKey;
  s3 = await startS3Proxy(stack().s3Endpoint);
  objects = openObjectStore({ endpoint: s3.url, region: 'us-east-1', bucket: stack().s3Bucket });
});

afterAll(async () => {
  objects.close();
  await s3.close();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(FAULTS)('%o', (fault) => {
  it('no operation takes half for the whole, and each succeeds once the store is well', async () => {
    const content = randomBytes(300_000);
    const file = path.join(folder, 'file');
    writeFileSync(file, content);
    const digest = await digestFile(file);
    const name = `faults/${FAULTS.indexOf(fault)}`;
    const operations: [string, () => Promise<unknown>, unknown][] = [
      ['putFile', () => objects.putFile(`${name}/file`, file, { digest }), digest],
      ['putBytes', () => objects.putBytes(`${name}/bytes`, content), digest],
      ['putStream', () => objects.putStream(`${name}/stream`, Readable.from([content])), digest],
      ['getFile', () => objects.getFile(`${name}/file`, path.join(folder, 'got'), digest), digest],
      ['getBytes', () => objects.getBytes(`${name}/stream`).then((bytes) => bytes.equals(content)), true],
      ['getRange', () => objects.getRange(`${name}/bytes`, 10, 90_010).then((bytes) => bytes.equals(content.subarray(10, 90_010))), true],
      ['head', () => objects.head(`${name}/file`), { sizeBytes: content.length }],
      ['copy', () => objects.copy(`${name}/file`, `${name}/copy`), undefined],
      ['list', async () => (await objects.list(`${name}/`)).length, 4],
      ['removePrefix', () => objects.removePrefix(`${name}/`), undefined],
    ];
    for (const [operation, run, expected] of operations) {
      let befallen = 0;
      s3.rule = ({ path: key }) => (befallen < 2 && key.includes(name) ? ((befallen += 1), fault) : null);
      const outcome = await until(`${operation} to succeed`, () =>
        run().then(
          (value) => ({ value }),
          (error: unknown) => {
            expect([operation, describeFailure(error).code]).toEqual([operation, 'OBJECT_STORE_UNAVAILABLE']);
            return null;
          },
        ),
      );
      expect([operation, outcome.value]).toEqual([operation, expected]);
      expect(befallen).toBeGreaterThan(0);
    }
    s3.rule = () => null;
    expect(readFileSync(path.join(folder, 'got')).equals(content)).toBe(true);
    expect(await listObjects(`${name}/`)).toEqual([]);
  });
});

it.each([
  ['in one request', 1_000],
  ['in parts', 6 * 1024 ** 3],
])('a local file that is gone, sent %s, fails its upload and is no outage', async (_how, sizeBytes) => {
  const digest = { sha256: '0'.repeat(64), sizeBytes };
  const failed = await objects.putFile('faults/gone', path.join(folder, 'gone'), { digest }).catch((error: unknown) => error);
  expect(failed).toMatchObject({ code: 'ENOENT' });
  expect(describeFailure(failed).code).not.toBe('OBJECT_STORE_UNAVAILABLE');
  expect(await listObjects('faults/gone')).toEqual([]);
});

it('a store that hangs is given up sooner where somebody waits for the answer, but for what may take long', async () => {
  const impatient = openObjectStore({ endpoint: s3.url, region: 'us-east-1', bucket: stack().s3Bucket, silenceMs: 300 });
  await impatient.putBytes('faults/hangs/bytes', Buffer.from('whole'));
  let wake!: () => void;
  const awake = new Promise<void>((resolve) => (wake = resolve));
  s3.rule = ({ path: key }) => (key.includes('faults/hangs') ? { until: awake } : null);
  try {
    await expect(impatient.getText('faults/hangs/bytes')).rejects.toMatchObject({ code: 'OBJECT_STORE_UNAVAILABLE' });
    const copied = impatient.copy('faults/hangs/bytes', 'faults/hangs/copy');
    await expect(impatient.head('faults/hangs/bytes')).rejects.toMatchObject({ code: 'OBJECT_STORE_UNAVAILABLE' });
    wake();
    await copied;
    expect(await impatient.getText('faults/hangs/copy')).toBe('whole');
  } finally {
    wake();
    s3.rule = () => null;
    await objects.removePrefix('faults/hangs/');
    impatient.close();
  }
});
