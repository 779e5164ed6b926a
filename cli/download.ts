/** `temper download model`: a model's files into a folder, several at once, going on where an earlier try ended, each checked before it gets its name. */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { callApi, type Connection } from './client.js';
import { ApiError, OperationError } from './failures.js';
import { formatSize, idOf, plainText } from './format.js';
import { MODEL, resourcePath } from './resources.js';
import { openSession, print, printJson, printRequest, type Session } from './session.js';
import { transferProgress } from './upload.js';

const FILES_AT_ONCE = 4;
const RETRY_WAITS_MS = [500, 1000, 2000, 4000, 8000];
/** A connection on which nothing comes for this long is lost. */
const SILENCE_MS = 60_000;

/** What the model's record says of a file. */
interface ModelFile {
  name: string;
  sizeBytes?: string | number;
  sha256?: string;
}

export function defineDownloadModel(command: Command): void {
  command
    .description("Download a model's files")
    .argument('<name>', 'ID or full name of the model')
    .argument('[folder]', 'where to put them (default: a folder named like the model)')
    .addHelpText(
      'after',
      '\nExample:\n  temper download model my-model ./my-model\n\nA download that was cut short goes on when the command is run again.',
    )
    .action(async (name: string, folder: string | undefined, _: unknown, self: Command) => {
      const session = openSession(self);
      const path = await resourcePath(session, MODEL, name);
      if (session.dryRun) return printRequest(session, { method: 'GET', path: `${path}:getDownloadEndpoint` });
      await downloadFiles(session, path, folder ?? idOf(path));
    });
}

/** @param path  of what has files with hashes and a `:getDownloadEndpoint`: a model, or an export of one */
export async function downloadFiles(session: Session, path: string, folder: string): Promise<void> {
  const { connection, status } = session;
  const model = await callApi<{ files?: ModelFile[] }>(connection, { method: 'GET', path });
  const known = new Map((model.files ?? []).map((file) => [file.name, file]));
  const source = signedUrls(connection, path);
  const names = Object.keys(await source.urls()).sort();
  if (names.length === 0) throw new OperationError('there are no files');

  const totalBytes = names.reduce((sum, name) => sum + Number(known.get(name)?.sizeBytes ?? 0), 0);
  const doneBytes = new Map<string, number>();
  const show = transferProgress(status, `downloading ${names.length} files`, totalBytes);
  const report = (name: string, bytes: number) => {
    doneBytes.set(name, bytes);
    show([...doneBytes.values()].reduce((sum, value) => sum + value, 0));
  };

  const waiting = [...names];
  const worker = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      await downloadFile(source, { name, ...known.get(name) }, placeIn(folder, name), (bytes) => report(name!, bytes));
    }
  };
  await Promise.all(Array.from({ length: Math.min(FILES_AT_ONCE, names.length) }, worker));

  status.clear();
  const files = await Promise.all(
    names.map(async (name) => ({ name, sizeBytes: (await stat(placeIn(folder, name))).size, checked: Boolean(known.get(name)?.sha256) })),
  );
  if (session.json) return printJson({ folder: resolve(folder), files });
  if (session.quiet) return print(folder);
  for (const file of files)
    print(`${join(folder, plainText(file.name))}  ${formatSize(file.sizeBytes)}${file.checked ? '  SHA-256 checked' : ''}`);
}

interface UrlSource {
  /** By file name; asked for once. */
  urls(): Promise<Record<string, string>>;
  /** The next `urls()` asks again: the old ones have run out. */
  renew(): void;
}

function signedUrls(connection: Connection, path: string): UrlSource {
  const ask = async () =>
    (await callApi<{ filenameToSignedUrls: Record<string, string> }>(connection, { method: 'GET', path: `${path}:getDownloadEndpoint` }))
      .filenameToSignedUrls;
  let urls: ReturnType<typeof ask> | undefined;
  return { urls: () => (urls ??= ask()), renew: () => (urls = undefined) };
}

