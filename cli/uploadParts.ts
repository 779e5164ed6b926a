/**
 * A big file in parts, several at once. Which parts have arrived is asked of the server, and each of them is compared with the file
 * by its MD5: the same command after a lost connection, a killed program or on another day sends only what lacks. What is sent
 * now has no hash of its own: the server holds the whole against the SHA-256 of the file, which is made meanwhile.
 */
import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { hashFile } from '../datasets/hashFile.js';
import { callApi, refusal, unreachable, type Connection } from './client.js';
import { ApiError, isPassing, OperationError } from './failures.js';
import type { FileToSend } from './upload.js';

interface Part {
  partNumber: number;
  sizeBytes: number;
  signedUrl: string;
  etag?: string;
}
interface Endpoint {
  resumableUpload?: { partSizeBytes: number; parts: Part[] };
}

const PARTS_AT_ONCE = 4;
const RETRY_WAITS_MS = [500, 1000, 2000, 4000, 8000];
const SILENCE_MS = 60_000;

/**
 * Sends what lacks of the file, and starts its validation with the SHA-256 of the whole.
 * @param path  of the dataset in the API
 * @returns false when the server knows no uploads in parts
 * @throws ApiError
 */
export async function uploadInParts(
  connection: Connection,
  path: string,
  file: FileToSend,
  onProgress: (sentBytes: number) => void,
): Promise<boolean> {
  const request = {
    method: 'POST' as const,
    path: `${path}:getUploadEndpoint`,
    body: { filenameToSize: { [file.name]: String(file.sizeBytes) }, enableResumableUpload: true },
    idempotent: true,
  };
  const ask = async () => (await callApi<Endpoint>(connection, request)).resumableUpload;
  const upload = await ask();
  if (!upload) return false;

  const stop = new AbortController();
  const hashing = hashFile(file.path, stop.signal);
  hashing.catch(() => {}); // awaited below; a part that cannot be read says it first
  const handle = await open(file.path, 'r');
  const agents = { 'http:': new HttpAgent({ keepAlive: true }), 'https:': new HttpsAgent({ keepAlive: true }) };
  let urls = new Map(upload.parts.map((part) => [part.partNumber, part.signedUrl]));
  // Signed URLs run out; whoever meets that first asks again, for all.
  let renewing: Promise<void> | undefined;
  const renew = () =>
    (renewing ??= (async () => {
      urls = new Map((await ask())?.parts.map((part) => [part.partNumber, part.signedUrl]) ?? []);
      renewing = undefined;
    })());
  let doneBytes = 0;
  const waiting = [...upload.parts];
  const worker = async () => {
    const buffer = Buffer.allocUnsafe(upload.partSizeBytes);
    for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) {
      const bytes = await readPart(handle, buffer, part, upload.partSizeBytes, file.path);
      const number = part.partNumber;
      const isThere = part.etag !== undefined && part.etag === createHash('md5').update(bytes).digest('hex');
      if (!isThere) await sendPart(() => urls.get(number), bytes, agents, renew);
      onProgress((doneBytes += part.sizeBytes));
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(PARTS_AT_ONCE, waiting.length) }, worker));
  } catch (error) {
    stop.abort(error);
    throw error;
  } finally {
    waiting.length = 0; // of several workers, the others end with the first that fails
    await handle.close();
    for (const agent of Object.values(agents)) agent.destroy();
  }
  const body = { sha256: await hashing };
  await callApi(connection, { method: 'POST', path: `${path}:validateUpload`, body, idempotent: true });
  return true;
}

async function readPart(handle: FileHandle, buffer: Buffer, part: Part, partSizeBytes: number, path: string): Promise<Buffer> {
  const { bytesRead } = await handle.read(buffer, 0, part.sizeBytes, (part.partNumber - 1) * partSizeBytes);
  if (bytesRead < part.sizeBytes) throw new OperationError(`${path} became shorter while it was sent: try again when nothing writes to it`);
  return buffer.subarray(0, bytesRead);
}

async function sendPart(
  url: () => string | undefined,
  bytes: Buffer,
  agents: Record<string, HttpAgent | HttpsAgent>,
  renew: () => Promise<void>,
): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      const address = url();
      if (!address) throw new ApiError(500, 'the server gave no address for a part of the file');
      return await put(address, bytes, agents);
    } catch (error) {
      const waitMs = RETRY_WAITS_MS[attempt];
      const expired = error instanceof ApiError && error.status === 403;
      if (!(isPassing(error) || expired) || waitMs === undefined) throw error;
      await sleep(waitMs);
      if (expired) await renew();
    }
  }
}

function put(url: string, bytes: Buffer, agents: Record<string, HttpAgent | HttpsAgent>): Promise<void> {
  const { origin, protocol } = new URL(url);
  return new Promise((resolve, reject) => {
    const request = (protocol === 'https:' ? httpsRequest : httpRequest)(url, {
      method: 'PUT',
      headers: { 'content-length': bytes.length },
      timeout: SILENCE_MS,
      agent: agents[protocol],
    });
    request.on('timeout', () => request.destroy(Object.assign(new Error('nothing moved'), { name: 'TimeoutError' })));
    request.on('error', (error) => reject(unreachable(origin, error)));
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => (text = (text + piece).slice(0, 10_000)));
      response.on('error', (error) => reject(unreachable(origin, error)));
      response.on('end', () => {
        const status = response.statusCode ?? 0;
        if (status >= 200 && status < 300) resolve();
        else reject(refusal(status, text));
      });
    });
    request.end(bytes);
  });
}
