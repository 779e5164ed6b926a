import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { call, freshId, ok, stack, toJsonl, until, uploadDataset, type Json } from '../../temper.js';

const ROWS = toJsonl([
  { text: 'one', label: 'a' },
  { text: 'two', label: 'b' },
]);

async function upload(id: string, form: FormData): Promise<{ status: number; body: Json }> {
  const { apiUrl, apiKey, accountId } = stack();
  const reply = await fetch(`${apiUrl}/v1/accounts/${accountId}/datasets/${id}:upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}` },
    body: form,
  });
  return { status: reply.status, body: (await reply.json()) as Json };
}

function formOf(...files: [content: string, name: string][]): FormData {
  const form = new FormData();
  for (const [content, name] of files) form.append('file', new Blob([content]), name);
  return form;
}

async function create(prefix: string): Promise<string> {
  const id = freshId(prefix);
  await ok('POST', 'datasets', { datasetId: id, dataset: { displayName: 'A name', userUploaded: {} } });
  return id;
}

const reasonOf = (reply: { body: Json }) => reply.body['details']?.[0]?.reason as string;

describe('a direct upload', () => {
  it('makes a dataset READY, once and for all', async () => {
    const id = freshId('direct');
    const dataset = await uploadDataset(id, ROWS);
    expect(dataset).toMatchObject({ state: 'READY', exampleCount: '2', sizeBytes: String(ROWS.length), status: { code: 'OK' } });
    const again = await upload(id, formOf([ROWS, 'data.jsonl']));
    expect([again.status, reasonOf(again)]).toEqual([400, 'DATASET_IMMUTABLE']);
    expect(reasonOf(await call('POST', `datasets/${id}:getUploadEndpoint`, { filenameToSize: { 'a.jsonl': 1 } }))).toBe(
      'DATASET_IMMUTABLE',
    );
    const { filenameToSignedUrls } = await ok('GET', `datasets/${id}:getDownloadEndpoint`);
    expect(await (await fetch(filenameToSignedUrls['data.jsonl'])).text()).toBe(ROWS);
  });

  it('that fails validation leaves the dataset UPLOADING, says why, and can be repeated', async () => {
    const id = freshId('faulty');
    const faulty = await uploadDataset(id, `${ROWS}not json\n`);
    expect(faulty).toMatchObject({ state: 'UPLOADING', status: { code: 'INVALID_ARGUMENT', message: expect.stringContaining('ine 3') } });
    const report = await ok('GET', `datasets/${id}:getValidationReport`);
    expect(report).toMatchObject({ valid: false, examples: 2, errors: [{ code: 'E_JSON', count: 1, places: [{ line: 3 }] }] });
    expect(reasonOf(await call('GET', `datasets/${id}:getDownloadEndpoint`))).toBe('DATASET_NOT_READY');
    expect((await upload(id, formOf([ROWS, 'data.jsonl']))).status).toBe(200);
    await until('the second upload to be READY', async () => (await ok('GET', `datasets/${id}`))['state'] === 'READY');
  });

  it('that is compressed is stored as the rows in it', async () => {
    const id = await create('gzip');
    const form = new FormData();
    form.append('file', new Blob([gzipSync(ROWS)]), 'rows.jsonl.gz');
    expect((await upload(id, form)).status).toBe(200);
    const dataset = await until('READY', async () => {
      const found = await ok('GET', `datasets/${id}`);
      return found['state'] === 'READY' && found;
    });
    expect(dataset).toMatchObject({ exampleCount: '2', sizeBytes: String(ROWS.length), status: { code: 'OK', message: '' } });
    const { filenameToSignedUrls } = await ok('GET', `datasets/${id}:getDownloadEndpoint`);
    expect(await (await fetch(filenameToSignedUrls['rows.jsonl'])).text()).toBe(ROWS);
  });

  it.each([
    ['two files', formOf([ROWS, 'a.jsonl'], [ROWS, 'b.jsonl']), 400, 'INVALID_UPLOAD'],
    ['no file', new FormData(), 400, undefined],
    ['a name with folders', formOf([ROWS, '..\\..\\x.jsonl']), 400, 'INVALID_UPLOAD'],
    ['a name of 300 bytes', formOf([ROWS, 'x'.repeat(300)]), 400, 'INVALID_UPLOAD'],
  ])('with %s is refused', async (_what, form, status, reason) => {
    const reply = await upload(await create('form'), form);
    expect(reply.status).toBe(status);
    expect(reply.body['message']).toBeTruthy();
    if (reason) expect(reasonOf(reply)).toBe(reason);
  });

  it('of more than 150 MiB is refused before it is read', async () => {
    const { apiUrl, apiKey, accountId } = stack();
    const id = await create('large');
    const { hostname, port } = new URL(apiUrl);
    const socket = connect(Number(port), hostname);
    const head = [
      `POST /v1/accounts/${accountId}/datasets/${id}:upload HTTP/1.1`,
      `Host: ${hostname}`,
      `Authorization: Bearer ${apiKey}`,
      'Content-Type: multipart/form-data; boundary=x',
      `Content-Length: ${200 * 1024 * 1024}`,
      '',
      '',
    ].join('\r\n');
    socket.write(head);
    const answer = await new Promise<string>((resolve) => socket.once('data', (bytes) => resolve(bytes.toString())));
    socket.destroy();
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
    expect(answer).toContain('getUploadEndpoint');
  });

  it('that breaks off in the middle is no upload', async () => {
    const { apiUrl, apiKey, accountId } = stack();
    const id = await create('cut');
    const { hostname, port } = new URL(apiUrl);
    const socket = connect(Number(port), hostname);
    socket.write(
      [
        `POST /v1/accounts/${accountId}/datasets/${id}:upload HTTP/1.1`,
        `Host: ${hostname}`,
        `Authorization: Bearer ${apiKey}`,
        'Content-Type: multipart/form-data; boundary=x',
        'Content-Length: 100000',
        '',
        '--x',
        'Content-Disposition: form-data; name="file"; filename="a.jsonl"',
        '',
        ROWS,
      ].join('\r\n'),
    );
    await new Promise((resolve) => setTimeout(resolve, 200));
    socket.destroy();
    const reply = await call('POST', `datasets/${id}:validateUpload`);
    expect([reply.status, reasonOf(reply)]).toEqual([400, 'UPLOAD_MISSING']);
    expect(await ok('GET', `datasets/${id}`)).toMatchObject({ state: 'UPLOADING', exampleCount: '0' });
  });
});

