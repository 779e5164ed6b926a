/**
 * The port of a process that is for operators only: `/metrics` for Prometheus, `/healthz` (the process is up), `/readyz` (it
 * does its work). Nothing of it needs a key, so it listens on loopback unless TEMPER_METRICS_HOST says otherwise.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, register } from 'prom-client';

export interface OperatorPort {
  /** Text in Prometheus's format that goes after our own: the metrics of Temporal's SDK. */
  more?(): Promise<string>;
  /** Why the process cannot do its work; null when it can. */
  notReady(): Promise<string | null>;
}

/** @param port  0: any free one */
export async function openOperatorPort(
  host: string,
  port: number,
  { more, notReady }: OperatorPort,
): Promise<{ port: number; close(): void }> {
  collectDefaultMetrics();
  const server: Server = createServer((request, response) => {
    const answer = async (): Promise<[status: number, type: string, body: string]> => {
      if (request.method !== 'GET' && request.method !== 'HEAD') return [405, 'text/plain', 'Only GET is possible here.\n'];
      switch (request.url?.split('?')[0]) {
        case '/metrics': {
          const [own, others] = await Promise.all([register.metrics(), more?.() ?? '']);
          return [200, register.contentType, own + others];
        }
        case '/healthz':
          return [200, 'application/json', '{"status":"ok"}'];
        case '/readyz': {
          const reason = await notReady();
          return reason === null
            ? [200, 'application/json', '{"status":"ok"}']
            : [503, 'application/json', JSON.stringify({ status: reason })];
        }
        default:
          return [404, 'text/plain', 'There are /metrics, /healthz and /readyz.\n'];
      }
    };
    answer()
      .catch((error: Error): [number, string, string] => [500, 'text/plain', `${error.name}\n`])
      .then(([status, type, body]) => response.writeHead(status, { 'content-type': type }).end(body))
      .catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve));
  // Scraped for as long as the process does its work, and no longer.
  server.unref();
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}

/** A port that nothing listens on just now. */
export async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
