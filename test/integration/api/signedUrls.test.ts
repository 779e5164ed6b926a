/** Signed URLs: one object, one method, one size, for a while. Raw requests, as somebody would send who found one. */
import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadSecrets } from '../../../dev/secrets.js';
import { openObjectStore, type ObjectStore } from '../../../stores/objects.js';
import { call, freshId, ok, stack, uploadDataset } from '../../temper.js';

let objects: ObjectStore;
let uploadUrl: string;
let downloadUrl: string;
const datasetId = freshId('signed');
const BODY = '{"text": "a", "label": "x"}\n';

/** Nothing is added, and nothing is made right on the way, as `fetch` would. */
function send(method: string, url: string, body?: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
  const { hostname, port, pathname, search } = new URL(url);
  // The path as it stands in the text, dots and all.
  const path = url.slice(url.indexOf('/', url.indexOf('//') + 2)) || pathname + search;
  return new Promise((resolve, reject) => {
    const request = httpRequest({ method, hostname, port, path, headers }, (reply) => {
      let text = '';
      reply.on('data', (chunk: Buffer) => (text += chunk.toString()));
      reply.on('end', () => resolve({ status: reply.statusCode!, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

beforeAll(async () => {
  const secrets = loadSecrets(stack().home);
  process.env['AWS_ACCESS_KEY_ID'] = secrets.s3AccessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = secrets.s3SecretAccessKey;
  objects = openObjectStore({ endpoint: stack().s3Endpoint, region: 'us-east-1', bucket: stack().s3Bucket });
  await uploadDataset(datasetId, BODY);
  downloadUrl = Object.values(
    (await ok('GET', `datasets/${datasetId}:getDownloadEndpoint`))['filenameToSignedUrls'] as object,
  )[0] as string;
  const open = freshId('signed-open');
  await ok('POST', 'datasets', { datasetId: open });
  const filenameToSize = { 'data.jsonl': String(BODY.length) };
  const reply = await ok('POST', `datasets/${open}:getUploadEndpoint`, { filenameToSize });
  uploadUrl = Object.values(reply['filenameToSignedUrls'] as object)[0] as string;
});
afterAll(() => objects.close());

describe('of an upload', () => {
  it.each([
    ['more bytes', () => send('PUT', uploadUrl, `${BODY} `)],
    ['fewer bytes', () => send('PUT', uploadUrl, BODY.slice(1))],
    ['no bytes', () => send('PUT', uploadUrl)],
    ['reading', () => send('GET', uploadUrl)],
    ['deleting', () => send('DELETE', uploadUrl)],
    ['another key', () => send('PUT', uploadUrl.replace('/uploads/', '/datasets/'), BODY)],
    ['another key by dots', () => send('PUT', uploadUrl.replace('/uploads/', '/uploads/../models/'), BODY)],
    ['another key by coded dots', () => send('PUT', uploadUrl.replace('/uploads/', '/uploads/%2e%2e/models/'), BODY)],
    ['a longer time', () => send('PUT', uploadUrl.replace('X-Amz-Expires=3600', 'X-Amz-Expires=360000'), BODY)],
    ['a copy of another object', () => send('PUT', uploadUrl, BODY, { 'x-amz-copy-source': `/${stack().s3Bucket}/models` })],
    ['access for all', () => send('PUT', `${uploadUrl}&acl`, BODY)],
  ])('refuses %s', async (_what, request) => {
    const { status } = await request();
    expect([400, 403, 405, 411]).toContain(status);
    expect(await objects.head(keyOf(uploadUrl))).toBeNull();
  });

  it('takes just the file, also with the header that published clients add', async () => {
    const reply = await send('PUT', uploadUrl, BODY, { 'x-goog-content-length-range': `${BODY.length},${BODY.length}` });
    expect(reply.status).toBe(200);
    expect(await objects.getText(keyOf(uploadUrl))).toBe(BODY);
  });
});

describe('of a download', () => {
  it('gives the file as an attachment', async () => {
    expect(await send('GET', downloadUrl)).toEqual({ status: 200, text: BODY });
    expect(new URL(downloadUrl).searchParams.get('X-Amz-Expires')).toBe('900');
    expect(new URL(downloadUrl).searchParams.get('response-content-disposition')).toContain('attachment');
  });

  it.each([
    ['writing', () => send('PUT', downloadUrl, BODY)],
    ['deleting', () => send('DELETE', downloadUrl)],
    ['another key', () => send('GET', downloadUrl.replace('/datasets/', '/models/'))],
    ['the list of the bucket', () => send('GET', downloadUrl.replace(/(\/[^/]+)\/.*\?/, '$1?'))],
    ['another content type', () => send('GET', `${downloadUrl}&response-content-type=text/html`)],
  ])('refuses %s', async (_what, request) => {
    expect([400, 403, 405]).toContain((await request()).status);
  });

  it('refuses everything once it has run out', async () => {
    // Counted from the whole second in which it was signed: of one second, nothing may be left.
    const url = await objects.signDownload(keyOf(downloadUrl), 'data.jsonl', 3);
    expect((await send('GET', url)).status).toBe(200);
    await expect.poll(async () => (await send('GET', url)).status, { timeout: 15_000 }).toBe(403);
  });
});

it('file names in uploads cannot leave their folder: they are refused, and are part of no key', async () => {
  const names = ['../x.jsonl', '/etc/passwd', 'a/b.jsonl', 'C:\\x', '..', '.', '', 'a\u0000b', 'a\u202eb', 'x'.repeat(300)];
  const id = freshId('names');
  await ok('POST', 'datasets', { datasetId: id });
  for (const name of names) {
    const reply = await call('POST', `datasets/${id}:getUploadEndpoint`, { filenameToSize: { [name]: '1' } });
    expect([name, reply.status]).toEqual([name, 400]);
  }
  expect(keyOf(uploadUrl)).toMatch(/^uploads\/[0-9a-f-]{36}\/[0-9a-f-]{36}$/);
});

function keyOf(url: string): string {
  return new URL(url).pathname.slice(`/${stack().s3Bucket}/`.length);
}
