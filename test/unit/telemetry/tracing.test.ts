/** Spans on their way to a collector, under the trace of whoever asked. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterEach, expect, it, vi } from 'vitest';
import { runInSpan, startRequestSpan, startTracing, traceEnvironment, withSpan } from '../../../telemetry/tracing.js';

afterEach(() => vi.unstubAllEnvs());

it('makes none where no collector is named', async () => {
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', undefined);
  expect(startTracing('api')).toBeNull();
  await withSpan('work', {}, async () => expect(traceEnvironment()).toEqual({}));
});

it('sends a request, the work under it, and what a child process is told, as one trace', async () => {
  const received: Buffer[] = [];
  const collector = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    received.push(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body);
    response.end();
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', `http://127.0.0.1:${(collector.address() as AddressInfo).port}`);
  const traceId = 'a1b2c3d4e5f60718293a4b5c6d7e8f90';
  const tracing = startTracing('api')!;
  const span = startRequestSpan('POST /jobs', { traceparent: `00-${traceId}-0102030405060708-01` }, {});
  let told: Record<string, string> = {};
  await new Promise<void>((resolve, reject) => {
    runInSpan(span, () => {
      withSpan('train', {}, async () => {
        told = traceEnvironment();
        throw Object.assign(new Error('a secret'), { code: 'TRAINER_CRASHED' });
      }).then(
        () => reject(new Error('not thrown')),
        () => resolve(),
      );
    });
  });
  span.end();
  await tracing.close();
  collector.close();
  expect(told['TRACEPARENT']).toMatch(new RegExp(`^00-${traceId}-`));
  const sent = Buffer.concat(received).toString('latin1');
  expect(sent.split(Buffer.from(traceId, 'hex').toString('latin1'))).toHaveLength(3);
  for (const text of ['POST /jobs', 'train', 'TRAINER_CRASHED', 'temper-api']) expect(sent).toContain(text);
  expect(sent).not.toContain('a secret');
});
