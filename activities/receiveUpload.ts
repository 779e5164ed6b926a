/**
 * Brings an upload to this machine, hashed and decompressed. The files lie in a folder that names the upload and the process,
 * so that after a crash the next attempt on the same machine takes over what is there instead of fetching it again.
 */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { unpackFile, type Unpacked } from '../datasets/unpack.js';
import type { FileDigest, ObjectStore } from '../stores/objects.js';
import { isAlive } from './scratch.js';

export interface ReceivedUpload {
  /** What was uploaded. */
  digest: FileDigest;
  /** The same as plain JSONL. */
  unpacked: Unpacked;
}

/** Folders of processes that died, which nobody took over for this long, are left-overs. */
const MAX_ABANDONED_MS = 24 * 3600 * 1000;
/** Written last: the folder is complete. */
const MANIFEST = 'received.json';

/** @returns the upload, and the folder to remove when it is done with */
export async function receiveUpload(
  objects: ObjectStore,
  cache: string,
  key: string,
  signal: AbortSignal,
): Promise<ReceivedUpload & { folder: string }> {
  const uploads = path.join(cache, 'uploads');
  const upload = path.basename(key);
  const folder = path.join(uploads, `${upload}.${process.pid}`);
  await mkdir(uploads, { recursive: true });
  await rm(folder, { recursive: true, force: true });
  await takeOver(uploads, upload, folder);
  const found = await readManifest(folder);
  if (found !== undefined) return { ...found, folder };

  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  try {
    const file = path.join(folder, 'upload');
    const digest = await objects.getFile(key, file, undefined, signal);
    const unpacked = await unpackFile(file, path.join(folder, 'data.jsonl'), signal);
    if (unpacked.compression !== undefined) await rm(file);
    await writeFile(path.join(folder, MANIFEST), JSON.stringify({ digest, unpacked } satisfies ReceivedUpload));
    return { digest, unpacked, folder };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Renames the folder of a dead process to ours, and removes what was abandoned. */
async function takeOver(uploads: string, upload: string, folder: string): Promise<void> {
  for (const name of await readdir(uploads)) {
    const [owned, pid] = name.split('.');
    if (isAlive(Number(pid))) continue;
    const abandoned = path.join(uploads, name);
    if (owned === upload) await rename(abandoned, folder).catch(ignoreMissing);
    else if (Date.now() - ((await stat(abandoned).catch(ignoreMissing))?.mtimeMs ?? 0) > MAX_ABANDONED_MS) {
      await rm(abandoned, { recursive: true, force: true });
    }
  }
}

async function readManifest(folder: string): Promise<ReceivedUpload | undefined> {
  const text = await readFile(path.join(folder, MANIFEST), 'utf8').catch(ignoreMissing);
  if (text === undefined) return undefined;
  const { digest, unpacked } = JSON.parse(text) as ReceivedUpload;
  // The paths in it are those of the process that died.
  return { digest, unpacked: 'path' in unpacked ? { ...unpacked, path: path.join(folder, path.basename(unpacked.path)) } : unpacked };
}

/** Another attempt was faster, or there is nothing. */
function ignoreMissing(error: unknown): undefined {
  if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
}