async function downloadFile(source: UrlSource, file: ModelFile, target: string, onProgress: (bytes: number) => void): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  if (file.sha256 && (await sha256Of(target)) === file.sha256) return onProgress(await sizeOf(target));
  const part = `${target}.part`;
  let mismatches = 0;
  for (let attempt = 0; ; attempt++) {
    const haveBytes = await sizeOf(part);
    const problem = await fetchRest(source, file, part, onProgress).catch((error: Error) =>
      error instanceof ApiError ? error.message : String(error.cause ?? error.message),
    );
    const wrong = problem ?? (await checkContent(file, part));
    if (!wrong) return rename(part, target);
    // Whole but wrong: nothing to build on. From the beginning, once; what is wrong twice is wrong where it lies.
    if (!problem) await rm(part, { force: true });
    if (!problem) mismatches++;
    // Each piece that comes is worth the tries of a new one.
    else if ((await sizeOf(part)) > haveBytes) attempt = 0;
    const waitMs = mismatches > 1 ? undefined : RETRY_WAITS_MS[attempt];
    if (waitMs === undefined)
      throw new OperationError(`${plainText(file.name)} could not be downloaded: ${wrong}. Run the same command again to go on.`);
    await sleep(waitMs);
  }
}

/** Appends what is missing to the part. Gives what went wrong, or undefined. */
async function fetchRest(
  source: UrlSource,
  file: ModelFile,
  part: string,
  onProgress: (bytes: number) => void,
): Promise<string | undefined> {
  const url = (await source.urls())[file.name];
  if (!url) return 'the server gave no address for it';
  const haveBytes = await sizeOf(part);
  if (file.sizeBytes !== undefined && haveBytes === Number(file.sizeBytes)) return undefined;
  const silence = watchSilence();
  const response = await fetch(url, {
    headers: haveBytes > 0 ? { range: `bytes=${haveBytes}-` } : {},
    signal: silence.signal,
  }).finally(silence.stop);
  if (response.status === 416) {
    await rm(part, { force: true });
    return 'the part on disk was not of this file';
  }
  if (!response.ok || !response.body) {
    if (response.status === 403) source.renew();
    return `the object store answered ${response.status}`;
  }
  const from = response.status === 206 ? haveBytes : 0;
  let bytes = from;
  onProgress(bytes);
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    silence.heard();
    for await (const chunk of chunks) {
      silence.heard();
      onProgress((bytes += chunk.length));
      yield chunk;
    }
  };
  await pipeline(
    Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]),
    counted,
    createWriteStream(part, { flags: from > 0 ? 'a' : 'w' }),
  ).finally(silence.stop);
  const promised = response.headers.get('content-length');
  return promised !== null && bytes !== from + Number(promised) ? 'the connection was lost' : undefined;
}

/** Its signal aborts once nothing was heard for too long; `heard` starts the time anew. */
function watchSilence(): { signal: AbortSignal; heard: () => void; stop: () => void } {
  const controller = new AbortController();
  let timer: NodeJS.Timeout;
  const stop = () => clearTimeout(timer);
  const heard = () => {
    stop();
    timer = setTimeout(() => controller.abort(new Error(`nothing came for ${SILENCE_MS / 1000} s`)), SILENCE_MS);
  };
  heard();
  return { signal: controller.signal, heard, stop };
}

/** What is wrong with a whole file, by what the model's record says of it. */
async function checkContent(file: ModelFile, path: string): Promise<string | undefined> {
  const sizeBytes = await sizeOf(path);
  if (file.sizeBytes !== undefined && sizeBytes !== Number(file.sizeBytes)) return `it has ${sizeBytes} bytes instead of ${file.sizeBytes}`;
  if (file.sha256 && (await sha256Of(path)) !== file.sha256) return 'its content does not have the SHA-256 that it was stored with';
  return undefined;
}

/** A file's place in the folder. @throws OperationError for a name that leads out of it */
function placeIn(folder: string, name: string): string {
  const target = resolve(folder, name);
  if (!target.startsWith(resolve(folder) + sep))
    throw new OperationError(`there is a file with a name that leads out of the folder: ${plainText(name)}`);
  return target;
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (stats) => stats.size,
    () => 0,
  );
}

/** Undefined when there is no such file. */
async function sha256Of(path: string): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path), hash);
    return hash.digest('hex');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
