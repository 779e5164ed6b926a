/**
 * A connection that asks one thing after the other, for measuring: what the client spends on an answer must be little beside what
 * the server does. It reads an answer's status and length, and passes over its body.
 */
import { connect, type Socket } from 'node:net';

export interface RawConnection {
  /** Status of the answer, once all of it is there. */
  get(path: string): Promise<number>;
  close(): void;
}

export function openRawConnection(apiUrl: string, apiKey: string): RawConnection {
  const { hostname, port } = new URL(apiUrl);
  const socket: Socket = connect(Number(port), hostname).setNoDelay(true);
  let head: Buffer | null = null;
  let missingBytes = 0;
  let status = 0;
  let answer: { resolve(status: number): void; reject(error: Error): void } | null = null;

  socket.on('data', (piece) => {
    let body = piece.length;
    if (missingBytes === 0) {
      head = head ? Buffer.concat([head, piece]) : piece;
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const text = head.toString('latin1', 0, end);
      status = Number(text.slice(9, 12));
      missingBytes = Number(/content-length: (\d+)/i.exec(text)?.[1]);
      body = head.length - end - 4;
      head = null;
    }
    missingBytes -= body;
    if (missingBytes === 0) answer?.resolve(status);
  });
  const fail = (error?: Error) => answer?.reject(error ?? new Error('The server closed the connection.'));
  socket.on('error', fail);
  socket.on('close', () => fail());

  return {
    get(path) {
      return new Promise((resolve, reject) => {
        answer = { resolve, reject };
        socket.write(`GET ${path} HTTP/1.1\r\nhost: ${hostname}\r\nx-api-key: ${apiKey}\r\n\r\n`);
      });
    },
    close: () => void socket.destroy(),
  };
}
