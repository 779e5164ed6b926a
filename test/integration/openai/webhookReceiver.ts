/** An endpoint that is told of events: what it got, and what it answers. */
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  headers: IncomingHttpHeaders;
  body: string;
}
export interface Receiver {
  url: string;
  received: Received[];
  /** Statuses of the next answers, `never` for none at all; 200 when there is none left. */
  answers: (number | 'never')[];
  stop(): Promise<void>;
}

export async function startReceiver(): Promise<Receiver> {
  const received: Received[] = [];
  const answers: Receiver['answers'] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      received.push({ headers: request.headers, body });
      const status = answers.shift() ?? 200;
      if (status === 'never') return;
      response.writeHead(status, status === 302 ? { location: 'http://127.0.0.1:1/' } : {}).end('thank you');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/hooks`, received, answers, stop: () => new Promise((resolve) => server.close(() => resolve())) };
}
