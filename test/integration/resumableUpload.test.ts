/** A file too large for one request: uploaded in parts by the real program, killed on the way, and gone on with. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { rootFolder } from '../../dev/stack.js';
import { MAX_DIRECT_UPLOAD_BYTES, UPLOAD_PART_BYTES } from '../../schemas/limits.js';
import { call, freshId, ok, stack, type Json } from '../temper.js';

const row = (index: number) => `${JSON.stringify({ prompt: `question ${index} `.padEnd(8000, 'x'), completion: `answer ${index}` })}\n`;
const content = Buffer.from(Array.from({ length: Math.ceil((MAX_DIRECT_UPLOAD_BYTES * 1.05) / 8040) }, (_, index) => row(index)).join(''));
const id = freshId('parted');
const name = 'rows.jsonl';
const endpoint = { filenameToSize: { [name]: String(content.length) }, enableResumableUpload: true };

let folder: string;
let file: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'temper-parted-'));
  file = path.join(folder, name);
  writeFileSync(file, content);
});
afterAll(() => rmSync(folder, { recursive: true }));

async function upload(environment: NodeJS.ProcessEnv = {}) {
  const { apiUrl, apiKey, accountId } = stack();
  const program = spawn(process.execPath, [path.join(rootFolder, 'cli', 'bin.js'), 'create', 'dataset', id, file, '-o', 'json'], {
    env: { ...process.env, TEMPER_API_URL: apiUrl, TEMPER_API_KEY: apiKey, TEMPER_ACCOUNT_ID: accountId, ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [said, [code, signal]] = await Promise.all([text(program.stdout), once(program, 'close')]);
  return { said, code, signal };
}

const arrivedParts = async () => {
  const { body } = await call('POST', `datasets/${id}:getUploadEndpoint`, endpoint);
  return ((body['resumableUpload']?.parts ?? []) as Json[]).filter((part) => part['etag']);
};

it('goes on where a killed upload ended, and arrives whole', async () => {
  const killer = { NODE_OPTIONS: `--import=${path.join(rootFolder, 'test', 'killedAtPart.mjs')}`, KILLED_AT_PART: '7' };
  expect(await upload(killer)).toMatchObject({ signal: 'SIGKILL' });
  expect((await call('POST', `datasets/${id}:validateUpload`, {})).body['details'][0]).toMatchObject({ reason: 'UPLOAD_INCOMPLETE' });
  const kept = await arrivedParts();
  expect(kept.length).toBeGreaterThanOrEqual(2);
  expect(kept.length).toBeLessThan(Math.ceil(content.length / UPLOAD_PART_BYTES));

  const { code, said } = await upload();
  expect(code).toBe(0);
  expect(JSON.parse(said)).toMatchObject({
    state: 'READY',
    sizeBytes: String(content.length),
    sha256: createHash('sha256').update(content).digest('hex'),
  });
});

it('a part is taken at its own address and size only, and another file takes the place of an upload', async () => {
  const other = freshId('parted');
  const begin = async (sizeBytes: number): Promise<string> => {
    const body = { filenameToSize: { [name]: String(sizeBytes) }, enableResumableUpload: true };
    const { resumableUpload } = await ok('POST', `datasets/${other}:getUploadEndpoint`, body);
    expect(resumableUpload.parts).toEqual([expect.objectContaining({ partNumber: 1, sizeBytes })]);
    return resumableUpload.parts[0].signedUrl as string;
  };
  const put = (url: string, sizeBytes: number, method = 'PUT') =>
    fetch(url, { method, body: 'x'.repeat(sizeBytes) }).then((reply) => reply.status);
  await ok('POST', 'datasets', { datasetId: other, dataset: { userUploaded: {} } });
  const url = await begin(1000);
  expect(await put(url, 999)).toBe(403);
  expect(await put(url, 1000, 'POST')).toBe(403);
  expect(await put(url.replace('partNumber=1', 'partNumber=2'), 1000)).toBe(403);
  expect(await put(url, 1000)).toBe(200);
  const replacing = await begin(10);
  expect(await put(url, 1000)).toBe(404); // the parts of the first are gone
  await ok('DELETE', `datasets/${other}`);
  expect(await put(replacing, 10)).toBe(404);
});
