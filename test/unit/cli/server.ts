/** A real HTTP server for tests of the client: answers as the test says, and remembers what it was asked. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
}
/** `null`: cut the connection without an answer. */
export type Answer = { status?: number; headers?: Record<string, string>; body?: unknown } | null | ((response: ServerResponse) => void);

export async function startServer(answer: (asked: Asked, count: number) => Answer) {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const entry = { method: request.method!, path: request.url!, headers: request.headers, body: Buffer.concat(parts).toString('latin1') };
    asked.push(entry);
    const count = asked.filter(({ method, path }) => method === entry.method && path === entry.path).length;
    const reply = answer(entry, count);
    if (reply === null) return void request.socket.destroy();
    if (typeof reply === 'function') return reply(response);
    const content = typeof reply.body === 'string' || Buffer.isBuffer(reply.body) ? reply.body : JSON.stringify(reply.body ?? {});
    response.writeHead(reply.status ?? 200, reply.headers).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { apiUrl, asked, stop, connection: { apiUrl, apiKey: 'key', accountId: 'acme' } };
}
