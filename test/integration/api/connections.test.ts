/** Clients that speak HTTP badly, over raw sockets: too large, too slow, too odd. A server of its own, with less patience. */
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { FastifyInstance } from 'fastify';
import { freshId, ok, stack } from '../../temper.js';
import { startApi } from './server.js';

const patience = { headersMs: 1_000, bodyMs: 1_000 };
let server: FastifyInstance;
let port: number;
let close: () => Promise<void>;

beforeAll(async () => {
  ({ server, close } = await startApi({ patience }));
  await server.listen({ host: '127.0.0.1', port: 0 });
  port = (server.server.address() as { port: number }).port;
});
afterAll(() => close());

/** Writes, now and then, and gives all that comes back until the server closes, with how long that took. */
function talk(parts: string[], everyMs = 0): Promise<{ answer: string; ms: number }> {
  return new Promise((resolve, reject) => {
    const started = Date.now();
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    const timers = parts.map((part, index) => setTimeout(() => socket.writable && socket.write(part), index * everyMs));
    socket.on('data', (chunk) => (answer += chunk.toString()));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE' ? undefined : reject(error),
    );
    socket.on('close', () => {
      timers.forEach(clearTimeout);
      resolve({ answer, ms: Date.now() - started });
    });
    setTimeout(() => socket.destroy(), 8_000).unref();
  });
}
const post = (headers: string[]) =>
  [
    `POST /v1/accounts/${stack().accountId}/datasets HTTP/1.1`,
    'Host: x',
    `Authorization: Bearer ${stack().apiKey}`,
    ...headers,
    '',
    '',
  ].join('\r\n');
const reasonOf = (answer: string) =>
  (JSON.parse(answer.slice(answer.indexOf('{'))) as { details: { reason: string }[] }).details[0]!.reason;

it('refuses a body over the limit by its declared length, without reading it', async () => {
  const { answer } = await talk([post(['Content-Type: application/json', 'Content-Length: 10000000', 'Connection: close'])]);
  expect(answer).toMatch(/^HTTP\/1.1 413 /);
  expect(reasonOf(answer)).toBe('BODY_TOO_LARGE');
});

it('refuses a body over the limit that has no declared length, when it goes over', async () => {
  const chunk = 'x'.repeat(64 * 1024);
  const chunks = Array.from({ length: 20 }, () => `10000\r\n${chunk}\r\n`);
  const { answer } = await talk([post(['Content-Type: application/json', 'Transfer-Encoding: chunked', 'Connection: close']), ...chunks]);
  expect(answer).toMatch(/^HTTP\/1.1 413 /);
});

it('refuses a file over the limit of direct uploads by its declared length', async () => {
  const id = freshId('large');
  await ok('POST', 'datasets', { datasetId: id });
  const head = post(['Content-Type: multipart/form-data; boundary=x', 'Content-Length: 200000000', 'Connection: close']);
  const { answer } = await talk([head.replace('/datasets ', `/datasets/${id}:upload `)]);
  expect(answer).toMatch(/^HTTP\/1.1 413 /);
});

it('refuses large headers with 431', async () => {
  const { answer } = await talk([post([`X-Large: ${'x'.repeat(20_000)}`])]);
  expect(answer).toMatch(/^HTTP\/1.1 431 /);
  expect(reasonOf(answer)).toBe('HEADERS_TOO_LARGE');
});

it.each([
  ['both a length and chunks', ['Content-Length: 4', 'Transfer-Encoding: chunked']],
  ['two lengths', ['Content-Length: 4', 'Content-Length: 5']],
  ['no number for a length', ['Content-Length: four']],
])('refuses %s with 400', async (_what, headers) => {
  const { answer } = await talk([post(['Content-Type: application/json', ...headers]) + '{}']);
  expect(answer).toMatch(/^HTTP\/1.1 400 /);
  expect(reasonOf(answer)).toBe('MALFORMED_REQUEST');
});

it('refuses what is no HTTP', async () => {
  expect((await talk(['\x16\x03\x01\x02\x00\r\n\r\n'])).answer).toMatch(/^HTTP\/1.1 400 /);
});

it('gives up on headers and bodies that trickle in, and answers others meanwhile', async () => {
  const slowHeaders = talk(['GET /healthz HTTP/1.1\r\n', ...Array.from({ length: 30 }, (_, index) => `X-${index}: 1\r\n`)], 200);
  const slowBody = talk([post(['Content-Type: application/json', 'Content-Length: 40']), ...Array.from({ length: 30 }, () => ' ')], 200);
  expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
  for (const { answer, ms } of await Promise.all([slowHeaders, slowBody])) {
    expect(answer).toMatch(/^HTTP\/1.1 408 /);
    expect(reasonOf(answer)).toBe('REQUEST_TIMEOUT');
    expect(ms).toBeLessThan(30 * 200); // before all of it had come
  }
});
