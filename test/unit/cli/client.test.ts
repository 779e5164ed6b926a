import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { accountOf, callApi } from '../../../cli/client.js';
import { followEvents, parseServerSentEvents } from '../../../cli/eventStream.js';
import { ApiError } from '../../../cli/failures.js';
import { openStatusLine } from '../../../cli/statusLine.js';
import { uploadDataset } from '../../../cli/upload.js';
import { startServer } from './server.js';

let server: Awaited<ReturnType<typeof startServer>>;
afterEach(() => server.stop());

describe('requests', () => {
  test('a GET outlives a lost connection and a server that is busy', async () => {
    server = await startServer((_, count) =>
      count === 1 ? null : count === 2 ? { status: 503, headers: { 'retry-after': '0' } } : { body: { name: 'x' } },
    );
    const waits: number[] = [];
    expect(await callApi({ ...server.connection, onRetry: (_, waitMs) => waits.push(waitMs) }, { method: 'GET', path: '/v1/x' })).toEqual({
      name: 'x',
    });
    expect(waits).toEqual([500, 0]);
    expect(server.asked[0]!.headers.authorization).toBe('Bearer key');
  });

  test('a create is sent again only where the server gives the same answer twice', async () => {
    server = await startServer((_, count) => (count === 1 ? null : {}));
    await expect(callApi(server.connection, { method: 'POST', path: '/v1/once', body: {} })).rejects.toThrow('cannot reach');
    await callApi(server.connection, { method: 'POST', path: '/v1/twice', body: { id: 1 }, idempotent: true });
    expect(server.asked.map(({ path, body }) => [path, body])).toEqual([
      ['/v1/once', '{}'],
      ['/v1/twice', '{"id":1}'],
      ['/v1/twice', '{"id":1}'],
    ]);
  });

  test("a refusal is the server's own message and details, at once", async () => {
    const details = [{ field: 'epochs', reason: 'EPOCHS_NOT_POSITIVE' }];
    server = await startServer(() => ({ status: 400, body: { code: 3, message: 'epochs must be positive', details } }));
    const error: unknown = await callApi(server.connection, { method: 'GET', path: '/v1/x' }).catch((reason: unknown) => reason);
    expect(error).toEqual(new ApiError(400, 'epochs must be positive', details));
    expect(server.asked).toHaveLength(1);
  });

  test('what is no Temper server is said to be none', async () => {
    server = await startServer(({ path }) => (path === '/v1/page' ? { body: '<html>' } : { status: 404, body: '<h1>Not here</h1>' }));
    await expect(callApi(server.connection, { method: 'GET', path: '/v1/page' })).rejects.toThrow('does not seem to be a Temper server');
    await expect(callApi(server.connection, { method: 'GET', path: '/v1/other' })).rejects.toThrow(
      'the server answered 404: <h1>Not here</h1>',
    );
  });

  test('the account is the one the key belongs to, or has to be chosen', async () => {
    server = await startServer((_, count) => ({
      body: { accounts: [{ name: 'accounts/one' }, { name: 'accounts/two' }].slice(0, count) },
    }));
    const unknown = { ...server.connection, accountId: undefined };
    expect(await accountOf({ ...unknown })).toBe('one');
    await expect(accountOf({ ...unknown })).rejects.toThrow('--account-id');
  });
});

describe('events', () => {
  test('go on after a lost connection where they stopped, each once', async () => {
    const event = (id: number) => `id: ${id}\ndata: {"sequence":${id},"message":"m${id}"}\n\n`;
    server = await startServer((_, count) => (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (count === 1) response.write(`: hello\n\n${event(1)}${event(2)}id: 3\nda`, () => response.destroy());
      else response.end(event(2) + event(3));
    });
    const stop = new AbortController();
    const messages: string[] = [];
    for await (const { message } of followEvents(server.connection, '/v1/job:streamEvents', stop.signal)) {
      messages.push(message);
      if (message === 'm3') stop.abort();
    }
    expect(messages).toEqual(['m1', 'm2', 'm3']);
    expect(server.asked.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, '2']);
  });

  test('a stream that is refused ends with the reason', async () => {
    server = await startServer(() => ({ status: 404, body: { message: 'no such job' } }));
    await expect(followEvents(server.connection, '/v1/job:streamEvents', new AbortController().signal).next()).rejects.toThrow(
      'no such job',
    );
  });

  test('are read whatever the pieces they arrive in', async () => {
    server = await startServer(() => null);
    const bytes = Buffer.from('id:1\r\ndata: {"ä":\r\ndata:1}\r\n\r\nevent: x\n\ndata\n\n');
    const pieces = async function* () {
      for (const byte of bytes) yield Uint8Array.of(byte);
    };
    const events = [];
    for await (const event of parseServerSentEvents(pieces())) events.push(event);
    expect(events).toEqual([
      { id: '1', data: '{"ä":\n1}' },
      { id: '1', data: '' },
    ]);
  });
});

describe('uploads', () => {
  const folder = mkdtempSync(join(tmpdir(), 'temper-upload-'));
  const content = '{"text":"a","label":"b"}\n'.repeat(20_000);
  const file = { path: join(folder, 'rows.jsonl'), name: 'rows "1".jsonl', sizeBytes: content.length };
  writeFileSync(file.path, content);
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const quiet = openStatusLine({ quiet: true });

  test('send the file whole, as one part of a form, again after a lost connection; a refusal is final', async () => {
    let refuse = false;
    server = await startServer(({ method }, count) => {
      if (method === 'GET') return { body: { state: 'UPLOADING' } };
      if (refuse) return { status: 400, body: { message: 'the dataset is READY' } };
      return count === 1 ? null : {};
    });
    await uploadDataset(server.connection, quiet, '/v1/datasets/d', file);
    const uploads = server.asked.filter(({ method }) => method === 'POST');
    expect(uploads).toHaveLength(2);
    const { path, headers, body } = uploads[1]!;
    expect(path).toBe('/v1/datasets/d:upload');
    expect(Number(headers['content-length'])).toBe(body.length);
    const form = await new Response(body, { headers: { 'content-type': headers['content-type']! } }).formData();
    const part = form.get('file') as File;
    expect([part.name, await part.text()]).toEqual(['rows _1_.jsonl', content]);

    refuse = true;
    await expect(uploadDataset(server.connection, quiet, '/v1/datasets/d', file)).rejects.toThrow('the dataset is READY');
    expect(server.asked.filter(({ method }) => method === 'POST')).toHaveLength(3);
  });
});
