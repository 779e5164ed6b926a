/**
 * What a client may do to a connection before there is a request to answer: how large its headers and how slow its bytes may
 * be. Bodies over their limit are refused by their declared length, before a byte of them is read (Fastify's bodyLimit).
 */
import type { ServerOptions } from 'node:http';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { GRPC_STATUS, errorRow, TemperError, type ErrorCode } from '../schemas/errors.js';

/** How long a client may take, at most. */
export interface Patience {
  headersMs: number;
  /** Of a JSON body; files have REQUEST_TIMEOUT_MS. */
  bodyMs: number;
}
export const PATIENCE: Patience = { headersMs: 15_000, bodyMs: 30_000 };

/** To receive a whole request: a direct upload of the largest size, over a line of 90 KB/s. */
export const REQUEST_TIMEOUT_MS = 30 * 60_000;
/** All headers and the URL. Keys are short, sign-in tokens are a few KB. */
const MAX_HEADER_BYTES = 16 * 1024;

export function httpOptions({ headersMs }: Patience): ServerOptions {
  return {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: headersMs,
    // How often the two time-outs are looked at.
    connectionsCheckingInterval: Math.min(1_000, headersMs),
  };
}

/** Answers 408 when a JSON body trickles in: such a connection would be held open for nothing. */
export function limitBodyTime(server: FastifyInstance, { bodyMs }: Patience): void {
  server.addHook('preParsing', (request, reply, payload, done) => {
    const { headers } = request;
    const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
    if (!hasBody || headers['content-type']?.startsWith('multipart/')) return done(null, payload);
    const timed = payload.pipe(new PassThrough());
    const timer = setTimeout(() => {
      // The rest of the body is not waited for.
      void reply.header('connection', 'close');
      timed.destroy(new TemperError('REQUEST_TIMEOUT', `The body did not arrive within ${bodyMs / 1000} s. Send it again, in one go.`));
    }, bodyMs);
    timed.once('end', () => clearTimeout(timer));
    // Answered before the body was read: it is of no interest any more.
    reply.raw.once('close', () => clearTimeout(timer));
    payload.once('error', (cause) => timed.destroy(cause));
    timed.on('error', () => {});
    done(null, timed);
  });
}

/** Answers what never became a request, in the form of all errors, and closes. */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy(error);
  const [code, message] = BROKEN[error.code ?? ''] ?? ['MALFORMED_REQUEST', 'This is no HTTP request that can be read.'];
  const row = errorRow(code);
  const status = row.http ?? GRPC_STATUS[row.status].http;
  const body = JSON.stringify({ code: GRPC_STATUS[row.status].code, message, details: [{ reason: code }] });
  const head = [
    `HTTP/1.1 ${status} ${PHRASES[status]}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

const BROKEN: Record<string, [ErrorCode, string]> = {
  HPE_HEADER_OVERFLOW: ['HEADERS_TOO_LARGE', `The headers and the URL together must be smaller than ${MAX_HEADER_BYTES / 1024} KiB.`],
  ERR_HTTP_REQUEST_TIMEOUT: ['REQUEST_TIMEOUT', 'The request did not arrive in time. Send it again, in one go.'],
};
const PHRASES: Record<number, string> = { 400: 'Bad Request', 408: 'Request Timeout', 431: 'Request Header Fields Too Large' };
