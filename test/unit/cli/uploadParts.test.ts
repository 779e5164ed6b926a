/** A file in parts against a real HTTP server that plays both the API and the object store. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { uploadInParts } from '../../../cli/uploadParts.js';
import { startServer, type Answer, type Asked } from './server.js';

const PART_BYTES = 1000;
const content = Buffer.from(Array.from({ length: 4500 }, (_, index) => index % 251));
const md5 = (part: Buffer) => createHash('md5').update(part).digest('hex');
const partOf = (number: number) => content.subarray((number - 1) * PART_BYTES, number * PART_BYTES);

let folder: string;
let file: { path: string; name: string; sizeBytes: number };
let server: Awaited<ReturnType<typeof startServer>>;
const arrived = new Map<number, Buffer>();
/** Of the upload of part 3, in order. */
let troubles: Answer[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'temper-parts-'));
  file = { path: join(folder, 'rows.jsonl'), name: 'rows.jsonl', sizeBytes: content.length };
  writeFileSync(file.path, content);
  arrived.clear();
  troubles = [];
});
afterEach(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

function answer({ method, path, body }: Asked, count: number): Answer {
  if (path.endsWith(':getUploadEndpoint')) {
    const parts = [1, 2, 3, 4, 5].map((partNumber) => ({
      partNumber,
      sizeBytes: partOf(partNumber).length,
      signedUrl: `${server.apiUrl}/store/${partNumber}?signed=${count}`,
      ...(arrived.has(partNumber) ? { etag: md5(arrived.get(partNumber)!) } : {}),
    }));
    return { body: { filenameToSignedUrls: {}, resumableUpload: { partSizeBytes: PART_BYTES, parts } } };
  }
  if (method === 'PUT') {
    const number = Number(/\/store\/(\d)/.exec(path)![1]);
    const bytes = Buffer.from(body, 'latin1');
    if (number === 3 && troubles.length > 0) return troubles.shift()!;
    arrived.set(number, bytes);
    return { headers: { etag: `"${md5(bytes)}"` } };
  }
  return { body: {} };
}

const send = () => uploadInParts(server.connection, '/v1/accounts/acme/datasets/rows', file, () => {});
const sent = () => server.asked.filter(({ method }) => method === 'PUT').map(({ path }) => path);
const whole = () => Buffer.concat([1, 2, 3, 4, 5].map((number) => arrived.get(number)!));

test('every part once, and the SHA-256 of the whole', async () => {
  server = await startServer(answer);
  expect(await send()).toBe(true);
  expect(whole().equals(content)).toBe(true);
  expect(sent()).toHaveLength(5);
  expect(JSON.parse(server.asked.at(-1)!.body)).toEqual({ sha256: createHash('sha256').update(content).digest('hex') });
});

test('what has arrived is not sent again, unless it is not what the file has there', async () => {
  server = await startServer(answer);
  for (const number of [1, 2, 4]) arrived.set(number, Buffer.from(partOf(number)));
  arrived.set(2, Buffer.alloc(PART_BYTES)); // of a file that has changed since
  await send();
  expect(sent().sort()).toEqual(['/store/2?signed=1', '/store/3?signed=1', '/store/5?signed=1']);
  expect(whole().equals(content)).toBe(true);
});

test('a lost connection and a store that fails cost one more try of that part', async () => {
  server = await startServer(answer);
  troubles = [null, { status: 503 }];
  await send();
  expect(sent().filter((path) => path.includes('/store/3'))).toHaveLength(3);
  expect(whole().equals(content)).toBe(true);
});

test('URLs that have run out are asked for again', async () => {
  server = await startServer(answer);
  troubles = [{ status: 403, body: '<Error><Code>AccessDenied</Code></Error>' }];
  await send();
  expect(sent()).toContain('/store/3?signed=2');
  expect(whole().equals(content)).toBe(true);
});

test('a refusal that trying again cannot mend is an error', async () => {
  server = await startServer(answer);
  troubles = [{ status: 400, body: '<Error><Code>EntityTooLarge</Code></Error>' }];
  await expect(send()).rejects.toThrow(/answered 400/);
});

test('a server without uploads in parts is told from one that has them', async () => {
  server = await startServer(() => ({ body: { filenameToSignedUrls: { 'rows.jsonl': 'http://x' } } }));
  expect(await send()).toBe(false);
});
