/** A dataset's file on its way to the server: through the API up to 150 MB, straight to the object store above. */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { MAX_DIRECT_UPLOAD_BYTES } from '../schemas/limits.js';
import { authorization, callApi, refusal, unreachable, type Connection, type Resource } from './client.js';
import { ApiError, isPassing } from './failures.js';
import { formatSize } from './format.js';
import { progressBar, type StatusLine } from './statusLine.js';
import { uploadInParts } from './uploadParts.js';

export interface FileToSend {
  path: string;
  /** Without folders. */
  name: string;
  sizeBytes: number;
}

const RETRY_WAITS_MS = [1000, 3000, 9000];
/** A connection on which nothing moves. */
const SILENCE_MS = 120_000;

/**
 * Sends the file, again after a lost connection, and starts its validation.
 * @param path  of the dataset in the API
 * @throws ApiError
 */
export async function uploadDataset(connection: Connection, status: StatusLine, path: string, file: FileToSend): Promise<void> {
  const send = file.sizeBytes < MAX_DIRECT_UPLOAD_BYTES ? sendThroughApi : sendToObjectStore;
  for (let attempt = 0; ; attempt++) {
    try {
      await send(connection, path, file, transferProgress(status, `uploading ${file.name}`, file.sizeBytes));
      return;
    } catch (error) {
      const waitMs = RETRY_WAITS_MS[attempt];
      if (!isPassing(error) || waitMs === undefined) throw error;
      status.print(`${error.message} Uploading again in ${Math.ceil(waitMs / 1000)}s.`);
      await sleep(waitMs);
      // The answer may be what was lost, not the file.
      const dataset = await callApi(connection, { method: 'GET', path });
      if (dataset.state === 'READY') return;
    }
  }
}

/** Shows bytes, share and speed of one transfer. `totalBytes` 0: not known. */
export function transferProgress(status: StatusLine, what: string, totalBytes: number): (doneBytes: number) => void {
  const startMs = performance.now();
  return (doneBytes) => {
    const seconds = (performance.now() - startMs) / 1000;
    const speed = seconds > 0.5 ? `  ${formatSize(doneBytes / seconds)}/s` : '';
    const share = totalBytes > 0 ? `${progressBar(doneBytes / totalBytes)}  ` : '';
    status.show(`${what}  ${share}${formatSize(doneBytes)}${totalBytes > 0 ? ` of ${formatSize(totalBytes)}` : ''}${speed}`);
  };
}

async function sendThroughApi(connection: Connection, path: string, file: FileToSend, onProgress: (bytes: number) => void): Promise<void> {
  const boundary = `temper-${randomBytes(12).toString('hex')}`;
  const filename = file.name.replace(/["\r\n\\]/g, '_');
  const prefix = Buffer.from(
    `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${filename}"\r\nContent-Type: application/octet-stream\r\n\r\n`,
  );
  const suffix = Buffer.from(`\r\n--${boundary}--\r\n`);
  const headers = { ...authorization(connection), accept: 'application/json', 'content-type': `multipart/form-data; boundary=${boundary}` };
  await sendFile('POST', `${connection.apiUrl}${path}:upload`, headers, file, onProgress, prefix, suffix);
}

async function sendToObjectStore(
  connection: Connection,
  path: string,
  file: FileToSend,
  onProgress: (bytes: number) => void,
): Promise<void> {
  if (await uploadInParts(connection, path, file, onProgress)) return;
  const { filenameToSignedUrls } = await callApi<{ filenameToSignedUrls: Record<string, string> }>(connection, {
    method: 'POST',
    path: `${path}:getUploadEndpoint`,
    body: { filenameToSize: { [file.name]: String(file.sizeBytes) } },
    idempotent: true,
  });
  const url = filenameToSignedUrls[file.name] ?? Object.values(filenameToSignedUrls)[0];
  if (!url) throw new ApiError(500, 'the server gave no address to upload to');
  await putFile(url, file, onProgress);
  await callApi<Resource>(connection, { method: 'POST', path: `${path}:validateUpload`, body: {}, idempotent: true });
}

/** One file to its signed URL; whoever calls tries again. */
export function putFile(url: string, file: FileToSend, onProgress: (bytes: number) => void): Promise<void> {
  return sendFile('PUT', url, { 'content-type': 'application/octet-stream' }, file, onProgress);
}

/** Node's own client, not fetch: a streamed body needs its length declared (S3 insists) and its progress seen. */
function sendFile(
  method: string,
  url: string,
  headers: OutgoingHttpHeaders,
  file: FileToSend,
  onProgress: (bytes: number) => void,
  prefix = Buffer.alloc(0),
  suffix = Buffer.alloc(0),
): Promise<void> {
  const { origin, protocol } = new URL(url);
  return new Promise((resolve, reject) => {
    const lost = (error: Error) => reject(unreachable(origin, error));
    const request = (protocol === 'https:' ? httpsRequest : httpRequest)(url, {
      method,
      headers: { ...headers, 'content-length': prefix.length + file.sizeBytes + suffix.length },
      timeout: SILENCE_MS,
    });
    // Exactly the bytes that were declared, also when the file grows meanwhile.
    const content = file.sizeBytes > 0 ? createReadStream(file.path, { highWaterMark: 1024 * 1024, end: file.sizeBytes - 1 }) : undefined;
    let sentBytes = 0;
    let answered = false;
    const stop = (error: Error) => {
      request.destroy();
      reject(error);
    };
    request.on('timeout', () => request.destroy(Object.assign(new Error('nothing moved'), { name: 'TimeoutError' })));
    request.on('error', (error) => {
      content?.destroy();
      // A server that refuses early closes while the file still flows: its answer says more than the broken pipe.
      setTimeout(() => !answered && lost(error), 200);
    });
    request.on('response', (response) => {
      answered = true;
      readText(response).then((text) => {
        content?.destroy();
        const code = response.statusCode ?? 0;
        if (code >= 200 && code < 300) resolve();
        else stop(refusal(code, text));
      }, lost);
    });
    request.write(prefix);
    if (!content) return void request.end(suffix);
    content.on('error', (error) => stop(new ApiError(0, `${file.path} cannot be read: ${error.message}`)));
    content.on('data', (chunk) => onProgress((sentBytes += chunk.length)));
    content.on('end', () => {
      if (sentBytes === file.sizeBytes) request.end(suffix);
      else stop(new Error(`${file.path} became shorter while it was sent: try again when nothing writes to it`));
    });
    content.pipe(request, { end: false });
  });
}

async function readText(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}
