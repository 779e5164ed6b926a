/** Work on a dataset file that may be compressed: decompressed in a folder of its own, which goes when the work is done. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { unpackFile, type Unpacked } from '../datasets/unpack.js';

export async function withUnpacked<T>(file: string, work: (unpacked: Unpacked) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), 'temper-unpack-'));
  try {
    return await work(await unpackFile(file, path.join(folder, 'data.jsonl')));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