describe('an upload by signed URL', () => {
  async function sign(id: string, size: number): Promise<string> {
    const { filenameToSignedUrls } = await ok('POST', `datasets/${id}:getUploadEndpoint`, {
      filename_to_size: { 'rows.jsonl': String(size) },
    });
    return filenameToSignedUrls['rows.jsonl'] as string;
  }
  const put = (url: string, body: string, headers = {}) =>
    fetch(url, { method: 'PUT', body, headers: { 'content-type': 'application/octet-stream', ...headers } });

  it('goes to the object store with the headers that published clients send', async () => {
    const id = await create('signed');
    const url = await sign(id, ROWS.length);
    expect(reasonOf(await call('POST', `datasets/${id}:validateUpload`, {}))).toBe('UPLOAD_MISSING');
    expect((await put(url, ROWS, { 'x-goog-content-length-range': `${ROWS.length},${ROWS.length}` })).status).toBe(200);
    await ok('POST', `datasets/${id}:validateUpload`, {});
    await until('READY', async () => (await ok('GET', `datasets/${id}`))['state'] === 'READY');
    expect(await ok('POST', `datasets/${id}:validateUpload`, {})).toEqual({});
  });

  it('takes the declared size only, and no other method', async () => {
    const id = await create('size');
    const url = await sign(id, ROWS.length);
    expect((await put(url, `${ROWS} `)).status).toBe(403);
    expect((await fetch(url)).status).toBe(403);
    expect(reasonOf(await call('POST', `datasets/${id}:validateUpload`, {}))).toBe('UPLOAD_MISSING');
  });

  it.each([
    [{}],
    [{ 'a.jsonl': 1, 'b.jsonl': 1 }],
    [{ '../a.jsonl': 1 }],
    [{ '/etc/passwd': 1 }],
    [{ 'a.jsonl': 0 }],
    [{ 'a.jsonl': -5 }],
    [{ 'a.jsonl': 10 ** 13 }],
    [{ 'a\u202ejsonl': 1 }],
  ])('is not signed for %j', async (filenameToSize) => {
    const reply = await call('POST', `datasets/${await create('name')}:getUploadEndpoint`, { filenameToSize });
    expect([reply.status, reasonOf(reply)]).toEqual([400, 'INVALID_UPLOAD']);
  });
});

describe('creating', () => {
  it('the same twice, or ten times at once, is creating once; another under the same ID is a conflict', async () => {
    const datasetId = freshId('same');
    const body = { datasetId, dataset: { displayName: 'x' } };
    const replies = await Promise.all(Array.from({ length: 10 }, () => call('POST', 'datasets', body)));
    expect(new Set(replies.map((reply) => JSON.stringify([reply.status, reply.body]))).size).toBe(1);
    const other = await call('POST', 'datasets', { datasetId, dataset: { displayName: 'y' } });
    expect([other.status, reasonOf(other)]).toEqual([409, 'RESOURCE_ALREADY_EXISTS']);
  });

  it.each(['', '-a', 'a-', 'A', 'a_b', 'é', 'a/b', '..', 'a'.repeat(64)])('under the ID %j is refused', async (datasetId) => {
    const reply = await call('POST', 'datasets', { datasetId });
    expect([reply.status, reasonOf(reply)]).toEqual([400, 'INVALID_ID']);
    if (datasetId !== '' && datasetId !== '..' && datasetId !== 'a/b')
      expect((await call('GET', `datasets/${encodeURIComponent(datasetId)}`)).status).toBe(400);
  });
});

it('renames, deletes, and knows nothing of what was deleted', async () => {
  const id = await create('rename');
  expect(await ok('PATCH', `datasets/${id}`, { display_name: 'New', state: 'READY' })).toMatchObject({
    displayName: 'New',
    state: 'UPLOADING',
  });
  expect(await ok('DELETE', `datasets/${id}`)).toEqual({});
  expect((await call('GET', `datasets/${id}`)).status).toBe(404);
  expect((await call('DELETE', `datasets/${id}`)).status).toBe(404);
});
