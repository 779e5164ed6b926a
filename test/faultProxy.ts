/** An S3 gateway that misbehaves: what stands between a program and the object store in tests of faults. */
import {
  createServer as createHttpServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { connect, createServer, type AddressInfo, type Server as TcpServer, type Socket } from 'node:net';
import { Transform } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

export type Fault =
  /** Answered so, and the server never sees the request. */
  | { status: number }
  /** The connection breaks before there is an answer. */
  | 'reset'
  /** The server sees half of the request's body, then the connection breaks. */
  | 'cut request'
  /** Half of the answer's body arrives, then the connection breaks. */
  | 'cut reply'
  /** The answer's body comes a little at a time. */
  | { slowMs: number }
  /** Goes on once the promise does. */
  | { until: Promise<unknown> };

export const FAULTS: readonly Fault[] = [{ status: 500 }, { status: 503 }, 'reset', 'cut request', 'cut reply', { slowMs: 400 }];

export interface S3Request {
  method: string;
  /** Key and query. */
  path: string;
}

export interface S3Proxy {
  url: string;
  /** What befalls a request; null: nothing. */
  rule: (request: S3Request) => Fault | null;
  /** Requests that a fault befell. */
  faults: number;
  close(): Promise<void>;
}

export async function startS3Proxy(endpoint: string, host = '127.0.0.1'): Promise<S3Proxy> {
  const target = new URL(endpoint);
  const proxy: S3Proxy = { url: '', rule: () => null, faults: 0, close: () => closeServer(server) };
  const server = createHttpServer((request, reply) => {
    const fault = proxy.rule({ method: request.method!, path: decodeURIComponent(request.url!) });
    if (fault) proxy.faults += 1;
    serve(target, request, reply, fault).catch(() => request.socket.destroy());
  });
  await listen(server, host);
  proxy.url = `http://${host}:${(server.address() as AddressInfo).port}`;
  return proxy;
}

async function serve(target: URL, request: IncomingMessage, reply: ServerResponse, fault: Fault | null): Promise<void> {
  if (fault === 'reset') return void request.socket.destroy();
  if (fault && typeof fault === 'object' && 'until' in fault) await fault.until;
  const { method, url, headers, rawHeaders } = request;
  const body: Buffer[] = [];
  // Whole, so that half of it is known; the host stays the one that was signed.
  for await (const chunk of request) body.push(chunk as Buffer);
  const bytes = Buffer.concat(body);
  if (fault && typeof fault === 'object' && 'status' in fault) {
    const code = fault.status === 503 ? 'SlowDown' : 'InternalError';
    return void reply.writeHead(fault.status, { 'content-type': 'application/xml' }).end(`<Error><Code>${code}</Code></Error>`);
  }
  const length = headers['content-length'] ?? (bytes.length > 0 || method === 'PUT' ? String(bytes.length) : undefined);
  const sent =
    length === undefined
      ? rawHeaders
      : [...withoutHeaders(rawHeaders, ['transfer-encoding', 'content-length', 'expect']), 'content-length', length];
  const upstream = httpRequest({ host: target.hostname, port: target.port, method, path: url, headers: sent });
  const answer = new Promise<IncomingMessage>((resolve, reject) => upstream.on('response', resolve).on('error', reject));
  if (fault === 'cut request' && bytes.length > 1) {
    answer.catch(() => undefined);
    upstream.write(bytes.subarray(0, bytes.length / 2), () => upstream.destroy());
    return void request.socket.destroy();
  }
  upstream.end(bytes);
  const answered = await answer;
  const content: Buffer[] = [];
  for await (const chunk of answered) content.push(chunk as Buffer);
  const whole = Buffer.concat(content);
  reply.writeHead(answered.statusCode!, answered.rawHeaders);
  if (fault === 'cut reply') return void reply.write(whole.subarray(0, whole.length / 2), () => request.socket.destroy());
  if (fault && typeof fault === 'object' && 'slowMs' in fault) {
    const piece = Math.max(1, Math.ceil(whole.length / 8));
    for (let start = 0; start < whole.length; start += piece) {
      reply.write(whole.subarray(start, start + piece));
      await sleep(fault.slowMs / 8);
    }
    return void reply.end();
  }
  reply.end(whole);
}

function withoutHeaders(raw: string[], names: string[]): string[] {
  return raw.flatMap((name, index) => (index % 2 === 0 && !names.includes(name.toLowerCase()) ? [name, raw[index + 1]!] : []));
}

/** Passes connections on to a port of this machine. */
export interface Relay {
  /** host:port */
  address: string;
  /** What is sent comes nowhere, in neither direction, and nobody is told. */
  swallows: boolean;
  close(): Promise<void>;
}

export async function startRelay(port: number, host: string): Promise<Relay> {
  const sockets = new Set<Socket>();
  const server = createServer((inner) => {
    const outer = connect(port, '127.0.0.1');
    for (const [one, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
      one.pipe(new Transform({ transform: (bytes, _encoding, done) => done(null, relay.swallows ? undefined : bytes) })).pipe(other);
    }
  });
  await listen(server, host);
  const relay: Relay = {
    address: `${host}:${(server.address() as AddressInfo).port}`,
    swallows: false,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return relay;
}

function listen(server: Server | TcpServer, host: string): Promise<void> {
  return new Promise((resolve, reject) => server.once('error', reject).listen(0, host, resolve));
}

function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
